"""The page: sections of configurations that may be compared, and what is known of each run."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from importlib import resources
from itertools import groupby
from pathlib import Path
from typing import Any

from amif_lightning.reports.comparisons import comparisons
from amif_lightning.reports.groups import Group, Run
from amif_lightning.reports.markdown import Table
from amif_lightning.reports.origins import time_per_seed
from amif_lightning.reports.page.bars import draw_differences
from amif_lightning.reports.page.curves import (
    ANSWERING,
    SEARCHING,
    Curve,
    draw_curves,
    draw_key,
    read_scalars,
)
from amif_lightning.reports.page.samples import Samples, draw_samples
from amif_lightning.reports.pairs import Differences
from amif_lightning.reports.record import OVERALL
from amif_lightning.reports.retrieval_comparisons import retrieval_comparisons
from amif_lightning.reports.retrieval_groups import RetrievalGroup, SearchRun
from amif_lightning.reports.retrieval_table import LEGEND as SEARCH_LEGEND
from amif_lightning.reports.retrieval_table import retrieval_notes, retrieval_results
from amif_lightning.reports.retrieval_verdict import search_verdict
from amif_lightning.reports.run_record import RunRecord
from amif_lightning.reports.table import HEADER, LEGEND, notes, rows_of
from amif_lightning.reports.verdict import verdict

# Columns of the results table that a section's title says already.
_SAID = frozenset({"data", "split", "protocol"})
_STRATUM = HEADER.index("questions")


@dataclass(frozen=True)
class Options:
    """What the page shows beside the tables.

    Attributes:
        baselines: The experiments that all others are compared with; none: all pairs.
        published: Whether peers' published numbers are appended.
        images: Folder of the data set, for sample answers; None takes the one in the records.
        pictures: Whether sample answers show pictures.
    """

    baselines: Sequence[str] = ()
    published: bool = False
    images: Path | None = None
    pictures: bool = True


@dataclass(frozen=True)
class Strata:
    """Comparisons by kind of question, which are shown on request."""

    table: Table


@dataclass(frozen=True)
class Curves:
    """Learning curves of a configuration.

    Attributes:
        name: The configuration.
        key: An SVG element that says which line is which seed.
        drawn: Titles and SVG elements.
        bare: What is said of seeds without event files; empty otherwise.
    """

    name: str
    key: str
    drawn: list[tuple[str, str]]
    bare: str


@dataclass(frozen=True)
class Section:
    """Configurations whose numbers may be compared.

    Attributes:
        title: Data, protocol and split.
        literature: The protocol's warning; empty under ``clean``.
        verdicts: A sentence for each configuration.
        table: The results, a row for each configuration.
        legend: What the columns mean.
        strata: A table of strata for each configuration, by its name.
        comparisons: Paragraphs, tables and lists of differences.
        figures: SVG elements of configurations against a baseline, with captions.
        curves: Learning curves of each configuration.
        samples: Sample answers; None where there are none.
        notes: What a reader must know beside the numbers.
        runs: Provenance of each configuration.
    """

    title: str
    literature: str
    verdicts: list[str]
    table: Table
    legend: str
    strata: list[tuple[str, Table]]
    comparisons: list[str | Strata]
    figures: list[tuple[str, str]]
    curves: list[Curves]
    samples: Samples | None
    notes: list[str]
    runs: list[dict[str, Any]]


def page(
    groups: Sequence[Group], searches: Sequence[RetrievalGroup], options: Options | None = None
) -> str:
    """The whole page.

    Args:
        groups: Configurations that answered, as `amif_lightning.reports.groups` found them.
        searches: Configurations that searched, as `amif_lightning.reports.retrieval_groups` did.
        options: What it shows beside the tables.

    Returns:
        HTML that needs nothing beside it.
    """
    import jinja2  # lazy: only the page needs it

    options = options or Options()
    sections = [_answers(list(members), options) for _, members in groupby(groups, _comparable)]
    sections += [
        _searches(list(members), options)
        for _, members in groupby(searches, lambda group: (*group.key[:2], group.key.split))
    ]
    # What the sections have in common, side by side: what a protocol is worth is seen there.
    overview = _overview(groups) if len(sections) > 1 and len(groups) > 1 else None
    published: Table | None = None
    caution = ""
    if options.published:
        from amif_lightning.reports import published as peers

        published, caution = Table(peers.HEADER, peers.published_rows()), peers.CAUTION
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("amif_lightning.reports.page", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    style = resources.files(__package__).joinpath("style.css").read_text(encoding="utf-8")
    digest = base64.b64encode(sha256(style.encode()).digest()).decode("ascii")
    return environment.get_template("page.html").render(
        sections=sections,
        overview=overview,
        style=style,
        style_hash=digest,
        published=published,
        caution=caution,
        made=datetime.now(UTC).isoformat(timespec="minutes"),
        is_table=lambda part: isinstance(part, Table),
        is_list=lambda part: isinstance(part, Differences),
        is_strata=lambda part: isinstance(part, Strata),
    )


_OVERVIEW = (
    "experiment",
    "data",
    "protocol",
    "split",
    "accuracy % (± std over seeds)",
    "95 % interval",
    "ceiling %",
    "question-only floor %",
    "shuffled images %",
    "seeds",
)


def _overview(groups: Sequence[Group]) -> Table:
    """One row of all questions for every configuration that answered."""
    return _columns(Table(HEADER, [next(iter(rows_of(group))) for group in groups]), _OVERVIEW)


def _comparable(group: Group) -> tuple[str, ...]:
    return (group.key.dataset, group.key.layout, group.protocol, group.key.split)


def _answers(groups: list[Group], options: Options) -> Section:
    kept = [place for place, name in enumerate(HEADER) if name not in {*_SAID, "questions"}]
    overall, strata = [], []
    for group in groups:
        rows = list(rows_of(group))
        overall.append([rows[0][place] for place in kept])
        own = [place for place in range(_STRATUM, HEADER.index("seeds"))]
        parts = [[row[place] for place in own] for row in rows[1:]]
        strata.append((group.name, Table([HEADER[place] for place in own], parts)))
    parts_of = comparisons(groups, _present(options.baselines, [g.key.experiment for g in groups]))
    clean = groups[0].key.protocol == "clean"
    return Section(
        title=groups[0].label,
        literature="" if clean else groups[0].protocol,
        verdicts=[verdict(group) for group in groups],
        table=Table([HEADER[place] for place in kept], overall),
        legend=LEGEND,
        strata=strata,
        comparisons=_shown(parts_of),
        figures=_figures(parts_of),
        curves=[_curves(group.name, group.runs, ANSWERING) for group in groups],
        samples=draw_samples(groups, options.images, pictures=options.pictures),
        notes=list(notes(groups)),
        runs=[_provenance(group.name, group.runs) for group in groups],
    )


def _searches(groups: list[RetrievalGroup], options: Options) -> Section:
    whole = retrieval_results(groups)
    kept = [name for name in whole.header if name not in _SAID]
    baselines = _present(options.baselines, [g.key.experiment for g in groups])
    parts_of = retrieval_comparisons(groups, baselines)
    return Section(
        title=groups[0].label,
        literature="",
        verdicts=[search_verdict(group) for group in groups],
        table=_columns(whole, kept),
        legend=SEARCH_LEGEND,
        strata=[],
        comparisons=_shown(parts_of),
        figures=_figures(parts_of) if baselines else [],
        curves=[_curves(group.name, group.runs, SEARCHING) for group in groups],
        samples=None,
        notes=list(retrieval_notes(groups)),
        runs=[_provenance(group.name, group.runs) for group in groups],
    )


def _columns(whole: Table, kept: Sequence[str]) -> Table:
    """Some of a table's columns."""
    places = [whole.header.index(name) for name in kept]
    return Table(kept, [[row[place] for place in places] for row in whole.rows])


