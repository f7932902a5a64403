"""A checkpoint and one image, without a data set: load it, and explain an answer."""

__all__ = ["explain", "load"]
