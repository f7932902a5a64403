"""Audit a data set's splits: baselines, ceilings, overlaps, leaks, unreadable images."""