def _shown(parts: Sequence[str]) -> list[str | Strata]:
    """Comparisons as the page has them: what the section says is left out, strata stand apart."""
    shown: list[str | Strata] = []
    for part in parts:
        if not isinstance(part, Table):
            shown.append(part)
            continue
        table = _columns(part, [name for name in part.header if name not in _SAID])
        if "questions" not in table.header:
            shown.append(table)
            continue
        place = table.header.index("questions")
        overall = [row for row in table.rows if row[place] == OVERALL]
        rest = [row for row in table.rows if row[place] != OVERALL]
        shown.append(Table(table.header, overall))
        if rest:
            shown.append(Strata(Table(table.header, rest)))
    return shown


def _present(baselines: Sequence[str], experiments: Sequence[str]) -> list[str]:
    """The baselines that a section has; another section's would only say that it is not there."""
    return [baseline for baseline in baselines if baseline in experiments]


def _figures(parts: Sequence[str]) -> list[tuple[str, str]]:
    """A picture for each baseline among the differences."""
    pairs = [pair for part in parts if isinstance(part, Differences) for pair in part.pairs]
    of: dict[tuple[str, str], list[Any]] = {}
    for pair in pairs:
        of.setdefault((pair.second, pair.score), []).append(pair)
    return [
        (
            f"Difference of {score} from {second}, in points, with 95 % intervals; a bar is filled "
            "where the interval excludes 0.",
            draw_differences(some),
        )
        for (second, score), some in of.items()
    ]


