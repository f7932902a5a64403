"""Questions and studies, their splits, and the rules that score them."""
