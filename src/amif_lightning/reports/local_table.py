"""The part of the report on local alignment: matching, re-ranked lists, transport, localisation."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence

from amif_lightning.reports import numbers
from amif_lightning.reports.local_scores import Estimate, LocalScores, scores_pairs
from amif_lightning.reports.markdown import markdown
from amif_lightning.reports.pairs import pairs_of
from amif_lightning.reports.retrieval_groups import RetrievalGroup
from amif_lightning.reports.study_lines import JUDGED

Rows = tuple[tuple[str, ...], list[list[str]]]

#: Mean cosine of other pairs' tokens from which on they have collapsed.
COLLAPSED = 0.9

MATCHING_LEGEND = (
    "AUC: how often matching scores a study's own text above a negative's (chance 0.5); negatives "
    "are drawn once for the split, *random* among studies with other findings, *hard* among those "
    "with the most similar ones. Right: share of own and random pairs on the right side (chance "
    f"50 %). Re-ranked: precision@{JUDGED} from image to text when matching orders the 20 nearest "
    "texts, beside the same lists in the order of the global similarity. Margin: transport of "
    "random pairs minus that of own ones. Cosine: of words and patches of random pairs; near 1 all "
    "tokens are one point. Brackets hold 95 % intervals: bootstrap over groups of studies, and "
    "over seeds where there are several."
)
PLACES_LEGEND = (
    "Mass that the transport plan sends from the words of a finding into its region, over the "
    "region's share of the image: 1 is an even spread. Beside it one other word of the report, and "
    "the same words measured in another study's region of the same kind. Brackets as above."
)


def local_parts(groups: Sequence[RetrievalGroup], baselines: Sequence[str] = ()) -> list[str]:
    """Headings, tables and sentences; empty where no configuration scored pairs.

    Args:
        groups: Configurations on studies.
        baselines: The experiments that others are compared with.
    """
    parts: list[str] = []
    for title, (header, rows), legend in local_tables(groups):
        parts += [f"## {title}", markdown(header, rows), legend]
    said = local_sentences(groups, baselines)
    if said:
        parts += ["## What local alignment is worth", "\n".join(f"- {text}" for text in said)]
    return parts


def local_tables(groups: Sequence[RetrievalGroup]) -> list[tuple[str, Rows, str]]:
    """Title, cells and legend of the tables that have a row."""
    scored = [LocalScores(group) for group in groups if scores_pairs(group)]
    tables = [
        ("Matching and transport", matching_rows(scored), MATCHING_LEGEND),
        ("Where words are transported", place_rows(scored), PLACES_LEGEND),
    ]
    return [table for table in tables if table[1][1]]


def local_sentences(groups: Sequence[RetrievalGroup], baselines: Sequence[str] = ()) -> list[str]:
    """What the configurations' own numbers and their differences from the baselines say."""
    scored = [LocalScores(group) for group in groups if scores_pairs(group)]
    said = [sentence for scores in scored for sentence in local_statements(scores)]
    return said + local_comparisons(scored, baselines)


def matching_rows(scored: Sequence[LocalScores]) -> Rows:
    """Header and cells of the table of matching and transport."""
    header = (
        "data",
        "split",
        "experiment",
        "AUC, random pairs",
        "AUC, hard pairs",
        "right %",
        f"precision@{JUDGED} %, global order",
        "re-ranked",
        "re-ranked minus global, points",
        "margin",
        "cosine",
        "seeds",
    )
    return header, [_matching_row(scores) for scores in scored]


def _matching_row(scores: LocalScores) -> list[str]:
    cells = [numbers.NONE] * 6
    if scores.matches:
        areas = [scores.measures[f"matching AUC, {name} pairs"] for name in ("random", "hard")]
        reranked = scores.estimate(scores.reranked)
        before = scores.estimate(scores.global_order)
        gain = scores.estimate(scores.reranked, scores.global_order)
        cells = [
            *(_number(scores.estimate(area), 3) for area in areas),
            _percent(scores.estimate(scores.right)),
            _percent(before),
            _percent(reranked),
            _points(gain),
        ]
    return [
        *_place(scores),
        *cells,
        _mean(average.transport_margin for average in scores.averages),
        _mean(average.cosine for average in scores.averages),
        str(len(scores.group.runs)),
    ]


def place_rows(scored: Sequence[LocalScores]) -> Rows:
    """Header and cells of the table of localisation."""
    shown = [scores for scores in scored if scores.kinds]
    kinds = sorted({kind for scores in shown for kind in scores.kinds})
    header = (
        "data",
        "split",
        "experiment",
        "findings",
        "mean",
        "median",
        "another word",
        "own minus another word",
        "same kind elsewhere",
        "own minus elsewhere",
        *kinds,
        "seeds",
    )
    return header, [_place_row(scores, kinds) for scores in shown]


