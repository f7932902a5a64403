"""Reasons to distrust an answer, which are printed before it."""

from __future__ import annotations

import json
from typing import Any

from amif_lightning.answer_space import AnswerSpace
from amif_lightning.data.preprocessing.normalization import words_in
from amif_lightning.tasks.answering.auxiliary_alignment import AuxiliaryTask

NO_RECORD = "No test result of this model is at hand, so nothing is known of its accuracy."
OLD = (
    "This checkpoint does not store what it was trained on, so unknown words and unusual images "
    "are not noticed."
)
DOUBTS = "doubts"  # their key in a checkpoint that was read together with its records
SHOWN = 8  # maximum number of words in a warning


class SelfCritical(AuxiliaryTask):
    """Base of a task that knows the reasons to distrust its answers."""

    #: Sentences about every answer: the verdict of the model's own test.
    doubts: tuple[str, ...] = (NO_RECORD,)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the verdict that was found in the run folder of the checkpoint."""
        super().on_load_checkpoint(checkpoint)
        self.doubts = tuple(checkpoint.get(DOUBTS, self.doubts))


def question_doubts(space: AnswerSpace, question: str) -> list[str]:
    """Name the words of a question that no training question contains."""
    if not space.question_words:
        return [OLD]
    known = set(space.question_words)
    unseen = [word for word in dict.fromkeys(words_in(question)) if word not in known]
    if not unseen:
        return []
    more = f" and {len(unseen) - SHOWN} more" if len(unseen) > SHOWN else ""
    shown = ", ".join(json.dumps(word, ensure_ascii=False) for word in unseen[:SHOWN])
    return [f"Words that no training question contains: {shown}{more}."]
