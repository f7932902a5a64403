"""Generated thorax phantoms: a data set that exists right after cloning."""

__all__ = [
    "compositions",
    "generate",
    "module",
    "questions",
    "read",
    "reports",
    "simulator",
    "studies",
    "study",
    "workers",
]
