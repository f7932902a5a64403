"""The table of what questions read of the answer vocabulary."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from amif_lightning.reports.analysis import statistics
from amif_lightning.reports.analysis.groups import Group, stratum_name
from amif_lightning.reports.records.answering import KnowledgeAverages
from amif_lightning.reports.render import numbers
from amif_lightning.reports.render.numbers import over_seeds

TITLE = "What was read of the answer vocabulary"
HEADER = (
    "data",
    "split",
    "experiment",
    "protocol",
    "questions",
    "answers with an entry",
    "attention on the answer % (± std over seeds)",
    "95 % interval",
    "even share %",
    "top entry in the answer %",
    "effective entries",
    "gate",
    "seeds",
)
LEGEND = (
    "Attention of the question on the vocabulary, averaged over heads. On the answer: its sum over "
    "the entries that are words of the answer, over the questions whose answer has one; the "
    "interval is that of the mean over seeds, by bootstrap over images "
    f"({statistics.DRAWS} draws, fixed seed). Even share: what even attention would put there. "
    "Effective entries: exp of the entropy, 1 where all attention is on one entry. Gate: mean "
    "openness, 0 keeps a token and 1 takes what it read; without a gate 1. A network may "
    "select and be no better for it: compare the accuracies."
)


def knowledge_rows(groups: Iterable[Group]) -> list[list[str]]:
    """The cells under `HEADER`: a row per stratum of each configuration that reads a vocabulary."""
    return [
        _row(group, stratum)
        for group in groups
        if all(record.knowledge for record in group.records)
        for stratum in group.strata
    ]


def _row(group: Group, stratum: str) -> list[str]:
    found = [record.knowledge[stratum] for record in group.records if record.knowledge]
    enough = found[0].known >= numbers.LEAST_FOR_PERCENT

    def share(of: Callable[[KnowledgeAverages], float | None]) -> str:
        return over_seeds(map(of, found), 1, scale=100) if enough else numbers.NONE

    return [
        f"{group.key.dataset} {group.key.layout}",
        group.key.split,
        group.name,
        group.protocol,
        stratum_name(stratum),
        f"{found[0].known} of {found[0].questions}",
        share(lambda one: one.mass),
        numbers.interval(_interval(group, stratum)) if enough else numbers.NONE,
        share(lambda one: one.even),
        share(lambda one: one.top),
        over_seeds((one.effective for one in found), 1),
        over_seeds((one.gate for one in found), 2),
        str(len(group.runs)),
    ]


def _interval(group: Group, stratum: str) -> statistics.Interval | None:
    if group.missing:
        return None
    chosen = [
        place
        for place, line in enumerate(group.lines[0])
        if stratum in line.strata and line.knowledge is not None and line.knowledge.mass is not None
    ]
    mass = [
        [read.mass or 0.0 for place in chosen if (read := run[place].knowledge) is not None]
        for run in group.lines
    ]
    return statistics.bootstrap_mean(mass, [group.lines[0][place].image for place in chosen])
