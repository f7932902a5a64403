"""Exact metrics over whole splits, equal for any number of processes."""
