"""The report as Markdown: verdicts, the main table, comparisons, and what the records carry."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations, groupby

from amif_lightning.reports import numbers, statistics
from amif_lightning.reports.groups import Group, compact, stratum_name
from amif_lightning.reports.record import Hardware, Score
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

COMPARISON_LEGEND = (
    "Difference of mean accuracies, first minus second, with a bootstrap over images paired by "
    "question; McNemar is exact and two-sided, per equal seed, on all questions (right by the "
    "first only / by the second only). Nothing is corrected for the number of comparisons."
)


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table whose columns also line up as plain text."""
    cells = [[_cell(text) for text in row] for row in [header, *rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    lines = ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in cells]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def report(groups: Sequence[Group]) -> str:
    """The whole report without published numbers.

    Args:
        groups: What `amif_lightning.reports.groups.collect` found.

    Returns:
        Markdown whose first lines are the verdicts, one per group.
    """
    parts = ["\n\n".join(verdict(group) for group in groups)]
    parts += ["## Results", results(groups), LEGEND]
    comparison = comparisons(groups)
    if comparison:
        parts += ["## Comparisons", *comparison]
    parts += ["## Notes", "\n".join(f"- {line}" for line in notes(groups))]
    return "\n\n".join(parts) + "\n"


def results(groups: Iterable[Group]) -> str:
    """The main table: one row per configuration and stratum."""
    return markdown(HEADER, [row for group in groups for row in _rows(group)])


def _rows(group: Group) -> Iterable[list[str]]:
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
            "not run" if control is None else numbers.score(control, count),
            str(len(group.runs)),
            compact([run.record.test_runs for run in group.runs]),
            # Machine and time are the same for all strata: once per configuration is enough.
            _machines(group) if position == 0 else "",
            _time(group) if position == 0 else "",
        ]


def _fixed(score: Score | None) -> str:
    return numbers.NONE if score is None else numbers.score([score.correct], score.count)


def _machines(group: Group) -> str:
    return compact([_machine(run.record.hardware) for run in group.runs], "; ")


def _machine(hardware: Hardware) -> str:
    memory = "" if hardware.memory_gib is None else f", {hardware.memory_gib:.0f} GiB"
    machine = f"{hardware.cpu}, {hardware.cores} cores{memory}"
    if hardware.gpu:
        return f"{hardware.devices} x {hardware.gpu} ({machine})"
    return machine if hardware.devices == 1 else f"{hardware.devices} processes on {machine}"


def _time(group: Group) -> str:
    parts = []
    for name in ("train", "test", "control"):
        values = [getattr(run.record.durations, name) for run in group.runs]
        known = [value for value in values if value is not None]
        if known:
            parts.append(f"{name} {numbers.seconds(sum(known) / len(known))}")
    return ", ".join(parts) or "not recorded"


def comparisons(groups: Sequence[Group]) -> list[str]:
    """Paired differences between experiments on the same data, protocol and split.

    Returns:
        A table with its legend, then a sentence for every pair that cannot be compared; empty where
        there is nothing to compare.
    """
    rows: list[list[str]] = []
    refused: dict[str, list[str]] = {}
    for data, members in groupby(groups, key=lambda group: group.key.dataset):
        for first, second in combinations(list(members), 2):
            if first.key.split != second.key.split:
                continue  # another split is another question set, not a rival
            reason = _not_comparable(first, second)
            if reason is None:
                rows += _compare(first, second)
            else:
                sentence = f"Not compared on {data} {first.key.split}, for {reason}"
                pair = f"{first.name} with {second.name}"
                refused.setdefault(sentence, []).append(pair)
    header = (
        "data",
        "split",
        "protocol",
        "first",
        "second",
        "questions",
        "difference, points",
        "95 % interval",
        "seeds",
        "McNemar per seed",
    )
    table = [markdown(header, rows), COMPARISON_LEGEND] if rows else []
    return table + [f"{reason}: {'; '.join(pairs)}." for reason, pairs in refused.items()]


def _not_comparable(first: Group, second: Group) -> str | None:
    if first.key.protocol != second.key.protocol:
        return f"the protocols differ ({first.protocol} against {second.protocol})"
    if first.key.layout != second.key.layout:
        return f"the layouts differ ({first.key.layout} against {second.key.layout})"
    for group in (first, second):
        if group.missing:
            return f"{group.missing[0]} is missing"
    if [p.question_id for p in first.lines[0]] != [p.question_id for p in second.lines[0]]:
        return "they answer different questions"
    return None


