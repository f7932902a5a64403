"""Exact metrics over whole splits, equal for any number of processes."""

__all__ = ["auc", "gathered", "localisation", "retrieval", "vocabulary_use", "vqa_accuracy"]
