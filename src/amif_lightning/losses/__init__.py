"""Loss functions of plain tensors, each with its formula."""

__all__ = ["alignment", "answering", "gather", "matching", "transport"]
