"""Parts of `AMiFPretrain`: retrieval, mining of negatives, local alignment, pair scores."""
