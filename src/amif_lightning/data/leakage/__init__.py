"""Find images that occur in several splits or data sets: hashes, comparison, hold-outs."""
