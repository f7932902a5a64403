"""Composed answers of the phantoms: differences from a baseline, and which words are wrong.

Run ``python benchmarks/measures/composition_errors.py RUNS [--baseline vqa-phantom-compositional]``
after ``make compositions``. It reads the predictions under RUNS and trains nothing. The first table
holds, for the composed questions of each experiment, right answers of every seed and the difference
from the baseline, paired by question, with a 95 % bootstrap interval over images. The interval
speaks of the networks that were trained: look at the seeds before you trust it. The second table
counts the wrong answers by the kind of word that is wrong; an answer with several wrong words
counts in each.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from amif_lightning.errors import UserError
from amif_lightning.reports import numbers
from amif_lightning.reports.markdown import markdown
from amif_lightning.reports.predictions import Prediction, read_predictions
from amif_lightning.reports.statistics import Interval, bootstrap_difference
from data_modules.phantom.compositions import SEEN, UNSEEN
from data_modules.phantom.findings import COUNTS, SIDES, SIZES, ZONES

FILE = "predictions-test.jsonl"
TYPES = (SEEN, UNSEEN)
PARTS: dict[str, tuple[str, ...]] = {
    "side": (*SIDES, "bilateral"),
    "zone": ZONES,
    "size": SIZES,
    "number": COUNTS,
}
Seeds = list[list[Prediction]]


def wrong_parts(answer: str, prediction: str) -> set[str]:
    """Kinds of word in which a prediction differs from the answer, ``finding`` for all other words.

    Words are compared without their order, so an answer with its words swapped has ``order`` wrong.
    """
    wrong = {
        part for part in (*PARTS, "finding") if _words(answer, part) != _words(prediction, part)
    }
    return wrong or ({"order"} if answer != prediction else set())


def _words(answer: str, part: str) -> Counter[str]:
    known = {word for words in PARTS.values() for word in words}
    if part == "finding":
        return Counter(word.removesuffix("s") for word in answer.split() if word not in known)
    return Counter(word for word in answer.split() if word in PARTS[part])


def read(runs: Path, question_type: str) -> dict[str, Seeds]:
    """Predictions of each experiment's seeds for one type of question, in equal order.

    Raises:
        UserError: If no run under the folder was asked such questions.
    """
    found: dict[str, Seeds] = {}
    for path in sorted(runs.glob(f"*/*/seed*/{FILE}")):
        lines = [line for line in read_predictions(path) if line.question_type == question_type]
        if lines:
            lines.sort(key=lambda line: line.question_id)
            found.setdefault(path.parents[2].name, []).append(lines)
    if not found:
        raise UserError(
            f"No {FILE} under {runs} answers a question of type {question_type}: "
            f"run make compositions RUNS={runs}."
        )
    return found


def difference(seeds: Seeds, baseline: Seeds) -> tuple[float, Interval | None]:
    """Accuracy minus the baseline's, and its interval.

    Raises:
        UserError: If both were not asked the same questions.
    """
    ids = [line.question_id for line in baseline[0]]
    if any([line.question_id for line in lines] != ids for lines in (*seeds, *baseline)):
        raise UserError("The runs were asked different questions: they are not comparable.")
    first, second = (
        [[line.correct for line in lines] for lines in side] for side in (seeds, baseline)
    )
    mean = sum(map(sum, first)) / len(first) - sum(map(sum, second)) / len(second)
    images = [line.image for line in baseline[0]]
    return mean / len(ids), bootstrap_difference(first, second, images)


def differences(found: dict[str, Seeds], baseline: str) -> str:
    """First table: right answers, and the difference from the baseline."""
    rows = []
    for name, seeds in found.items():
        right = [sum(line.correct for line in lines) for lines in seeds]
        mean, interval = difference(seeds, found[baseline])
        own = name == baseline
        rows.append(
            (
                name,
                numbers.score(right, len(seeds[0])),
                "-" if own else numbers.points(numbers.rational(mean)),
                "-" if own else numbers.points_interval(interval),
            )
        )
    return markdown(("experiment", "accuracy %", "minus baseline", "95 % interval"), rows)


def errors(found: dict[str, Seeds]) -> str:
    """Second table: wrong answers of all seeds by the kind of word that is wrong."""
    parts = ("finding", *PARTS, "order")
    rows = []
    for name, seeds in found.items():
        wrong = [
            wrong_parts(line.answer, line.prediction)
            for lines in seeds
            for line in lines
            if not line.correct
        ]
        one = sum(len(found) == 1 for found in wrong)
        counts = Counter(part for found in wrong for part in found)
        rows.append((name, str(len(wrong)), str(one), *(str(counts[part]) for part in parts)))
    return markdown(("experiment", "wrong", "in one kind of word", *parts), rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print both tables for seen and for unseen compositions."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("runs", type=Path, help="folder that make compositions wrote")
    parser.add_argument("--baseline", default="vqa-phantom-compositional", help="experiment")
    given = parser.parse_args(arguments)
    for question_type in TYPES:
        found = read(given.runs, question_type)
        if given.baseline not in found:
            raise UserError(
                f"{given.runs} has no {FILE} of {given.baseline}: name another --baseline."
            )
        print(
            f"{question_type}, baseline {given.baseline}\n\n{differences(found, given.baseline)}\n"
        )
        print(f"{errors(found)}\n")


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
