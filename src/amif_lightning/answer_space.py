"""The answers a model selects from, as token ids, and what it needs to write one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from amif_lightning.renamed_options import current_arguments


@dataclass(frozen=True)
class AnswerSpace:
    """What may be answered and what the knowledge attention may read, as plain types.

    It is stored in every checkpoint, so that answering needs no data set.

    Attributes:
        protocol: ``clean`` or ``literature``: where the candidates come from.
        candidates: Normalised answers that ranking chooses from; order breaks ties.
        candidate_ids: Token ids of each candidate, without [CLS] and [SEP].
        vocabulary: Entries of the answer vocabulary (words or whole answers).
        vocabulary_ids: Token ids of each entry, at least one each.
        tokenizer: The tokenizer as the JSON text of the ``tokenizers`` library.
        cls_id: Id of [CLS], the first token of every text and of every answer.
        sep_id: Id of [SEP], the last token of every text and the end of every answer.
        pad_id: Id of the padding token.
        table_size: Number of slots of the tokenizer's table.
        selection: Plain values that say which rows trained and chose the weights (data set, layout,
            split options); empty where nothing is known, as in files from before it was stored.
        question_tokens: Most tokens of a question that the weights were trained with, [CLS] and
            [SEP] included; 0 where nothing is known.
        answers_from: The splits whose answers are candidates, such as ``train + validation``;
            empty where nothing is known.
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
    # A dict has no hash; equality compares it all the same.
    selection: dict[str, str | int | float | bool] = field(default_factory=dict, hash=False)
    question_tokens: int = 0
    answers_from: str = ""

    def state(self) -> dict[str, Any]:
        """Plain types only: a checkpoint holding it loads with ``weights_only=True``."""
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
