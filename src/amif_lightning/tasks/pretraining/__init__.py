"""What `AMiFPretrain` is made of: retrieval, mining of negatives, local alignment, pair scores."""
