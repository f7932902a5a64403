"""The search of pre-training runs as SVG panels: precision with interval, seeds and chance."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from amif_lightning.reports import numbers
from amif_lightning.reports.retrieval_groups import RetrievalGroup
from amif_lightning.reports.seeds import compact, count_of
from amif_lightning.reports.study_lines import JUDGED
from amif_lightning.reports.svg import (
    AXIS,
    BLUE,
    GREEN,
    GREY,
    HEAD,
    INK,
    LEFT,
    ORANGE,
    PLOT,
    ROW,
    bar,
    circle,
    line,
    text,
    whiskers,
)

TOP = 66
# Ends of the axis in percent: the first that holds every mark of a panel is taken.
ENDS = (5, 10, 20, 40, 60, 80, 100)
TICKS = 5
# Letters of 12 pixels that the space left of the bars holds.
_LETTERS = 40


def search_panels(groups: Sequence[RetrievalGroup], top: float) -> tuple[list[str], float]:
    """A legend, and one panel per data set and split with a bar per experiment.

    Configurations with fewer than `numbers.LEAST_FOR_PERCENT` studies have no percentage and no
    bar; the panel names them.

    Args:
        groups: Sorted by data set, layout and split; at least one.
        top: Where the panels start, in pixels from the top.

    Returns:
        The elements, and where they end.
    """
    body = _legend(top)
    top += TOP
    for (dataset, layout, split), members in groupby(
        groups, key=lambda g: (g.key.dataset, g.key.layout, g.key.split)
    ):
        panel, top = _panel(f"{dataset} {layout} [retrieval, {split}]", list(members), top)
        body += panel
    return body, top


def _panel(title: str, groups: Sequence[RetrievalGroup], top: float) -> tuple[list[str], float]:
    shown = [g for g in groups if g.first.studies >= numbers.LEAST_FOR_PERCENT]
    first = top + HEAD
    bottom = first + ROW * len(shown)
    end = axis_end(shown)
    studies = compact([group.first.studies for group in groups])
    parts = [text(10, top + 20, f"{title}, n = {studies}", weight="bold", size=13)]
    for number in range(TICKS + 1):
        x = LEFT + PLOT * number / TICKS
        parts.append(line(x, first, x, bottom + 4, GREY))
        written = f"{end * number / TICKS:g} %"
        parts.append(text(x, bottom + 17, written, anchor="middle", size=11))
    for index, group in enumerate(shown):
        parts += _row(group, first + ROW * index, end)
    for group in groups:
        if group not in shown:
            bottom += 16
            words = f"Too few studies for a bar: {group.name} ({group.first.studies})"
            parts.append(text(10, bottom + 19, words, size=11))
    return parts, bottom + AXIS


def axis_end(groups: Sequence[RetrievalGroup]) -> int:
    """The shortest axis that holds scores, intervals, chance and the best possible value."""
    most = 0.0
    for group in groups:
        span = group.interval()
        marks = [*map(float, group.values()), float(group.chance()), group.first.ceiling[JUDGED]]
        most = max(most, *marks, span.high if span else 0.0)
    return next((end for end in ENDS if 100 * most <= end + 1e-6), ENDS[-1])


def _row(group: RetrievalGroup, top: float, end: int) -> list[str]:
    def x(share: float) -> float:
        return LEFT + PLOT * 100 * share / end

    middle = top + ROW / 2
    mean = group.mean()
    label = f"{group.name}, {count_of(group.runs)}"
    chance, best = x(float(group.chance())), x(group.first.ceiling[JUDGED])
    parts = [
        # Smaller letters for names that would begin left of the picture.
        text(LEFT - 8, middle + 4, label, anchor="end", size=min(12, 12 * _LETTERS // len(label))),
        bar(x(float(mean)) - LEFT, middle, BLUE),
        line(chance, top + 2, chance, top + ROW - 2, ORANGE, width=2.5, dashed=True),
        line(best, top + 2, best, top + ROW - 2, GREEN, width=2.5),
    ]
    span = group.interval()
    if span is not None:
        parts += whiskers(x(span.low), x(span.high), middle)
    # Below the bar: on it the dots would hide the ends of the interval.
    parts += [circle(x(float(value)), middle + 10, INK, radius=2) for value in group.values()]
    deviation = group.deviation()
    spread = "" if deviation is None else f" ± {100 * deviation:.1f}"
    parts.append(text(LEFT + PLOT + 10, middle + 4, f"{numbers.percent(mean)} %{spread}"))
    return parts


def _legend(top: float) -> list[str]:
    y = top + 46
    a, b, c, d, e = 10.0, 235.0, 365.0, 455.0, 555.0  # left ends of the five entries
    title = f"Image-text retrieval: precision@{JUDGED}, mean over both directions"
    return [
        text(10, top + 22, title, weight="bold", size=15),
        f'<rect x="{a}" y="{y - 10}" width="18" height="12" fill="{BLUE}"/>',
        text(a + 24, y, f"precision@{JUDGED} (mean over seeds)"),
        *whiskers(b, b + 18, y - 4),
        text(b + 24, y, "95 % interval"),
        circle(c + 4, y - 4, INK, radius=2),
        text(c + 14, y, "one seed"),
        line(d + 5, y - 13, d + 5, y + 5, ORANGE, width=2.5, dashed=True),
        text(d + 14, y, "chance"),
        line(e + 5, y - 13, e + 5, y + 5, GREEN, width=2.5),
        text(e + 14, y, "best possible"),
    ]
