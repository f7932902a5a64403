"""Count a data set and judge its splits: baselines, ceilings, overlaps, leaks, bad images."""

__all__ = ["evaluation_context", "findings", "image_check", "questions", "studies", "truncation"]
