"""Wrong words in composed answers of the phantoms.

Run ``python benchmarks/measures/composition_errors.py RUNS`` after ``make compositions``. For each
experiment, and separately for compositions seen and unseen in training, it prints the wrong answers
of all seeds, those with one kind of word wrong, and those with each kind wrong.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from amif_lightning.errors import UserError
from amif_lightning.reports.records.answering import PredictionLine
from amif_lightning.reports.records.schema import read_lines
from amif_lightning.reports.render.markdown import markdown
from data_modules.phantom.compositions import SEEN, UNSEEN
from data_modules.phantom.simulator.findings import COUNTS, SIDES, SIZES, ZONES

FILE = "predictions-test.jsonl"
KINDS = ("finding", "side", "zone", "size", "number", "order")
WORDS = {word: "side" for word in (*SIDES, "bilateral")}
WORDS |= {word: "zone" for word in ZONES}
WORDS |= {word: "size" for word in SIZES}
WORDS |= {word: "number" for word in COUNTS}


def wrong_kinds(answer: str, prediction: str) -> set[str]:
    """Return the kinds of the words that differ in a prediction; ``finding`` if no other kind fits.

    Order and plural are ignored; if nothing else differs, ``order`` is wrong.
    """
    asked, given = (Counter(map(_singular, text.split())) for text in (answer, prediction))
    wrong = {WORDS.get(word, "finding") for word in (asked - given) | (given - asked)}
    return wrong or ({"order"} if answer != prediction else set())


def _singular(word: str) -> str:
    return word if word in WORDS else word.removesuffix("s")


def read(runs: Path) -> dict[str, list[PredictionLine]]:
    """Read the composed questions of each experiment, all seeds; a UserError if there are none."""
    found: dict[str, list[PredictionLine]] = {}
    for path in sorted(runs.glob(f"*/*/seed*/{FILE}")):
        lines = [
            line
            for line in read_lines(path, PredictionLine)
            if line.question_type in (SEEN, UNSEEN)
        ]
        if lines:
            found.setdefault(path.parents[2].name, []).extend(lines)
    if not found:
        raise UserError(
            f"No {FILE} under {runs} answers a composed question: "
            f"run make compositions RUNS={runs}."
        )
    return found


def row(lines: Iterable[PredictionLine]) -> list[int]:
    """Count wrong answers, those with one kind of word wrong, and those with each of `KINDS`."""
    wrong = [wrong_kinds(line.answer, line.prediction) for line in lines if not line.correct]
    counts = Counter(kind for kinds in wrong for kind in kinds)
    return [len(wrong), sum(len(kinds) == 1 for kinds in wrong), *(counts[kind] for kind in KINDS)]


def main(arguments: Sequence[str] | None = None) -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("runs", type=Path, help="folder that make compositions wrote")
    found = read(parser.parse_args(arguments).runs)
    rows = [
        [name, asked, *map(str, row(line for line in lines if line.question_type == asked))]
        for asked in (SEEN, UNSEEN)
        for name, lines in found.items()
    ]
    print(markdown(("experiment", "questions", "wrong", "in one kind of word", *KINDS), rows))


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
