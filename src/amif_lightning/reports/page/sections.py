"""The parts of the page that belong to one data set under one protocol, as plain data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from amif_lightning.reports.analysis.groups import Group
from amif_lightning.reports.analysis.retrieval_groups import RetrievalGroup
from amif_lightning.reports.analysis.seeds import count_of
from amif_lightning.reports.page.images import Sheet, sheets
from amif_lightning.reports.page.samples import Samples, samples
from amif_lightning.reports.records.answering import OVERALL
from amif_lightning.reports.render import figures, knowledge_table
from amif_lightning.reports.render.comparisons import Compared, compare
from amif_lightning.reports.render.figures import Chart
from amif_lightning.reports.render.knowledge_table import knowledge_rows
from amif_lightning.reports.render.local_table import local_tables
from amif_lightning.reports.render.local_verdict import local_sentences
from amif_lightning.reports.render.retrieval_comparisons import compare_searches
from amif_lightning.reports.render.tables import (
    HEADER,
    LEGEND,
    RETRIEVAL_LEGEND,
    retrieval_rows,
    rows,
)
from amif_lightning.reports.render.verdicts import search_statement, statement

# The section's heading says the first three, provenance the last two.
_ELSEWHERE = {"data", "split", "protocol", "hardware", "time per seed"}


@dataclass(frozen=True)
class Table:
    """A table; the first cell of a row names it."""

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    @property
    def words(self) -> tuple[bool, ...]:
        """Whether a column holds words, which start at the left as numbers end at the right."""
        columns = [[cell for cell in col if cell] for col in zip(*self.rows, strict=True)]
        numbers = [sum(cell[0] in "+-0123456789" for cell in column) for column in columns]
        return tuple(
            2 * some < len(column) or not column
            for some, column in zip(numbers, columns, strict=True)
        )


@dataclass(frozen=True)
class Verdict:
    """The judgement of one configuration.

    Attributes:
        name: The configuration.
        seeds: Such as ``3 seeds``.
        claim: What is concluded.
        numbers: The rest of the sentence.
        tone: ``yes``, ``no`` or ``open``: what the claim amounts to.
    """

    name: str
    seeds: str
    claim: str
    numbers: str
    tone: str


@dataclass(frozen=True)
class Section:
    """One data set under one protocol; numbers of different sections cannot be compared.

    Attributes:
        anchor: Its id on the page.
        title: Data set and what was done.
        label: Protocol, unless `literature` says it, and split.
        literature: The label of the protocol ``literature``, empty under another one.
        untrained: Whether a configuration was never trained.
        verdicts: One per configuration.
        results: All configurations; answering: on all questions.
        strata: Answering: a table per configuration, of its other questions by rule and type.
        legend: How results are computed.
        comparison: The comparison.
        compared: Its sentences without what the heading says.
        comparison_table: Its table without these columns, None where nothing was compared.
        chart: What the figure of the scores shows.
        samples: Answering: questions with answers.
        knowledge: Answering: what was read of the vocabulary; None where nothing was.
        local: Studies: tables of local alignment, each with its legend.
        local_said: What they say.
        sheets: Studies: TensorBoard's last images of the baselines' first seeds.
    """

    anchor: str
    title: str
    label: str
    literature: str
    untrained: bool
    verdicts: tuple[Verdict, ...]
    results: Table
    strata: tuple[Table, ...]
    legend: str
    comparison: Compared
    compared: tuple[str, ...]
    comparison_table: Table | None
    chart: Chart
    samples: Samples | None = None
    knowledge: tuple[Table, str] | None = None
    local: tuple[tuple[Table, str], ...] = ()
    local_said: tuple[str, ...] = ()
    sheets: tuple[Sheet, ...] = ()

    @property
    def figure(self) -> str:
        """The scores as SVG; its title differs between sections, and so do the ids inside."""
        return figures.svg(
            f"{self.title}, {self.label}: {self.chart.title}", [self.chart], inline=True
        )


def answer_sections(
    groups: Sequence[Group], baselines: Sequence[str], *, images: bool
) -> Iterable[Section]:
    """A section per data set, layout, protocol and split of the configurations that answered."""

    def place(group: Group) -> tuple[str, str, str, str]:
        return group.key.dataset, group.key.layout, group.protocol, group.key.split

    for (dataset, layout, protocol, split), members in groupby(sorted(groups, key=place), place):
        those = list(members)
        literature = protocol if those[0].key.protocol == "literature" else ""
        compared = compare(those, baselines)
        cells = [list(rows(group)) for group in those]
        overall = [
            own[group.strata.index(OVERALL)] for group, own in zip(those, cells, strict=True)
        ]
        kept = [n for n in HEADER if n not in _ELSEWHERE | {"questions"}]
        # The name of a configuration is the caption of its own table.
        of_strata = [
            "questions",
            *(n for n in kept if n not in ("experiment", "seeds", "test runs")),
        ]
        yield Section(
            anchor=f"answers-{_slug(dataset, layout, protocol, split)}",
            title=f"{dataset} {layout}: answering",
            label=_split(split) if literature else f"protocol {protocol}, {_split(split)}",
            literature=literature,
            untrained=any(group.first.untrained for group in those),
            verdicts=tuple(
                _verdict(group.name, count_of(group.runs), statement(group)) for group in those
            ),
            results=_table("Results on all questions", HEADER, overall, kept),
            strata=tuple(
                _table(f"{group.name}: by rule and question type", HEADER, own, of_strata)
                for group, own in zip(those, cells, strict=True)
            ),
            legend=LEGEND,
            comparison=compared,
            compared=tuple(s.removeprefix(f"{those[0].label}, ") for s in compared.sentences),
            comparison_table=_comparison(compared),
            chart=figures.comparison(those, compared, baselines),
            samples=samples(those, images=images),
            knowledge=_knowledge(those),
        )


def search_sections(
    groups: Sequence[RetrievalGroup], baselines: Sequence[str], *, images: bool
) -> Iterable[Section]:
    """A section per data set, layout and split of the configurations that searched."""
    for (dataset, layout, split), members in groupby(
        groups, key=lambda g: (g.key.dataset, g.key.layout, g.key.split)
    ):
        those = list(members)
        compared = compare_searches(those, baselines)
        header, cells = retrieval_rows(those)
        yield Section(
            anchor=f"retrieval-{_slug(dataset, layout, split)}",
            title=f"{dataset} {layout}: image-text retrieval",
            label=_split(split),
            literature="",
            untrained=any(group.first.untrained for group in those),
            verdicts=tuple(
                _verdict(group.name, count_of(group.runs), search_statement(group))
                for group in those
            ),
            results=_table(
                "Results on all studies", header, cells, [n for n in header if n not in _ELSEWHERE]
            ),
            strata=(),
            legend=RETRIEVAL_LEGEND,
            comparison=compared,
            compared=tuple(s.removeprefix(f"{those[0].label}, ") for s in compared.sentences),
            comparison_table=_comparison(compared),
            chart=figures.comparison(those, compared, baselines),
            local=_local(those),
            local_said=tuple(
                said.removeprefix(f"{those[0].label}: ")
                for said in local_sentences(those, baselines)
            ),
            sheets=tuple(sheets(_shown(those, baselines))) if images else (),
        )


def _knowledge(groups: Sequence[Group]) -> tuple[Table, str] | None:
    cells, header = knowledge_rows(groups), knowledge_table.HEADER
    if not cells:
        return None
    kept = [name for name in header if name not in _ELSEWHERE]
    return _table(knowledge_table.TITLE, header, cells, kept), knowledge_table.LEGEND


def _local(groups: Sequence[RetrievalGroup]) -> tuple[tuple[Table, str], ...]:
    """The tables of local alignment that there are, each with its legend."""
    return tuple(
        (_table(title, header, rows, [n for n in header if n not in _ELSEWHERE]), legend)
        for title, (header, rows), legend in local_tables(groups)
    )


def _shown(
    groups: Sequence[RetrievalGroup], baselines: Sequence[str]
) -> Iterable[tuple[str, int, Path]]:
    """Name, seed and folder of the first run of each baseline, or of all without one."""
    for group in groups:
        if not baselines or group.key.experiment in baselines:
            yield group.name, group.runs[0].record.seed, group.runs[0].path.parent


def _table(
    caption: str, header: Sequence[str], cells: Iterable[Sequence[str]], columns: Sequence[str]
) -> Table:
    """The chosen columns of a report's table, in the order given."""
    places = [header.index(name) for name in columns]
    return Table(caption, tuple(columns), tuple(tuple(row[p] for p in places) for row in cells))


def _comparison(compared: Compared) -> Table | None:
    if not compared.rows:
        return None
    kept = [name for name in compared.header if name not in _ELSEWHERE]
    return _table("Differences between configurations", compared.header, compared.rows, kept)


def _verdict(name: str, seeds: str, sentence: str) -> Verdict:
    claim, _, numbers = sentence.partition(": ")
    bare = claim.removeprefix("UNTRAINED WEIGHTS; ")
    tone = "open"
    if bare.startswith("evidence"):
        tone = "yes"
    elif bare.startswith("no evidence"):
        tone = "no"
    return Verdict(name, seeds, claim, numbers, tone)


def _split(split: str) -> str:
    return f"{split} split"


def _slug(*words: str) -> str:
    """Words as an id: letters and digits stay, all else is a hyphen."""
    return "-".join("".join(c if c.isalnum() else "-" for c in word.lower()) for word in words)
