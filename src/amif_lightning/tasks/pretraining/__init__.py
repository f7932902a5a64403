"""Parts of `AMiFPretrain`: retrieval, mining of negatives, local alignment, pair scores."""

__all__ = ["local_alignment", "mining", "pair_scores", "retrieval"]
