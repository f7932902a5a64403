"""Generated thorax phantoms: a data set that exists right after cloning."""

__all__ = [
    "compositions",
    "generate",
    "module",
    "questions",
    "read",
    "regions",
    "reports",
    "simulator",
    "studies",
    "study",
    "workers",
]
