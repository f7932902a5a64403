"""The report as Markdown: verdicts, tables, comparisons, and what the records carry."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from amif_lightning.evaluation import Count
from amif_lightning.reports.analysis import statistics
from amif_lightning.reports.analysis.groups import Group, stratum_name
from amif_lightning.reports.analysis.retrieval_groups import RetrievalGroup
from amif_lightning.reports.analysis.seeds import compact
from amif_lightning.reports.records.retrieval import JUDGED, MEASURES, Measure
from amif_lightning.reports.render import knowledge_table, numbers
from amif_lightning.reports.render.comparisons import comparisons
from amif_lightning.reports.render.knowledge_table import knowledge_rows
from amif_lightning.reports.render.local_table import local_parts
from amif_lightning.reports.render.markdown import markdown
from amif_lightning.reports.render.retrieval_comparisons import retrieval_comparisons
from amif_lightning.reports.render.run_info import (
    common_notes,
    machines,
    missing_notes,
    sources,
    time_per_seed,
)
from amif_lightning.reports.render.verdicts import search_verdict, verdict

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
    "question-only baseline %",
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
    "Question-only baseline and same-image copy look at no image. "
    "Shuffled images: the same weights with the images permuted among the questions. "
    "Test runs: how often a test of this split was started in the run folder."
)


def report(
    groups: Sequence[Group], searches: Sequence[RetrievalGroup] = (), baselines: Sequence[str] = ()
) -> str:
    """The whole report without published numbers.

    Args:
        groups: Configurations that answered, as `analysis.groups` found them.
        searches: Configurations that searched, as `analysis.retrieval_groups` did.
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
            _fixed(record.baselines.question_only[stratum]),
            _fixed(record.baselines.same_image_copy[stratum]),
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


def _fixed(score: Count | None) -> str:
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
    majority = record.baselines.majority["overall"]
    if record.candidates is None:
        candidates = "no candidate list"
    else:
        candidates = f"{record.candidates} candidates from {record.answers_from}"
    return (
        f"method {record.method}, {candidates}, majority answer '{record.majority_answer}' "
        f"{numbers.score([majority.correct], majority.count)}, {sources(group.records)}"
    )


RETRIEVAL_LEGEND = (
    "Means over both directions (report from image, image from report) and seeds ± standard "
    "deviation over seeds, with the 95 % interval of the mean over seeds: bootstrap over groups of "
    f"studies ({statistics.DRAWS} draws, fixed seed), the studies that are searched among taken as "
    "fixed; the spread between seeds is not part of it. "
    "Precision@k: share of relevant studies among the k nearest; recall@k: whether the own one is "
    "among them. Chance: the average of a random order. Same list: the studies that are relevant "
    "to most others, for every query, which takes no look at one. Best possible: no order reaches "
    "more, for many studies have fewer than k relevant ones. "
    "Zero-shot: studies whose class was found by prompts. Teacher KL: divergence of the model's "
    "image-text distribution over the split from the teacher's, mean ± std, in nats; values of "
    "different teachers, which stand in brackets, cannot be compared. "
    "Test runs: how often a test of this split was started in the run folder."
)


def retrieval_parts(groups: Sequence[RetrievalGroup], baselines: Sequence[str] = ()) -> list[str]:
    """Headings, tables and legends of the pre-training runs.

    Args:
        groups: At least one configuration.
        baselines: The experiments that all others are compared with; none: all pairs.
    """
    parts = ["## Image-text retrieval", retrieval_results(groups), RETRIEVAL_LEGEND]
    comparison = retrieval_comparisons(groups, baselines)
    if comparison:
        parts += ["## Comparisons of retrieval", *comparison]
    return parts + local_parts(groups, baselines)


def retrieval_results(groups: Sequence[RetrievalGroup]) -> str:
    """The main table: one row per configuration."""
    return markdown(*retrieval_rows(groups))


def retrieval_rows(groups: Sequence[RetrievalGroup]) -> tuple[tuple[str, ...], list[list[str]]]:
    """Header and cells of the main table: one row per configuration."""
    ks = sorted({k for group in groups for k in group.ks})
    columns: list[tuple[Measure, int]] = [(measure, k) for measure in MEASURES for k in ks]
    header = (
        "data",
        "split",
        "experiment",
        "studies",
        *(f"{measure}@{k} %" for measure, k in columns),
        "chance %",
        f"same list for every query, precision@{JUDGED} %",
        f"best possible precision@{JUDGED} %",
        "zero-shot",
        "teacher KL, nats",
        "seeds",
        "test runs",
        "hardware",
        "time per seed",
    )
    return header, [_row(group, columns) for group in groups]


def _row(group: RetrievalGroup, columns: Sequence[tuple[Measure, int]]) -> list[str]:
    key, record = group.key, group.first
    enough = record.studies >= numbers.LEAST_FOR_PERCENT
    zero_shot = [r.zero_shot.correct for r in group.records if r.zero_shot is not None]
    return [
        f"{key.dataset} {key.layout}",
        key.split,
        group.name,
        str(record.studies),
        *(_score(group, measure, k) if enough else numbers.NONE for measure, k in columns),
        _chance(group) if enough else numbers.NONE,
        numbers.percent(group.constant) if enough and group.constant else numbers.NONE,
        numbers.percent(statistics.rational(record.ceiling[JUDGED])) if enough else numbers.NONE,
        numbers.score(zero_shot, record.studies) if zero_shot else numbers.NONE,
        _divergence(group),
        str(len(group.runs)),
        compact([r.test_runs for r in group.records]),
        machines(group.records),
        time_per_seed(group.records),
    ]


def _score(group: RetrievalGroup, measure: Measure, k: int) -> str:
    if k not in group.ks:
        return numbers.NONE
    deviation, span = group.deviation(measure, k), group.interval(measure, k)
    spread = "" if deviation is None else f" ± {100 * deviation:.1f}"
    between = "" if span is None else f" ({numbers.interval(span)})"
    return f"{numbers.percent(group.mean(measure, k))}{spread}{between}"


def _chance(group: RetrievalGroup) -> str:
    recalls = (f"recall@{k} {numbers.percent(group.chance('recall', k))}" for k in group.ks)
    return ", ".join([f"precision {numbers.percent(group.chance())}", *recalls])


def _divergence(group: RetrievalGroup) -> str:
    values = [r.teacher_kl for r in group.records if r.teacher_kl is not None]
    if not values:
        return numbers.NONE
    mean, deviation = statistics.mean_std(values)
    spread = "" if deviation is None else f" ± {deviation:.3f}"
    teachers = dict.fromkeys(_teacher(record.config) for record in group.records)
    named = ", ".join(teacher for teacher in teachers if teacher)
    return f"{mean:.3f}{spread}" + (f" ({named})" if named else "")


def _teacher(config: Mapping[str, Any]) -> str:
    """The option ``teacher`` of the data, empty where the configuration has none."""
    data = config.get("data", {})
    arguments = data.get("init_args", data) if isinstance(data, Mapping) else {}
    return str(arguments.get("teacher", "")) if isinstance(arguments, Mapping) else ""


def retrieval_notes(groups: Iterable[RetrievalGroup]) -> Iterable[str]:
    """What a reader must know beside the numbers: missing files, provenance, warnings."""
    for group in groups:
        head = f"{group.label}, {group.key.experiment}"
        yield from missing_notes(head, group.missing)
        yield f"{head}: {sources(group.records)}."
        yield from common_notes(head, group.records)
