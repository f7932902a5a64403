"""What a data set holds and whether it can be trusted: counts, images, truncation, leaks."""

__all__ = [
    "findings",
    "image_check",
    "questions",
    "record_facts",
    "studies",
    "truncation",
]
