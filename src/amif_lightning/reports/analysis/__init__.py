"""Records grouped by configuration, and the statistics of their scores."""

__all__ = [
    "groups",
    "local_scores",
    "retrieval_groups",
    "seeds",
    "statistics",
    "weighted_bootstrap",
]
