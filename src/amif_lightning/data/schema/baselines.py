"""What answers can be had without looking at the image, and what the candidate list allows.

The definitions follow the suite's data set notes: ties go to the answer (for the copy: the training
question) that comes first in the released file, so a baseline is one number, whatever the run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from amif_lightning.data.preprocessing.normalization import normalise
from amif_lightning.data.schema.questions import VQAExample

#: Answer of the same-image copy where the image has no training question.
NO_TRAINING_QUESTION = "no"


def majority_answer(train: Iterable[VQAExample]) -> str:
    """Most frequent normalised training answer, ties to the one released first.

    Args:
        train: Released training rows in released order.

    Returns:
        The answer.

    Raises:
        ValueError: There are no rows.
    """
    counts = Counter(row.references[0] for row in train)
    if not counts:
        raise ValueError("the majority answer needs at least one training row")
    return _most_frequent(counts)


def question_only(train: Sequence[VQAExample], rows: Iterable[VQAExample]) -> list[str]:
    """Question-only lookup: answers from the wording of the question alone.

    For each question the most frequent training answer of the same normalised question; if there is
    none, of the training questions with the same first three words; if there is none, with the same
    first word; else the majority answer.

    Args:
        train: Released training rows in released order, at least one.
        rows: Questions to answer.

    Returns:
        One normalised answer per question.

    Raises:
        ValueError: There are no training rows.
    """
    majority = majority_answer(train)
    counters: tuple[dict[str, Counter[str]], ...] = ({}, {}, {})
    for row in train:
        for counter, key in zip(counters, _question_keys(row), strict=True):
            counter.setdefault(key, Counter())[row.references[0]] += 1
    tables = [{key: _most_frequent(c) for key, c in counter.items()} for counter in counters]
    return [_first_hit(tables, _question_keys(row), majority) for row in rows]


def same_image_copy(train: Iterable[VQAExample], rows: Iterable[VQAExample]) -> list[str]:
    """Same-image copy: the answer of the most similar training question on the same image.

    Similarity is the Jaccard overlap of the two questions' sets of normalised words. It measures
    how much of a test set can be answered by recognising the image without understanding it.

    Args:
        train: Released training rows in released order.
        rows: Questions to answer.

    Returns:
        One normalised answer per question, ``no`` where the image has no training question.
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
    """Says for each question whether a perfect choice among the candidates could be right.

    Args:
        candidates: Normalised candidate answers.
        rows: Questions.

    Returns:
        One flag per question: a reference is among the candidates.
    """
    known = frozenset(candidates)
    return [any(reference in known for reference in row.references) for row in rows]


def _most_frequent(counts: Counter[str]) -> str:
    # A Counter keeps insertion order and max() the first of equals: ties to the first released.
    return max(counts, key=counts.__getitem__)


def _question_keys(row: VQAExample) -> tuple[str, str, str]:
    question = normalise(row.question)
    words = question.split()
    return question, " ".join(words[:3]), " ".join(words[:1])


def _first_hit(tables: Sequence[Mapping[str, str]], keys: Sequence[str], default: str) -> str:
    for table, key in zip(tables, keys, strict=True):
        if key in table:
            return table[key]
    return default


def _words(row: VQAExample) -> frozenset[str]:
    return frozenset(normalise(row.question).split())


def _jaccard(a: frozenset[str], b: frozenset[str]) -> float:
    union = len(a | b)
    return len(a & b) / union if union else 0.0
