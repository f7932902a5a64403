"""The candidate answers and the answer vocabulary of a model, with their token ids."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from amif_lightning.renamed_options import current_arguments


@dataclass(frozen=True)
class AnswerSpace:
    """Candidate answers and answer vocabulary as plain types.

    Every checkpoint stores it, so that answering needs no data set.

    Attributes:
        protocol: ``clean`` or ``literature``: which splits the candidates come from.
        candidates: Normalised answers to rank; ties go to the first.
        candidate_ids: Token ids of each candidate, without [CLS] and [SEP].
        vocabulary: Entries of the answer vocabulary (words or whole answers).
        vocabulary_ids: Token ids of each entry, at least one each.
        tokenizer: JSON text of the tokenizer (``tokenizers`` library).
        cls_id: Id of [CLS], the first token of every text and answer.
        sep_id: Id of [SEP], the last token of every text and answer.
        pad_id: Id of the padding token.
        table_size: Number of slots of the tokenizer's table.
        selection: Options that selected the training and validation rows (data set, layout,
            split options); empty if unknown, as in old files.
        question_tokens: Longest question in training, in tokens with [CLS] and [SEP]; 0 if unknown.
        answers_from: Splits that the candidates come from, such as ``train + validation``; empty if
            unknown.
    """

    protocol: str
    candidates: tuple[str, ...]
    candidate_ids: tuple[tuple[int, ...], ...]
    vocabulary: tuple[str, ...]
    vocabulary_ids: tuple[tuple[int, ...], ...]
    tokenizer: str
    cls_id: int
    sep_id: int
    pad_id: int
    table_size: int
    # A dict has no hash; equality still compares it.
    selection: dict[str, str | int | float | bool] = field(default_factory=dict, hash=False)
    question_tokens: int = 0
    answers_from: str = ""

    def state(self) -> dict[str, Any]:
        """Convert to plain types, which load with ``weights_only=True``."""
        return asdict(self)

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> AnswerSpace:
        """Inverse of :meth:`state`."""
        values = dict(state)
        for key in ("candidate_ids", "vocabulary_ids"):
            values[key] = tuple(tuple(ids) for ids in values[key])
        for key in ("candidates", "vocabulary"):
            values[key] = tuple(values[key])
        values["selection"] = current_arguments(values.get("selection", {}))
        return cls(**values)
