"""Load a checkpoint without a data set, and explain an answer."""

__all__ = ["explain", "load"]
