"""Metrics over whole splits: exact, and equal on any number of processes."""

__all__ = ["auc", "gathered", "localisation", "retrieval", "vocabulary_use", "vqa_accuracy"]
