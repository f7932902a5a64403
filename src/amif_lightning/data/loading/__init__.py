"""Base data modules, datasets and samplers: from rows to batches."""

__all__ = [
    "base_module",
    "fixed_negatives",
    "hub_module",
    "mixture",
    "options",
    "pretrain_module",
    "question_dataset",
    "samplers",
    "study_dataset",
    "vqa_module",
    "weighted",
]
