"""Groups of runs that differ only in the seed, and statistics of their scores."""
