"""Attention of questions to the answer vocabulary (B questions, S tokens, D width, N entries)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor
from torchmetrics import Metric

from amif_lightning.evaluation import VocabularyReading
from amif_lightning.losses.answering import log_mass
from amif_lightning.models.knowledge import KnowledgeReading

#: Most attended entries stored with a prediction.
NAMED = 3


class AnswerEntries:
    """Find the entries of a normalised vocabulary that equal an answer or a word of it."""

    def __init__(self, vocabulary: Sequence[str]) -> None:
        self._size = len(vocabulary)
        self._places = {entry: place for place, entry in enumerate(vocabulary)}

    def of(self, references: Sequence[Sequence[str]], device: torch.device) -> Tensor:
        """Mark the entries (B, N) of each question's normalised reference answers."""
        found = torch.zeros(len(references), self._size, dtype=torch.bool)
        for row, answers in enumerate(references):
            parts = {part for answer in answers for part in (answer, *answer.split())}
            places = [self._places[part] for part in parts if part in self._places]
            found[row, places] = True
        return found.to(device, non_blocking=True)  # does not block the training step


@dataclass(frozen=True)
class Use:
    """Attention of B questions to the vocabulary; float32 on the task's device."""

    mass: Tensor  # (B,) attention on the answer's entries, in [0, 1]; undefined if not known
    even: Tensor  # (B,) the same for uniform attention: their share of the vocabulary
    top: Tensor  # (B,) bool, whether the most attended entry is one of them
    known: Tensor  # (B,) bool, whether the answer has an entry
    effective: Tensor  # (B,) exp of the attention's entropy, 1 to N: effective number of entries
    gate: Tensor  # (B,) mean gate in [0, 1] over tokens and channels
    best: Tensor  # (B, K) long, the most attended entries
    weight: Tensor  # (B, K) their attention

    def readings(self, vocabulary: Sequence[str]) -> list[VocabularyReading]:
        """Convert to plain values with the entries' names, for records."""
        rows = zip(*(getattr(self, field.name).tolist() for field in fields(self)), strict=True)
        return [
            VocabularyReading(
                mass=mass if known else None,
                even=even if known else None,
                top=top if known else None,
                effective=effective,
                gate=gate,
                read=tuple((vocabulary[n], w) for n, w in zip(best, weight, strict=True)),
            )
            for mass, even, top, known, effective, gate, best, weight in rows
        ]


@torch.no_grad()
def use_of(reading: KnowledgeReading, mask: Tensor, entries: Tensor) -> Use:
    """Measure the attention to the vocabulary.

    ``mask`` (B, S) bool is false on padding. ``entries`` (B, N) bool: see :meth:`AnswerEntries.of`.
    """
    # Rounding can make a sum of weights exceed 1.
    attention = reading.log_attention.float().clamp_max(0.0)
    weight, best = attention.exp().topk(min(NAMED, attention.shape[1]), 1)
    return Use(
        mass=log_mass(attention, entries).exp().clamp_max(1.0),
        even=entries.float().mean(1),
        top=entries.gather(1, best[:, :1])[:, 0],
        known=entries.any(1),
        effective=torch.special.entr(attention.exp()).sum(1).exp().clamp_min(1.0),
        gate=gate_means(reading.gate, mask),
        best=best,
        weight=weight,
    )


def gate_means(gate: Tensor, mask: Tensor) -> Tensor:
    """Average a gate (B, S, D) over channels and the tokens of a mask (B, S): (B,)."""
    # Boolean indexing would wait for the GPU.
    openness = gate.detach().float().mean(-1).where(mask, 0.0)
    return openness.sum(1) / mask.sum(1)


class VocabularyUse(Metric):
    """Means of :class:`Use` over all questions and processes; means over nothing are omitted.

    ``covered`` is the share of questions whose answer has an entry. ``mass``, ``even`` and ``top``
    average over these questions only.
    """

    full_state_update = False
    sums: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("sums", torch.zeros(7), dist_reduce_fx="sum")

    def update(self, use: Use) -> None:
        """Add questions."""
        among = [
            value.float().where(use.known, 0.0).sum() for value in (use.mass, use.even, use.top)
        ]
        known = use.known.sum(dtype=torch.float32)
        count = torch.full_like(known, len(use.known))
        self.sums += torch.stack([*among, known, use.effective.sum(), use.gate.sum(), count])

    def compute(self) -> dict[str, Tensor]:
        """Return the means by name."""
        mass, even, top, known, effective, gate, count = self.sums
        found: dict[str, Tensor] = {}
        if known > 0:
            found |= {"mass": mass / known, "even": even / known, "top": top / known}
        if count > 0:
            found |= {"covered": known / count, "effective": effective / count}
            found["gate"] = gate / count
        return found
