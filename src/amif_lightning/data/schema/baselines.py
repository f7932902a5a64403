"""Baselines without image input, and the ceiling of a candidate list (docs/datasets.md).

Training rows are given in released order. In a tie, the answer (same-image copy: the training
question) that was released first is used, so results are reproducible.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from amif_lightning.data.preprocessing.normalization import normalise
from amif_lightning.data.schema.questions import VQAExample

#: Answer of the same-image copy for images without a training question.
NO_TRAINING_QUESTION = "no"


def majority_answer(train: Iterable[VQAExample]) -> str:
    """Return the most frequent normalised answer of one or more training rows."""
    return Counter(row.references[0] for row in train).most_common(1)[0][0]


def question_only(train: Sequence[VQAExample], rows: Iterable[VQAExample]) -> list[str]:
    """Answer each question from its wording alone.

    Training questions match by equal normalised text, else by the same first three words, else by
    the same first word. Return their most frequent answer, or the majority answer without a match.
    """
    majority = majority_answer(train)
    counts: dict[tuple[int, str], Counter[str]] = {}
    for row in train:
        for key in _question_keys(row):
            counts.setdefault(key, Counter())[row.references[0]] += 1
    answers = {key: counter.most_common(1)[0][0] for key, counter in counts.items()}
    return [
        next((answers[key] for key in _question_keys(row) if key in answers), majority)
        for row in rows
    ]


def same_image_copy(train: Iterable[VQAExample], rows: Iterable[VQAExample]) -> list[str]:
    """Answer each question with the answer of the most similar training question on its image.

    Similarity is the Jaccard index of the sets of normalised words. The baseline measures how much
    of a test set can be answered by recognising the image without understanding it.
    """
    by_image: dict[str, list[tuple[frozenset[str], str]]] = {}
    for row in train:
        by_image.setdefault(row.image_key, []).append((_words(row), row.references[0]))
    predictions = []
    for row in rows:
        words = _words(row)
        known = by_image.get(row.image_key, [(frozenset[str](), NO_TRAINING_QUESTION)])
        similarity = [len(words & other) / max(1, len(words | other)) for other, _ in known]
        # In a tie, the training question released first.
        predictions.append(known[similarity.index(max(similarity))][1])
    return predictions


def ceiling(candidates: Iterable[str], rows: Iterable[VQAExample]) -> list[bool]:
    """Return for each question whether a reference is among the candidates."""
    known = frozenset(candidates)
    return [not known.isdisjoint(row.references) for row in rows]


def _question_keys(row: VQAExample) -> tuple[tuple[int, str], ...]:
    """Return the question, its first three words and its first word, each with its level."""
    question = normalise(row.question)
    words = question.split()
    return (0, question), (1, " ".join(words[:3])), (2, " ".join(words[:1]))


def _words(row: VQAExample) -> frozenset[str]:
    return frozenset(normalise(row.question).split())
