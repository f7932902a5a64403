"""Loss functions: plain tensors in, scalars or per-sample values out, each with its formula."""

__all__ = ["alignment", "answering", "gather", "matching", "transport"]
