"""Baselines that do not look at the image, and the ceiling of a candidate list.

Definitions follow docs/datasets.md. Ties go to the answer (same-image copy: the training question)
released first, so a baseline is the same in every run. Training rows are given in released order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from amif_lightning.data.preprocessing.normalization import normalise
from amif_lightning.data.schema.questions import VQAExample

#: Answer of the same-image copy where the image has no training question.
NO_TRAINING_QUESTION = "no"


def majority_answer(train: Iterable[VQAExample]) -> str:
    """Return the most frequent normalised answer of the training rows, of which there is one."""
    return _most_frequent(Counter(row.references[0] for row in train))


def question_only(train: Sequence[VQAExample], rows: Iterable[VQAExample]) -> list[str]:
    """Answer each question from its wording alone.

    The answer is the most frequent training answer of the same normalised question; if there is
    none, of the training questions with the same first three words; if there is none, with the same
    first word; else the majority answer.
    """
    majority = majority_answer(train)
    counts: dict[tuple[int, str], Counter[str]] = {}
    for row in train:
        for key in _question_keys(row):
            counts.setdefault(key, Counter())[row.references[0]] += 1
    answers = {key: _most_frequent(counter) for key, counter in counts.items()}
    return [
        next((answers[key] for key in _question_keys(row) if key in answers), majority)
        for row in rows
    ]


def same_image_copy(train: Iterable[VQAExample], rows: Iterable[VQAExample]) -> list[str]:
    """Answer each question with the answer of the most similar training question on its image.

    Similarity is the Jaccard overlap of the two questions' sets of normalised words. The baseline
    measures how much of a test set can be answered by recognising the image without understanding
    it. Where the image has no training question the answer is ``no``.
    """
    by_image: dict[str, list[tuple[frozenset[str], str]]] = {}
    for row in train:
        by_image.setdefault(row.image_key, []).append((_words(row), row.references[0]))
    predictions = []
    for row in rows:
        words = _words(row)
        # max() keeps the first of equals: the training question released first.
        _, answer = max(
            by_image.get(row.image_key, [(frozenset[str](), NO_TRAINING_QUESTION)]),
            key=lambda known: _jaccard(words, known[0]),
        )
        predictions.append(answer)
    return predictions


def ceiling(candidates: Iterable[str], rows: Iterable[VQAExample]) -> list[bool]:
    """Return for each question whether one of its references is among the candidates."""
    known = frozenset(candidates)
    return [any(reference in known for reference in row.references) for row in rows]


def _most_frequent(counts: Counter[str]) -> str:
    # A Counter keeps insertion order and max() the first of equals: ties to the first released.
    return max(counts, key=counts.__getitem__)


def _question_keys(row: VQAExample) -> tuple[tuple[int, str], ...]:
    """The whole question, its first three words and its first word, each with its level."""
    question = normalise(row.question)
    words = question.split()
    return (0, question), (1, " ".join(words[:3])), (2, " ".join(words[:1]))


def _words(row: VQAExample) -> frozenset[str]:
    return frozenset(normalise(row.question).split())


def _jaccard(a: frozenset[str], b: frozenset[str]) -> float:
    union = len(a | b)
    return len(a & b) / union if union else 0.0
