"""torchmetrics classes: sums as state, exact over any number of processes."""

__all__ = [
    "auc",
    "gathered_rows",
    "localisation",
    "retrieval",
    "study_features",
    "teacher_agreement",
    "vocabulary_use",
    "vqa_accuracy",
]
