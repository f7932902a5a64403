"""Questions, studies and their splits: what trains, what is tested, what counts as right."""

__all__ = [
    "answers",
    "baselines",
    "image_overlap",
    "question_splits",
    "questions",
    "studies",
    "study_splits",
    "subsets",
    "views",
]
