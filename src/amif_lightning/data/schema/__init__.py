"""Questions and studies, their splits, and the rules that score them."""

__all__ = [
    "answers",
    "baselines",
    "question_splits",
    "questions",
    "studies",
    "study_splits",
    "subsets",
    "views",
]
