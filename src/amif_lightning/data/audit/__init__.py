"""What a data set holds and whether it can be trusted: counts, images, truncation, leaks."""

__all__ = ["evaluation_context", "findings", "image_check", "questions", "studies", "truncation"]
