"""The parts of the page that belong to one data set under one protocol, as plain data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from amif_lightning.reports.analysis.groups import AnswerGroup, AnyGroup, SearchGroup
from amif_lightning.reports.page.images import Sheet, sheets
from amif_lightning.reports.page.samples import Samples, samples
from amif_lightning.reports.render import figures, markdown
from amif_lightning.reports.render.comparisons import Compared, compare
from amif_lightning.reports.render.local_tables import local_tables
from amif_lightning.reports.render.local_verdict import local_sentences
from amif_lightning.reports.render.numbers import count_of
from amif_lightning.reports.render.tables import answer_table, knowledge_table, search_table
from amif_lightning.reports.render.verdicts import statement

# The section's heading says the first three, provenance the last two.
_ELSEWHERE = {"data", "split", "protocol", "hardware", "time per seed"}
_MOST_ROWS = 12  # a longer table of differences is folded


@dataclass(frozen=True)
class Table:
    """A table; the first cell of a row names it.

    Attributes:
        caption: What it shows.
        header: Names of the columns.
        rows: The cells.
        legend: How they are computed.
        folded: What opens it; empty: it is open.
    """

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    legend: str = ""
    folded: str = ""

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
class Block:
    """A heading, sentences, tables, and further sentences."""

    title: str
    tables: tuple[Table, ...]
    before: Sequence[str] = ()
    after: Sequence[str] = ()


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
        untrained: Whether a configuration was never trained.
        verdicts: One per configuration.
        blocks: Tables and sentences.
        chart: What the figure of the scores shows.
        literature: The label of the protocol ``literature``, empty under another one.
        samples: Questions with answers; None for studies.
        sheets: TensorBoard's last images of the baselines' first seeds; none for questions.
    """

    anchor: str
    title: str
    label: str
    untrained: bool
    verdicts: tuple[Verdict, ...]
    blocks: tuple[Block, ...]
    chart: figures.Chart
    literature: str = ""
    samples: Samples | None = None
    sheets: tuple[Sheet, ...] = ()

    @property
    def figure(self) -> str:
        """The scores as SVG; its title differs between sections, and so do the ids inside."""
        title = f"{self.title}, {self.label}: {self.chart.title}"
        return figures.svg(title, [self.chart], inline=True)


def answer_sections(
    groups: Sequence[AnswerGroup], baselines: Sequence[str], *, images: bool
) -> Iterable[Section]:
    """A section per data set, layout, protocol and split of the configurations that answered."""

    def place(group: AnswerGroup) -> tuple[str, str, str, str]:
        key = group.key
        return key.dataset, key.layout, group.first.protocol_label, key.split

    for (dataset, layout, protocol, split), members in groupby(sorted(groups, key=place), place):
        those = list(members)
        literature = protocol if those[0].key.protocol == "literature" else ""
        compared = compare(those, baselines)
        # The name of a configuration is the caption of its own table.
        named = {"experiment", "seeds", "test runs"}
        captions = [f"{group.name}: by rule and question type" for group in those]
        overall = answer_table(those, overall=True)
        results = [
            _table(overall, "Results on all questions", hidden={"questions"}),
            *(
                _table(answer_table([group]), caption, folded=caption, legend="", hidden=named)
                for caption, group in zip(captions, those, strict=True)
            ),
        ]
        blocks = [Block("Results", tuple(results)), _comparisons(those[0].label, compared)]
        read = knowledge_table(those)
        if read.rows:
            blocks.insert(1, Block("Answer vocabulary", (_table(read),)))
        yield Section(
            anchor=_slug("answers", dataset, layout, protocol, split),
            title=f"{dataset} {layout}: answering",
            label=f"{split} split" if literature else f"protocol {protocol}, {split} split",
            untrained=any(group.first.untrained for group in those),
            verdicts=tuple(_verdict(group, statement(group)) for group in those),
            blocks=tuple(blocks),
            chart=figures.comparison(those, compared, baselines),
            literature=literature,
            samples=samples(those, images=images),
        )


def search_sections(
    groups: Sequence[SearchGroup], baselines: Sequence[str], *, images: bool
) -> Iterable[Section]:
    """A section per data set, layout and split of the configurations that searched."""
    for (dataset, layout, split), members in groupby(
        groups, key=lambda g: (g.key.dataset, g.key.layout, g.key.split)
    ):
        those = list(members)
        label = those[0].label
        compared = compare(those, baselines)
        table = _table(search_table(those), "Results on all studies")
        blocks = [Block("Results", (table,)), _comparisons(label, compared)]
        local = tuple(map(_table, local_tables(those)))
        said = [text.removeprefix(f"{label}: ") for text in local_sentences(those, baselines)]
        if local or said:
            blocks.insert(1, Block("Local alignment", local, after=said))
        # The first run of each baseline, or of all configurations without one.
        first = [
            (group.name, group.runs[0].record.seed, group.runs[0].path.parent)
            for group in those
            if not baselines or group.key.experiment in baselines
        ]
        yield Section(
            anchor=_slug("retrieval", dataset, layout, split),
            title=f"{dataset} {layout}: image-text retrieval",
            label=f"{split} split",
            untrained=any(group.first.untrained for group in those),
            verdicts=tuple(_verdict(group, statement(group)) for group in those),
            blocks=tuple(blocks),
            chart=figures.comparison(those, compared, baselines),
            sheets=tuple(sheets(first)) if images else (),
        )


def _table(
    table: markdown.Table,
    caption: str = "",
    *,
    folded: str = "",
    legend: str | None = None,
    hidden: Iterable[str] = (),
) -> Table:
    """A report's table without what stands elsewhere on the page."""
    left_out = {*_ELSEWHERE, *hidden}
    kept = [place for place, name in enumerate(table.header) if name not in left_out]
    columns = tuple(table.header[place] for place in kept)
    shown = tuple(tuple(row[place] for place in kept) for row in table.rows)
    legend = table.legend if legend is None else legend
    return Table(caption or table.title, columns, shown, legend, folded)


def _comparisons(label: str, compared: Compared) -> Block:
    said = [text.removeprefix(f"{label}, ") for text in compared.sentences]
    if not compared.pairs:
        nothing = [] if said else ["There is nothing to compare in this section."]
        return Block("Comparisons", (), said + nothing, compared.remarks)
    count = len(compared.pairs)
    folded = f"All {count} differences" if count > _MOST_ROWS else ""
    table = _table(compared.table, "Differences between configurations", folded=folded)
    return Block("Comparisons", (table,), said, compared.remarks)


def _verdict(group: AnyGroup, sentence: str) -> Verdict:
    claim, _, numbers = sentence.partition(": ")
    bare = claim.removeprefix("UNTRAINED WEIGHTS; ")
    tone = "no" if bare.startswith("no evidence") else "open"
    tone = "yes" if bare.startswith("evidence") else tone
    return Verdict(group.name, count_of(group.runs), claim, numbers, tone)


def _slug(*words: str) -> str:
    """Words as an id: letters and digits stay, all else is a hyphen."""
    return "".join(c if c.isalnum() else "-" for c in "-".join(words).lower())
