"""What `AMiFPretrain` is made of: retrieval, mining of negatives, local alignment, pair scores."""

__all__ = ["local_alignment", "mining", "pair_scores", "retrieval"]
