"""The report as Markdown: verdicts, tables, comparisons, and what the records carry."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from amif_lightning.reports import knowledge_table, numbers, statistics
from amif_lightning.reports.comparisons import comparisons
from amif_lightning.reports.groups import Group, stratum_name
from amif_lightning.reports.knowledge_table import knowledge_rows
from amif_lightning.reports.markdown import markdown
from amif_lightning.reports.origins import (
    common_notes,
    machines,
    missing_notes,
    sources,
    time_per_seed,
)
from amif_lightning.reports.record import Score
from amif_lightning.reports.retrieval_groups import RetrievalGroup
from amif_lightning.reports.retrieval_table import retrieval_notes, retrieval_parts
from amif_lightning.reports.retrieval_verdict import search_verdict
from amif_lightning.reports.seeds import compact
from amif_lightning.reports.verdict import verdict

HEADER = (
    "data",
    "split",
    "experiment",
    "protocol",
    "questions",
    "accuracy % (± std over seeds)",
    "95 % interval",
    "right of asked, per seed",
    "ceiling %",
    "question-only floor %",
    "same-image copy %",
    "shuffled images %",
    "seeds",
    "test runs",
    "hardware",
    "time per seed",
)

LEGEND = (
    "Accuracy is rounded once from whole counts; fewer than "
    f"{numbers.LEAST_FOR_PERCENT} questions are printed as counts alone. "
    "Interval: Wilson for one seed, bootstrap over images "
    f"({statistics.DRAWS} draws, fixed seed) for the mean of several; the spread between seeds "
    "is the ± beside the mean, not part of the interval. "
    "Ceiling: questions whose answer is among the candidates. "
    "Question-only floor and same-image copy look at no picture. "
    "Shuffled images: the same weights with the images permuted among the questions. "
    "Test runs: how often a test of this split was started in the run folder."
)


def report(
    groups: Sequence[Group],
    searches: Sequence[RetrievalGroup] = (),
    baselines: Sequence[str] = (),
) -> str:
    """The whole report without published numbers.

    Args:
        groups: Configurations that answered, as `amif_lightning.reports.groups` found them.
        searches: Configurations that searched, as `amif_lightning.reports.retrieval_groups` did.
        baselines: The experiments that all others are compared with; none: all pairs.

    Returns:
        Markdown whose first lines are the verdicts, one per group.
    """
    parts = ["\n\n".join(verdicts(groups, searches))]
    if groups:
        parts += ["## Results", results(groups), LEGEND]
        if read := knowledge_rows(groups):
            parts += [
                f"## {knowledge_table.TITLE}",
                markdown(knowledge_table.HEADER, read),
                knowledge_table.LEGEND,
            ]
        comparison = comparisons(groups, baselines)
        if comparison:
            parts += ["## Comparisons", *comparison]
    if searches:
        parts += retrieval_parts(searches, baselines)
    lines = [*notes(groups), *retrieval_notes(searches)]
    parts += ["## Notes", "\n".join(f"- {line}" for line in lines)]
    return "\n\n".join(parts) + "\n"


def verdicts(groups: Sequence[Group], searches: Sequence[RetrievalGroup] = ()) -> list[str]:
    """One sentence per configuration, answers before searches."""
    return [verdict(group) for group in groups] + [search_verdict(group) for group in searches]


def results(groups: Iterable[Group]) -> str:
    """The main table: one row per configuration and stratum."""
    return markdown(HEADER, [row for group in groups for row in rows(group)])


def rows(group: Group) -> Iterable[list[str]]:
    """The cells of a configuration under `HEADER`, a row per stratum and the overall one first."""
    key, record = group.key, group.first
    for position, stratum in enumerate(group.strata):
        count = group.count(stratum)
        enough = count >= numbers.LEAST_FOR_PERCENT
        deviation = group.deviation(stratum)
        spread = "" if deviation is None else f" ± {100 * deviation:.1f}"
        control = group.control(stratum)
        ceiling = record.ceiling[stratum] if record.ceiling else None
        yield [
            f"{key.dataset} {key.layout}",
            key.split,
            group.name,
            group.protocol,
            stratum_name(stratum),
            numbers.percent(group.accuracy(stratum)) + spread if enough else numbers.NONE,
            numbers.interval(group.interval(stratum)) if enough else numbers.NONE,
            numbers.share_of(group.correct(stratum), count),
            _fixed(ceiling),
            _fixed(record.floors.question_only[stratum]),
            _fixed(record.floors.same_image_copy[stratum]),
            _without_control(group) if control is None else numbers.score(control, count),
            str(len(group.runs)),
            compact([record.test_runs for record in group.records]),
            # Machine and time are the same for all strata: once per configuration is enough.
            machines(group.records) if position == 0 else "",
            time_per_seed(group.records) if position == 0 else "",
        ]


def _without_control(group: Group) -> str:
    done = group.controlled
    return f"only {done} of {len(group.runs)} seeds" if done else "not run"


def _fixed(score: Score | None) -> str:
    return numbers.NONE if score is None else numbers.score([score.correct], score.count)


def notes(groups: Iterable[Group]) -> Iterable[str]:
    """What a reader must know beside the numbers: missing files, provenance, warnings."""
    for group in groups:
        head = f"{group.label}, {group.key.experiment}"
        yield from missing_notes(head, group.missing)
        yield f"{head}: {_provenance(group)}."
        if 0 < group.controlled < len(group.runs):
            yield f"{head}: only {group.controlled} of {len(group.runs)} seeds have the control."
        yield from common_notes(head, group.records)


def _provenance(group: Group) -> str:
    record = group.first
    majority = record.floors.majority["overall"]
    if record.candidates is None:
        candidates = "no candidate list"
    else:
        candidates = f"{record.candidates} candidates from {record.answers_from}"
    return (
        f"method {record.method}, {candidates}, majority answer '{record.majority_answer}' "
        f"{numbers.score([majority.correct], majority.count)}, {sources(group.records)}"
    )
