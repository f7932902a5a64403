"""The candidate answers and the answer vocabulary of a model, with their token ids."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from amif_lightning.errors import UserError, first_line
from amif_lightning.renamed_options import current_arguments

#: What the training data showed a model: these fields never come from other data.
LEARNED = ("question_words", "image_mean", "image_scale", "image_limit")


@dataclass(frozen=True)
class AnswerSpace:
    """Candidate answers and answer vocabulary as plain types, stored in every checkpoint."""

    protocol: str  # of the data module; determines the splits of the candidates
    candidates: tuple[str, ...]  # normalised answers to rank; ties go to the first
    # token ids of each candidate, without [CLS] and [SEP]
    candidate_ids: tuple[tuple[int, ...], ...]
    vocabulary: tuple[str, ...]  # entries of the answer vocabulary (words or whole answers)
    vocabulary_ids: tuple[tuple[int, ...], ...]  # token ids of each entry, at least one each
    tokenizer: str  # JSON text of the tokenizer (``tokenizers`` library)
    cls_id: int  # of [CLS], the first token of every text and answer
    sep_id: int  # of [SEP], the last token of every text and answer
    pad_id: int
    table_size: int  # number of slots of the tokenizer's table
    # Options that selected the training and validation rows (data set, layout, split options);
    # empty in old files. A dict has no hash; equality still compares it.
    selection: dict[str, str | int | float | bool] = field(default_factory=dict, hash=False)
    question_tokens: int = 0  # longest question in training, with [CLS] and [SEP]; 0 if unknown
    # splits of the candidates, such as ``train + validation``; empty if unknown
    answers_from: str = ""
    # words of the training questions as `words_in` finds them, sorted; empty in old files
    question_words: tuple[str, ...] = ()
    # of the pooled features of training images (tasks/answering/doubts.py); empty if unknown
    image_mean: tuple[float, ...] = ()
    image_scale: tuple[float, ...] = ()
    image_limit: float = 0.0  # 99th percentile of their distance

    def state(self) -> dict[str, Any]:
        """Convert to plain types, which load with ``weights_only=True``."""
        return asdict(self)

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> AnswerSpace:
        """Restore from :meth:`state`; a UserError if it has other parts."""
        try:
            values = dict(state)
            for key in ("candidate_ids", "vocabulary_ids"):
                values[key] = tuple(tuple(ids) for ids in values[key])
            for key in ("candidates", "vocabulary"):
                values[key] = tuple(values[key])
            for key in ("question_words", "image_mean", "image_scale"):
                values[key] = tuple(values.get(key, ()))
            values["selection"] = current_arguments(values.get("selection", {}))
            return cls(**values)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"The checkpoint's answer_space is unusable ({type(error).__name__}: "
                f"{first_line(error)}): give a checkpoint that `fit` wrote with this version."
            ) from error
