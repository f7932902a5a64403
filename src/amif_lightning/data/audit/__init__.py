"""Audit a data set's splits: baselines, ceilings, overlaps, leaks, unreadable images."""

__all__ = ["evaluation_context", "findings", "image_check", "questions", "studies", "truncation"]
