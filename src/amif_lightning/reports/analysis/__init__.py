"""The seeds of one configuration as a group, and the statistics of their scores."""

__all__ = ["groups", "local_scores", "statistics", "weighted_bootstrap"]