def _curves(name: str, runs: Sequence[Run | SearchRun], tags: Sequence[tuple[str, str]]) -> Curves:
    """The learning curves of a configuration."""
    read = [
        (run.record.seed, read_scalars(run.path.parent, [tag for tag, _ in tags])) for run in runs
    ]
    drawn = []
    for tag, title in tags:
        # All seeds, also those without values: a seed has one colour in all pictures.
        curves = [Curve(seed, values.get(tag, ())) for seed, values in read]
        if any(curve.points for curve in curves):
            drawn.append((title, draw_curves(f"{name}, {title}", curves)))
    bare = ", ".join(str(seed) for seed, values in read if not values)
    return Curves(
        name,
        draw_key([seed for seed, _ in read]) if drawn else "",
        drawn,
        f"No event files of seed {bare}: no curves." if bare else "",
    )


def _provenance(name: str, runs: Sequence[Run | SearchRun]) -> dict[str, Any]:
    """What is known of where a configuration's numbers come from."""
    records: list[RunRecord] = [run.record for run in runs]
    return {
        "name": name,
        "rows": [
            (
                str(record.seed),
                (record.git_commit or "unknown")[:10] + (" (dirty)" if record.git_dirty else ""),
                record.finished,
                time_per_seed([record]),
                str(record.test_runs),
                record.checkpoint or "none",
                str(run.path.parent),
            )
            for run, record in zip(runs, records, strict=True)
        ],
        "header": ("seed", "commit", "finished", "time", "test runs", "checkpoint", "run folder"),
        "versions": _joined(record.versions for record in records),
        "machine": _joined(
            {"cpu": r.hardware.cpu, "cores": r.hardware.cores, "gpu": r.hardware.gpu or "none"}
            for r in records
        ),
        "config": _yaml(records[0].config),
        "command": f"python -m amif_lightning fit --config {runs[0].path.parent / 'config.yaml'}",
    }


def _joined(mappings: Any) -> str:
    texts = dict.fromkeys(
        ", ".join(f"{key} {value}" for key, value in mapping.items()) for mapping in mappings
    )
    return "; ".join(texts)


def _yaml(config: Mapping[str, Any]) -> str:
    import yaml

    text: str = yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True)
    return text