def _compare(first: Group, second: Group) -> Iterable[list[str]]:
    # A question's strata may differ between releases of the code; only shared ones are compared.
    for stratum in [name for name in first.strata if name in second.strata]:
        chosen = [i for i, line in enumerate(first.lines[0]) if stratum in line.strata]
        same = chosen == [i for i, line in enumerate(second.lines[0]) if stratum in line.strata]
        if not same or len(chosen) < numbers.LEAST_FOR_PERCENT:
            continue
        span = statistics.bootstrap_difference(
            first.answers(chosen),
            second.answers(chosen),
            [first.lines[0][index].image for index in chosen],
        )
        yield [
            f"{first.key.dataset} {first.key.layout}",
            first.key.split,
            first.protocol,
            first.name,
            second.name,
            stratum_name(stratum),
            numbers.points(first.accuracy(stratum) - second.accuracy(stratum)),
            numbers.points_interval(span),
            f"{len(first.runs)} / {len(second.runs)}",
            _mcnemar(first, second) if stratum == "overall" else "",
        ]


def _mcnemar(first: Group, second: Group) -> str:
    others = {run.record.seed: run for run in second.runs}
    texts = []
    for run in first.runs:
        other = others.get(run.record.seed)
        if other is None or run.predictions is None or other.predictions is None:
            continue
        test = statistics.mcnemar(
            [line.correct for line in run.predictions],
            [line.correct for line in other.predictions],
        )
        p = "p < 0.001" if test.p < 0.001 else f"p = {test.p:.3f}"
        texts.append(f"seed {run.record.seed}: {test.first_only}/{test.second_only}, {p}")
    return "; ".join(texts) or "no equal seeds"


def notes(groups: Iterable[Group]) -> Iterable[str]:
    """What a reader must know beside the numbers: missing files, provenance, warnings."""
    for group in groups:
        head = f"{group.label}, {group.key.experiment}"
        for path in group.missing:
            yield (
                f"{head}: {path} is missing, so no interval of a mean or a difference is printed."
            )
        yield f"{head}: {_provenance(group)}."
        with_control = sum(run.record.control is not None for run in group.runs)
        if 0 < with_control < len(group.runs):
            yield f"{head}: only {with_control} of {len(group.runs)} seeds have the control."
        keys = sorted(_config_differences(group))
        if keys:
            yield f"{head}: the seeds' configurations differ in {', '.join(keys)}."
        for sentence in dict.fromkeys(text for run in group.runs for text in run.record.warnings):
            yield f"{head}: {sentence}"


def _provenance(group: Group) -> str:
    record = group.first
    records = [run.record for run in group.runs]
    majority = record.floors.majority["overall"]
    if record.candidates is None:
        candidates = "no candidate list"
    else:
        candidates = f"{record.candidates} candidates from {record.answers_from}"
    commits = compact(
        [
            (r.git_commit or "unknown")[:10] + (" with uncommitted changes" if r.git_dirty else "")
            for r in records
        ]
    )
    names = ("torch", "lightning", "transformers", "geomloss")
    versions = ", ".join(
        f"{name} {compact([r.versions.get(name, 'unknown') for r in records])}"
        for name in names
        if any(name in r.versions for r in records)
    )
    return (
        f"method {record.method}, {candidates}, majority answer '{record.majority_answer}' "
        f"{numbers.score([majority.correct], majority.count)}, "
        f"seeds {', '.join(str(r.seed) for r in records)}, commit {commits}"
        + (f", {versions}" if versions else "")
    )


# Last parts of configuration names that are meant to differ between seeds.
SEED_WISE = {
    "seed_everything",
    "seed",
    "ckpt_path",
    "default_root_dir",
    "dirpath",
    "folder",
    "save_dir",
    "version",
    "config",
}


def _config_differences(group: Group) -> set[str]:
    flat = [dict(_flatten(run.record.config)) for run in group.runs]
    names = set().union(*flat)
    return {
        name
        for name in names
        if name.rpartition(".")[2] not in SEED_WISE
        and any(other.get(name) != flat[0].get(name) for other in flat[1:])
    }


def _flatten(value: object, prefix: str = "") -> Iterable[tuple[str, object]]:
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _flatten(item, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(value, list) and value:
        for index, item in enumerate(value):
            yield from _flatten(item, f"{prefix}.{index}")
    else:
        yield prefix, value
