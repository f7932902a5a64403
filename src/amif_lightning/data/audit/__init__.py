"""What a data set holds and whether it can be trusted: counts, images, truncation, leaks."""
