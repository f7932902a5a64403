"""The HTML page, filled into the templates: a section per data set under one protocol."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib import resources
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from amif_lightning import __version__
from amif_lightning.errors import printable
from amif_lightning.reports.analysis.groups import AnswerGroup, AnyGroup, SearchGroup
from amif_lightning.reports.page.images import Sheet, sheets
from amif_lightning.reports.page.samples import Samples, samples
from amif_lightning.reports.records.run import OVERALL
from amif_lightning.reports.render import figures
from amif_lightning.reports.render.answer_metrics import metrics_table, reliability_diagram
from amif_lightning.reports.render.comparisons import Compared, compare
from amif_lightning.reports.render.confusions import confusion_table
from amif_lightning.reports.render.local_alignment import local_sentences, local_tables
from amif_lightning.reports.render.markdown import Table
from amif_lightning.reports.render.numbers import MIN_FOR_PERCENT, count_of
from amif_lightning.reports.render.run_info import facts, notes, option_table
from amif_lightning.reports.render.tables import (
    answer_table,
    interval_of,
    knowledge_table,
    published_table,
    search_table,
)
from amif_lightning.reports.render.verdicts import judge

# The browser itself refuses network and scripts.
POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; "
    "form-action 'none'"
)
# Columns that repeat the section's heading or its provenance.
_ELSEWHERE = {"data", "split", "protocol", "hardware", "time per seed"}
_MAX_ROWS = 12  # a longer table of differences is folded


class Block(NamedTuple):
    """A heading, sentences, tables, and further sentences."""

    title: str
    tables: Sequence[Table]
    before: Sequence[str] = ()
    after: Sequence[str] = ()


class Verdict(NamedTuple):
    """The judgement of one configuration; ``tone`` is ``yes``, ``no`` or ``open``.

    ``levels`` are its score (``bar``), baseline, control and ceiling in percent, each with its
    name; empty for too few cases.
    """

    name: str
    seeds: str
    claim: str
    numbers: str
    tone: str
    score: str
    interval: str
    levels: dict[str, tuple[str, float]]


@dataclass(frozen=True)
class Section:
    """One data set under one protocol; numbers of different sections cannot be compared."""

    anchor: str
    title: str
    label: str  # the split, and the protocol unless ``literature`` holds it
    untrained: bool
    verdicts: Sequence[Verdict]
    blocks: Sequence[Block]
    chart: figures.Chart
    literature: str = ""
    types: Sequence[tuple[str, str]] = ()  # name of the configuration, SVG
    reliability: str = ""  # SVG; empty without probabilities of answers
    samples: Samples | None = None  # questions
    sheets: Sequence[Sheet] = ()  # images of runs on studies

    @property
    def figure(self) -> str:
        """The scores as SVG; the title and the ids inside are unique on the page."""
        title = f"{self.title}, {self.label}: {self.chart.title}"
        return figures.svg(title, [self.chart], inline=True)


def page_sections(
    groups: Sequence[AnyGroup], baselines: Sequence[str], *, images: bool
) -> Iterable[Section]:
    """Yield a section per data set, layout, protocol and split of configurations of one kind."""

    def place(group: AnyGroup) -> tuple[str, str, str, str]:
        key = group.key
        return key.dataset, key.layout, group.first.protocol_label, key.split

    for (dataset, layout, protocol, split), members in groupby(sorted(groups, key=place), place):
        those = list(members)
        searched = those[0].first.kind == "retrieval"
        literature = protocol if those[0].key.protocol == "literature" else ""
        compared = compare(those, baselines)
        blocks = _search_blocks(those, baselines) if searched else _answer_blocks(those)
        # The first run of each baseline, or of all configurations without a baseline.
        first = [
            (group.name, group.runs[0].record.seed, group.runs[0].path.parent)
            for group in those
            if searched and images and (not baselines or group.key.experiment in baselines)
        ]
        unnamed = searched or literature  # the label of the protocol is elsewhere
        yield Section(
            anchor=_slug(dataset, layout, protocol, split),
            title=f"{dataset} {layout}: {'image-text retrieval' if searched else 'answering'}",
            label=f"{split} split" if unnamed else f"protocol {protocol}, {split} split",
            untrained=any(group.first.untrained for group in those),
            verdicts=[_verdict(group) for group in those],
            blocks=[*blocks, *_comparisons(those[0].label, compared), *_options(those)],
            chart=figures.comparison(those, compared, baselines),
            literature=literature,
            types=[] if searched else [(g.name, svg) for g in those if (svg := figures.by_type(g))],
            reliability="" if searched else reliability_diagram(those),
            samples=None if searched else samples(those, images=images),
            sheets=sheets(first),
        )


def _answer_blocks(groups: Sequence[AnswerGroup]) -> Iterable[Block]:
    overall = answer_table(groups, overall=True)
    results = [_table(overall, "Results on all questions", {"questions"})]
    for group in groups:
        caption = f"{group.name}: by rule and question type"
        hidden = {"experiment", "seeds", "test runs"}
        results.append(_table(answer_table([group]), caption, hidden, caption, legend=""))
    yield Block("Results", results)
    scores = metrics_table(groups)
    if scores.rows:
        yield Block("Other metrics of answers", [_table(scores)])
    read = knowledge_table(groups)
    if read.rows:
        yield Block("Answer vocabulary", [_table(read)])
    confused: list[Table] = []
    for group in groups:
        table = confusion_table(group)
        if table.rows:
            legend = "" if confused else table.legend
            title = f"{group.name}: frequent wrong answers"
            confused.append(
                _table(table, title, folded=title if len(groups) > 1 else "", legend=legend)
            )
    if confused:
        yield Block("Frequent wrong answers", confused)


def _search_blocks(groups: Sequence[SearchGroup], baselines: Sequence[str]) -> Iterable[Block]:
    yield Block("Results", [_table(search_table(groups), "Results on all studies")])
    local = [_table(table) for table in local_tables(groups)]
    head = f"{groups[0].label}: "
    judged = [text.removeprefix(head) for text in local_sentences(groups, baselines)]
    if local or judged:
        yield Block("Local alignment", local, after=judged)


def _table(
    table: Table,
    title: str = "",
    hidden: Iterable[str] = (),
    folded: str = "",
    legend: str | None = None,
) -> Table:
    """Convert a table of the Markdown, without the columns that the page shows elsewhere."""
    legend = table.legend if legend is None else legend
    left_out = {*_ELSEWHERE, *hidden}
    return table.without(left_out, title=title or table.title, folded=folded, legend=legend)


def _options(groups: Sequence[AnyGroup]) -> Iterable[Block]:
    table = option_table(groups)
    if table.rows:
        yield Block("Options that differ", [_table(table, folded=f"All {len(table.rows)} options")])


def _comparisons(label: str, compared: Compared) -> Iterable[Block]:
    sentences = [text.removeprefix(f"{label}, ") for text in compared.sentences]
    if not compared.pairs:
        if sentences or compared.remarks:
            yield Block("Comparisons", (), sentences, compared.remarks)
        return
    count = len(compared.pairs)
    folded = f"All {count} differences" if count > _MAX_ROWS else ""
    table = _table(compared.table, "Differences between configurations", folded=folded)
    yield Block("Comparisons", [table], sentences, compared.remarks)


def _verdict(group: AnyGroup) -> Verdict:
    claim, numbers = judge(group)
    bare = claim.removeprefix("UNTRAINED WEIGHTS; ")
    tones = {"no evidence": "no", "evidence": "yes"}
    tone = next((tone for start, tone in tones.items() if bare.startswith(start)), "open")
    found = (group.name, count_of(group.runs), claim, numbers, tone)
    if group.count() < MIN_FOR_PERCENT:
        return Verdict(*found, "", "", {})
    bar = figures.Bar(group.name, group, OVERALL)
    names = figures.names_of(group)
    levels = {"bar": (group.first.MAIN, 100 * group.mean())}
    levels |= {kind: (names[kind], 100 * level) for kind, level in bar.levels.items()}
    return Verdict(*found, bar.text, interval_of(group), levels)


def _slug(*words: str) -> str:
    """Return an id: letters and digits are kept, everything else becomes a hyphen."""
    return "".join(c if c.isalnum() else "-" for c in "-".join(words).lower())


def page(
    folder: Path,
    groups: Sequence[AnswerGroup],
    searches: Sequence[SearchGroup],
    baselines: Sequence[str] = (),
    *,
    images: bool = True,
    published: bool = False,
    command: str = "",
) -> str:
    """Render the report as one HTML document; all text from records is escaped.

    ``folder`` of the runs gives the title and the list of runs without a result. At least one
    group is given. Without ``baselines`` see `compare`. ``command`` is printed as the one that made
    the page.
    """
    # Only the page needs these.
    import yaml
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup, escape

    environment = Environment(
        loader=PackageLoader(__package__),
        autoescape=True,
        # The configuration and the templates' own parts have lines.
        finalize=lambda value: printable(value, keep="\n") if type(value) is str else value,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # Long names may break after their underscores, numbers not before their sign.
    environment.filters["name"] = lambda text: escape(printable(text)).replace(
        "_", Markup("_<wbr>")
    )
    environment.filters["prose"] = lambda text: printable(text).replace(" %", "\u00a0%")
    style = (resources.files(__package__) / "style.css").read_text(encoding="utf-8")
    sections = [
        *page_sections(groups, baselines, images=images),
        *page_sections(searches, baselines, images=images),
    ]
    both: list[AnyGroup] = [*groups, *searches]
    sources = [
        {
            "name": group.name,
            "where": group.label,
            "facts": facts(group),
            "remarks": list(notes(group)),
            "config": yaml.safe_dump(group.first.config, sort_keys=False, allow_unicode=True),
            "config_seed": group.first.seed,
        }
        for group in both
    ]
    finished = [datetime.fromisoformat(r.finished) for group in both for r in group.records]
    counts = f"configurations: {len(both)}, runs: {len(finished)}, sections: {len(sections)}"
    newest = f"the newest run finished {max(finished):%Y-%m-%d %H:%M} (UTC)"
    return environment.get_template("page.html.jinja").render(
        title=f"Report on {folder.resolve().name}",
        version=__version__,
        policy=POLICY,
        style=Markup(style),  # not escaped: from this package
        literature=list(dict.fromkeys(s.literature for s in sections if s.literature)),
        sections=sections,
        summary=f"{counts.capitalize()}; {newest}.",
        published=published_table() if published else None,
        sources=sources,
        unfinished=unfinished(folder),
        command=command,
    )


def unfinished(folder: Path) -> list[Path]:
    """List the run folders below ``folder`` with a configuration and no result."""
    return sorted(
        file.parent
        for file in folder.rglob("config.yaml")
        if not any(file.parent.glob("result-*.json"))
    )
