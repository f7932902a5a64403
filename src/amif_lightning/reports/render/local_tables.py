"""The tables of local alignment: matching, re-ranked lists, transport, localisation."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter

from amif_lightning.reports.analysis import statistics
from amif_lightning.reports.analysis.groups import SearchGroup
from amif_lightning.reports.analysis.local_scores import (
    HARD,
    PLACES,
    RANDOM,
    RERANKED,
    LocalScores,
    scores_pairs,
)
from amif_lightning.reports.analysis.statistics import Estimate
from amif_lightning.reports.records.retrieval import JUDGED
from amif_lightning.reports.render import numbers
from amif_lightning.reports.render.local_verdict import written
from amif_lightning.reports.render.markdown import Columns, Table, build
from amif_lightning.reports.render.numbers import over_seeds

_LEGEND = (
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
_CONTROLS_LEGEND = (
    "Each part minus its control, chance 0, with the same bootstrap. Re-ranked minus global order "
    "is of the same queries; localisation minus a control is of the findings that have the "
    "control, in multiples of an even spread."
)
_KINDS_LEGEND = (
    "Mean localisation of each kind of finding, an even spread gives 1; the number of findings in "
    "brackets. Kinds with few findings decide nothing."
)


def _average(scores: LocalScores, name: str, digits: int, measure: str = "") -> str:
    """A field of the records' averages, with the interval of a measure."""
    top, _, rest = name.partition(".")
    found = [getattr(average, top) for average in scores.averages]
    values = [attrgetter(rest)(one) if rest and one is not None else one for one in found]
    span = scores.span(measure)
    return over_seeds(values, digits, span, scale=100 if digits == 1 else 1)


def _share(scores: LocalScores, name: str, measure: str = "") -> str:
    return _average(scores, name, 1, measure) if _enough(scores) else numbers.NONE


def _enough(scores: LocalScores) -> bool:
    return scores.group.count() >= numbers.LEAST_FOR_PERCENT


def _difference(estimate: Estimate | None, name: str) -> str:
    return numbers.NONE if estimate is None else written(estimate, name)


_PLACE: Columns[LocalScores] = (
    ("data", lambda scores: f"{scores.group.key.dataset} {scores.group.key.layout}"),
    ("split", lambda scores: scores.group.key.split),
    ("experiment", lambda scores: scores.group.name),
)
_SEEDS: Columns[LocalScores] = (("seeds", lambda scores: str(len(scores.group.runs))),)
_SCORES: Columns[LocalScores] = (
    *_PLACE,
    ("AUC, random pairs", lambda scores: _average(scores, "matching_auc_random", 3, RANDOM)),
    ("AUC, hard pairs", lambda scores: _average(scores, "matching_auc_hard", 3, HARD)),
    ("accuracy %", lambda scores: _share(scores, "matching_accuracy")),
    (
        f"precision@{JUDGED} %, global order",
        lambda scores: _share(scores, "reranked.global_order"),
    ),
    (
        f"precision@{JUDGED} %, re-ranked",
        lambda scores: _share(scores, "reranked.reordered", RERANKED),
    ),
    ("margin", lambda scores: _average(scores, "transport_margin", 3)),
    ("cosine", lambda scores: _average(scores, "cosine", 3)),
    ("localisation", lambda scores: _average(scores, "localisation.mean", 2, PLACES)),
    ("median", lambda scores: _average(scores, "localisation.median", 2)),
    ("another word", lambda scores: _average(scores, "localisation.other_word", 2)),
    ("same kind elsewhere", lambda scores: _average(scores, "localisation.elsewhere", 2)),
    *_SEEDS,
)
_CONTROLS: Columns[LocalScores] = (
    *_PLACE,
    (
        "re-ranked minus global order, points",
        lambda scores: _difference(scores.gain if _enough(scores) else None, RERANKED),
    ),
    (
        "localisation minus another word",
        lambda scores: _difference(scores.controls.get("another word"), PLACES),
    ),
    (
        "localisation minus same kind elsewhere",
        lambda scores: _difference(scores.controls.get("the same kind elsewhere"), PLACES),
    ),
    *_SEEDS,
)


def local_tables(groups: Sequence[SearchGroup]) -> list[Table]:
    """The tables that have a row; none where no configuration scored pairs."""
    scored = [LocalScores(group) for group in groups if scores_pairs(group)]
    compared = [scores for scores in scored if scores.gain or scores.controls]
    placed = [scores for scores in scored if scores.kinds]
    kinds = sorted({kind for scores in placed for kind in scores.kinds})
    of_kinds: Columns[LocalScores] = (
        *_PLACE,
        *((kind, lambda scores, kind=kind: _of_kind(scores, kind)) for kind in kinds),
        *_SEEDS,
    )
    tables = [
        build("Local alignment", _SCORES, scored, _LEGEND),
        build("Local alignment against its controls", _CONTROLS, compared, _CONTROLS_LEGEND),
        build("Localisation by kind of finding", of_kinds, placed, _KINDS_LEGEND),
    ]
    return [table for table in tables if table.rows]


def _of_kind(scores: LocalScores, kind: str) -> str:
    found = [average.localisation for average in scores.averages]
    its = [one.kinds[kind] for one in found if one is not None and kind in one.kinds]
    if not its:
        return numbers.NONE
    return f"{over_seeds([one.mean for one in its], 2)} ({its[0].findings})"
