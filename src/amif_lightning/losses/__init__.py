"""Loss functions: plain tensors in, scalars or per-sample values out, each with its formula."""

__all__ = [
    "alignment",
    "gather",
    "knowledge",
    "likelihood",
    "matching",
    "transport",
    "transport_contrast",
    "unified",
]
