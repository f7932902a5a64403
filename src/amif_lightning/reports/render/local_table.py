"""The tables of local alignment: matching, re-ranked lists, transport, localisation."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from amif_lightning.reports.analysis import statistics
from amif_lightning.reports.analysis.local_scores import (
    HARD,
    PLACES,
    RANDOM,
    RERANKED,
    Estimate,
    LocalScores,
    scores_pairs,
)
from amif_lightning.reports.analysis.retrieval_groups import RetrievalGroup
from amif_lightning.reports.records.pairs import Localisation, PairAverages, Reranked
from amif_lightning.reports.records.retrieval import JUDGED
from amif_lightning.reports.render import numbers
from amif_lightning.reports.render.local_verdict import local_sentences, written
from amif_lightning.reports.render.markdown import markdown
from amif_lightning.reports.render.numbers import over_seeds

Rows = tuple[tuple[str, ...], list[list[str]]]
_PLACE = ("data", "split", "experiment")

LEGEND = (
    "Means over seeds ± standard deviation over seeds; brackets hold the 95 % interval of the "
    f"mean: bootstrap over groups of studies, and over seeds where there are several "
    f"({statistics.DRAWS} draws, fixed seed); of one seed they speak of that network alone. "
    "AUC: how often matching scores a study's own text above a negative's, chance 0.5; negatives "
    "are drawn once for the split, *random* among studies with other findings, *hard* as the study "
    "whose findings or text are nearest. Accuracy: share of own and random pairs on the right side "
    f"of log-odds 0, chance 50 %. Re-ranked: precision@{JUDGED} from image to text when matching "
    "orders the 20 nearest texts; global order: the same queries in the order of the global "
    "similarity, which is what matching has to beat. Margin: transport of random pairs minus that "
    "of own ones, chance 0. Cosine: of words and patches of random pairs; near 1 all tokens are "
    "one point. Localisation: mass that the transport plan sends from the words of a finding into "
    "its region, over the region's share of the image; an even spread gives 1. Another word: the "
    "same of a word that names no finding. Same kind elsewhere: the finding's words measured in "
    "another study's region of the same kind."
)
CONTROLS_LEGEND = (
    "Each part minus its control, chance 0, with the same bootstrap. Re-ranked minus global order "
    "is of the same queries; localisation minus a control is of the findings that have the "
    "control, in multiples of an even spread."
)
KINDS_LEGEND = (
    "Mean localisation of each kind of finding, an even spread gives 1; the number of findings in "
    "brackets. Kinds with few findings decide nothing."
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
    sentences = local_sentences(groups, baselines)
    if sentences:
        parts += ["## What local alignment is worth", "\n".join(f"- {text}" for text in sentences)]
    return parts


def local_tables(groups: Sequence[RetrievalGroup]) -> list[tuple[str, Rows, str]]:
    """Title, cells and legend of the tables that have a row."""
    scored = [LocalScores(group) for group in groups if scores_pairs(group)]
    tables = [
        ("Local alignment", score_rows(scored), LEGEND),
        ("Local alignment against its controls", control_rows(scored), CONTROLS_LEGEND),
        ("Localisation by kind of finding", kind_rows(scored), KINDS_LEGEND),
    ]
    return [table for table in tables if table[1][1]]


def score_rows(scored: Sequence[LocalScores]) -> Rows:
    """Header and cells of the main table: one row per configuration."""
    header = (
        *_PLACE,
        "AUC, random pairs",
        "AUC, hard pairs",
        "accuracy %",
        f"precision@{JUDGED} %, global order",
        f"precision@{JUDGED} %, re-ranked",
        "margin",
        "cosine",
        "localisation",
        "median",
        "another word",
        "same kind elsewhere",
        "seeds",
    )
    return header, [_score_row(scores) for scores in scored]


def _score_row(scores: LocalScores) -> list[str]:
    def cell(
        of: Callable[[PairAverages], float | None], digits: int, measure: str | None = None
    ) -> str:
        span = None if measure is None else scores.span(measure)
        return over_seeds([of(average) for average in scores.averages], digits, span)

    def share(of: Callable[[PairAverages], float | None], measure: str | None = None) -> str:
        if scores.group.first.studies < numbers.LEAST_FOR_PERCENT:
            return numbers.NONE
        span = None if measure is None else scores.span(measure)
        return over_seeds([of(average) for average in scores.averages], 1, span, scale=100)

    def lists(of: Callable[[Reranked], float]) -> Callable[[PairAverages], float | None]:
        return lambda a: None if a.reranked is None else of(a.reranked)

    def places(of: Callable[[Localisation], float | None], measure: str | None = None) -> str:
        return cell(lambda a: None if a.localisation is None else of(a.localisation), 2, measure)

    return [
        *_place(scores),
        cell(lambda a: a.matching_auc_random, 3, RANDOM),
        cell(lambda a: a.matching_auc_hard, 3, HARD),
        share(lambda a: a.matching_accuracy),
        share(lists(lambda r: r.global_order)),
        share(lists(lambda r: r.reordered), RERANKED),
        cell(lambda a: a.transport_margin, 3),
        cell(lambda a: a.cosine, 3),
        places(lambda found: found.mean, PLACES),
        places(lambda found: found.median),
        places(lambda found: found.other_word),
        places(lambda found: found.elsewhere),
        str(len(scores.group.runs)),
    ]


def control_rows(scored: Sequence[LocalScores]) -> Rows:
    """Header and cells of the differences within a configuration, where there is one."""
    header = (
        *_PLACE,
        "re-ranked minus global order, points",
        "localisation minus another word",
        "localisation minus same kind elsewhere",
        "seeds",
    )
    names = ("another word", "the same kind elsewhere")
    rows = [
        [
            *_place(scores),
            _percent_points(scores),
            *(_difference(scores.controls.get(name)) for name in names),
            str(len(scores.group.runs)),
        ]
        for scores in scored
    ]
    return header, [row for row in rows if any(cell != numbers.NONE for cell in row[3:6])]


def _percent_points(scores: LocalScores) -> str:
    if scores.group.first.studies < numbers.LEAST_FOR_PERCENT or scores.gain is None:
        return numbers.NONE
    return written(scores.gain, RERANKED)


def _difference(estimate: Estimate | None) -> str:
    return numbers.NONE if estimate is None else written(estimate, PLACES)


def kind_rows(scored: Sequence[LocalScores]) -> Rows:
    """Header and cells of localisation by kind, of configurations with findings."""
    shown = [scores for scores in scored if scores.kinds]
    kinds = sorted({kind for scores in shown for kind in scores.kinds})
    header = (*_PLACE, *kinds, "seeds")
    return header, [
        [*_place(scores), *(_of_kind(scores, kind) for kind in kinds), str(len(scores.group.runs))]
        for scores in shown
    ]


def _of_kind(scores: LocalScores, kind: str) -> str:
    found = [average.localisation for average in scores.averages]
    its = [one.kinds[kind] for one in found if one is not None and kind in one.kinds]
    if not its:
        return numbers.NONE
    return f"{over_seeds([one.mean for one in its], 2)} ({its[0].findings})"


def _place(scores: LocalScores) -> list[str]:
    key = scores.group.key
    return [f"{key.dataset} {key.layout}", key.split, scores.group.name]