def _place_row(scores: LocalScores, kinds: Sequence[str]) -> list[str]:
    own = scores.estimate(scores.inside)
    controls = []
    for name, measure in (("other_word", scores.other_word), ("elsewhere", scores.elsewhere)):
        controls.append(_number(scores.estimate(measure), 2, brackets=False))
        controls.append(_number(scores.estimate(scores.beside(name), measure), 2, signed=True))
    return [
        *_place(scores),
        str(sum(scores.kinds.values())),
        _number(own, 2),
        f"{statistics.fmean(scores.medians):.2f}",
        *controls,
        *(
            f"{_number(scores.estimate(scores.of_kind(kind)), 2, brackets=False)} "
            f"({scores.kinds[kind]})"
            if kind in scores.kinds
            else numbers.NONE
            for kind in kinds
        ),
        str(len(scores.group.runs)),
    ]


def local_statements(scores: LocalScores) -> list[str]:
    """What one configuration's own numbers say, where a part pays and where it does not."""
    head = f"{scores.group.label}, {scores.group.name}: "
    said = []
    gain = scores.estimate(scores.reranked, scores.global_order) if scores.matches else None
    if gain is not None and gain.span is not None:
        claim = "matching improves the list" if gain.span.low > 0 else "NO gain from re-ranking"
        said.append(
            f"{head}{claim}: {_points(gain)} points of precision@{JUDGED} beside the global order."
        )
    if scores.kinds:
        own = scores.estimate(scores.inside)
        apart = [
            scores.estimate(scores.beside("other_word"), scores.other_word),
            scores.estimate(scores.beside("elsewhere"), scores.elsewhere),
        ]
        localises = all(
            one is not None and one.span is not None and one.span.low > 0 for one in apart
        )
        localises = localises and own is not None and own.span is not None and own.span.low > 1
        claim = "words go to their findings" if localises else "words do NOT go to their findings"
        said.append(
            f"{head}{claim}: {_number(own, 2)} times an even spread, "
            f"{_number(apart[0], 2, signed=True)} against another word, "
            f"{_number(apart[1], 2, signed=True)} against the same kind elsewhere."
        )
    cosines = [average.cosine for average in scores.averages if average.cosine is not None]
    if cosines and statistics.fmean(cosines) > COLLAPSED:
        said.append(
            f"{head}the tokens have COLLAPSED: words and patches of different studies have a "
            f"mean cosine of {statistics.fmean(cosines):.2f}."
        )
    return said


def local_comparisons(scored: Sequence[LocalScores], baselines: Sequence[str]) -> list[str]:
    """A sentence for every measure that a configuration shares with a baseline.

    Args:
        scored: Configurations with pairs.
        baselines: Experiments that others are compared with; none: nothing is compared.
    """
    if not baselines:
        return []
    names = [scores.group.key.experiment for scores in scored]
    return [
        text
        for first, second in pairs_of(scored, names, baselines)
        if _comparable(first, second)
        for text in _differences(first, second)
    ]


def _comparable(first: LocalScores, second: LocalScores) -> bool:
    one, two = first.group.key, second.group.key
    return (one.dataset, one.layout, one.split) == (two.dataset, two.layout, two.split) and (
        first.group.studies == second.group.studies
    )


def _differences(first: LocalScores, second: LocalScores) -> Iterable[str]:
    shared = {run.record.seed for run in first.group.runs} & {
        run.record.seed for run in second.group.runs
    }
    if not shared:
        return
    first, second = first.of_seeds(shared), second.of_seeds(shared)
    for name, measure in first.measures.items():
        other = second.measures.get(name)
        if other is None:
            continue
        gap = first.estimate(measure, other)
        if gap is None or gap.span is None:
            continue
        verdict = "no evidence of a difference from"
        if gap.excludes_zero:
            verdict = "above" if gap.value > 0 else "BELOW"
        parts = ", ".join(f"{value:+.3f}" for value in gap.seeds)
        yield (
            f"{first.group.label}, {first.group.name}, {name}: {verdict} {second.group.name}: "
            f"{_number(gap, 3, signed=True)}; per seed {parts}."
        )


def _place(scores: LocalScores) -> list[str]:
    key = scores.group.key
    return [f"{key.dataset} {key.layout}", key.split, scores.group.name]


def _number(
    estimate: Estimate | None, places: int, *, signed: bool = False, brackets: bool = True
) -> str:
    if estimate is None or estimate.value != estimate.value:
        return numbers.NONE
    how = f"{'+' if signed else ''}.{places}f"
    text = f"{estimate.value:{how}}"
    if brackets and estimate.span is not None:
        text += f" [{estimate.span.low:{how}}, {estimate.span.high:{how}}]"
    return text


def _percent(estimate: Estimate | None) -> str:
    return numbers.NONE if estimate is None else f"{100 * estimate.value:.1f}"


def _points(estimate: Estimate | None) -> str:
    if estimate is None:
        return numbers.NONE
    span = "" if estimate.span is None else f" [{numbers.points_interval(estimate.span)}]"
    return f"{100 * estimate.value:+.1f}{span}"


def _mean(values: Iterable[float | None]) -> str:
    found = [value for value in values if value is not None]
    return f"{statistics.fmean(found):.3f}" if found else numbers.NONE
