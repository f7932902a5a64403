"""Metrics of answers besides accuracy: word overlap, calibration, and its reliability diagram."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from amif_lightning.evaluation import CALIBRATION_BINS
from amif_lightning.reports.analysis.groups import SUBSET_NAMES, AnswerGroup, subset_name
from amif_lightning.reports.analysis.statistics import DRAWS
from amif_lightning.reports.render import figures, numbers
from amif_lightning.reports.render.markdown import Columns, Table, build
from amif_lightning.reports.render.run_info import data_columns

_OVERLAPS = {
    "token_f1": "token F1",
    "token_recall": "token recall",
    "bleu_1": "BLEU-1",
    "rouge_l": "ROUGE-L",
}
_MEASURES = (*_OVERLAPS, "calibration_error")
_LEGEND = (
    "Means over questions and seeds ± standard deviation over seeds; token F1 with the 95 % "
    f"interval of the mean, a bootstrap over images ({DRAWS} draws, fixed seed). Computed by "
    "torchmetrics on normalised words, for open answers. Token F1: F1 of the words that answer and "
    "reference share, for the reference where it is highest. Token recall: share of that "
    "reference's words in the answer. BLEU-1: share of the answer's words in a reference, times "
    "the brevity penalty. ROUGE-L: F1 of the longest common subsequence. Calibration error: "
    f"expected calibration error, the mean distance in {CALIBRATION_BINS} bins of equal width "
    "between the probability of the answer and the share of correct answers; a dash without "
    "probabilities. A wrong answer may share most words with the right one: no verdict uses these "
    "metrics."
)


class _Row(NamedTuple):
    group: AnswerGroup
    subset: str

    def score(self, measure: str) -> str:
        """Mean over seeds in percent; a dash if unknown, or for the overlap of closed answers."""
        scored = measure == "calibration_error" or self.subset.startswith("open/")
        values = self.group.values(self.subset, measure) if scored else []
        if not values or self.group.count(self.subset) < numbers.MIN_FOR_PERCENT:
            return numbers.NONE
        return numbers.over_seeds(values, 1, scale=100)

    @property
    def interval(self) -> str:
        if self.score("token_f1") == numbers.NONE:
            return numbers.NONE
        return numbers.interval(self.group.interval(self.subset, "token_f1"))


_NAMES: Columns[_Row] = data_columns(lambda row: row.group)
_COLUMNS: Columns[_Row] = (
    *_NAMES,
    ("protocol", lambda row: row.group.first.protocol_label),
    ("questions", lambda row: subset_name(row.subset)),
    ("token F1 %", lambda row: row.score("token_f1")),
    ("95 % interval", lambda row: row.interval),
    *(
        (f"{name} %", lambda row, measure=measure: row.score(measure))
        for measure, name in _OVERLAPS.items()
        if measure != "token_f1"
    ),
    ("calibration error %", lambda row: row.score("calibration_error")),
    ("seeds", lambda row: str(len(row.group.runs))),
)


def metrics_table(groups: Iterable[AnswerGroup]) -> Table:
    """Tabulate the other metrics of all, closed and open questions, where there are any."""
    rows = [
        _Row(group, subset)
        for group in groups
        if all(record.overlap for record in group.records)
        for subset in group.subsets
        if subset in SUBSET_NAMES
    ]
    rows = [row for row in rows if any(row.score(name) != numbers.NONE for name in _MEASURES)]
    return build("Other metrics of answers", _COLUMNS, rows, _LEGEND)


# ---- reliability ------------------------------------------------------------------------------


class Bin(NamedTuple):
    """Answers with a probability in one bin: their number, mean probability and correct share."""

    answers: int
    probability: float
    correct: float


def reliability(group: AnswerGroup) -> list[Bin]:
    """Return the bins with answers, of all seeds; empty unless all answers have probabilities."""
    lines = [] if group.missing else [line for lines in group.lines for line in lines]
    known = [line.log_likelihood for line in lines if line.log_likelihood is not None]
    if not lines or len(known) < len(lines):
        return []
    given = np.exp(np.minimum(known, 0.0))
    edges = np.linspace(0, 1, CALIBRATION_BINS + 1)
    right = [float(line.correct) for line in lines]
    counts, sums, hits = (np.histogram(given, edges, weights=w)[0] for w in (None, given, right))
    return [
        Bin(int(n), float(total / n), float(hit / n))
        for n, total, hit in zip(counts, sums, hits, strict=True)
        if n
    ]


def reliability_diagram(groups: Sequence[AnswerGroup]) -> str:
    """Draw a reliability diagram per configuration of a section as SVG for the page.

    Empty without probabilities.
    """
    from matplotlib.figure import Figure

    found = [(group.name, bins) for group in groups if (bins := reliability(group))]
    if not found:
        return ""
    columns = min(len(found), 3)
    rows = -(-len(found) // columns)
    title = f"{groups[0].label}: reliability of the answers' probabilities"
    with figures.style(title):
        wide, tall = 310 * columns, 300 * rows
        figure = Figure((wide / figures.DPI, tall / figures.DPI), dpi=figures.DPI)
        # Not a tight layout, which draws everything twice.
        ends = {
            "left": 55 / wide,
            "right": 1 - 15 / wide,
            "bottom": 45 / tall,
            "top": 1 - 30 / tall,
        }
        figure.subplots_adjust(**ends, wspace=0.3, hspace=0.4)
        for place, (name, bins) in enumerate(found, start=1):
            axes = figure.add_subplot(rows, columns, place, facecolor="none")
            axes.set(xlim=(0, 100), ylim=(0, 108), xlabel="probability %", ylabel="correct %")
            axes.set_title(name, size=11)
            axes.spines[:].set_color(figures.PALETTE["grid"])
            axes.tick_params(color=figures.PALETTE["grid"])
            line: Any = {"color": figures.PALETTE["ink"], "lw": 1}
            axes.plot([0, 100], [0, 100], ls=(0, (3, 3)), **line)
            points = [(100 * one.probability, 100 * one.correct) for one in bins]
            axes.plot(*zip(*points, strict=True), marker="o", color=figures.PALETTE["bar"])
            for one, point in zip(bins, points, strict=True):
                axes.annotate(
                    str(one.answers), point, (0, 6), textcoords="offset points", ha="center", size=9
                )
        return figures.rendered(figure, title, _described(found), inline=True)


def _described(found: Sequence[tuple[str, Sequence[Bin]]]) -> str:
    return " ".join(
        f"{name}: "
        + "; ".join(
            f"{one.answers} answers with mean probability {numbers.percent(one.probability)} %, "
            f"{numbers.percent(one.correct)} % correct"
            for one in bins
        )
        + "."
        for name, bins in found
    )
