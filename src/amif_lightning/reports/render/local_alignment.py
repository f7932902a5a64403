"""Local alignment as tables and sentences: matching, re-ranked lists, transport, localisation."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from operator import attrgetter

from amif_lightning.reports.analysis.groups import SearchGroup
from amif_lightning.reports.analysis.local_scores import (
    HARD,
    PLACES,
    RANDOM,
    RERANKED,
    LocalScores,
    scores_pairs,
)
from amif_lightning.reports.analysis.statistics import DRAWS, Estimate
from amif_lightning.reports.records.retrieval import JUDGED
from amif_lightning.reports.render import numbers
from amif_lightning.reports.render.comparisons import doubt, pairs_of, shared_seeds
from amif_lightning.reports.render.markdown import Columns, Table, build
from amif_lightning.reports.render.numbers import over_seeds
from amif_lightning.reports.render.run_info import data_columns

#: Above this mean cosine of other pairs the tokens count as collapsed.
COLLAPSED = 0.9

_LEGEND = (
    "Means over seeds ± standard deviation over seeds; brackets hold the 95 % interval of the "
    "mean: bootstrap over groups of studies, and over seeds where there are several "
    f"({DRAWS} draws, fixed seed); for one seed it is about that network only. "
    "AUC: how often matching scores a study's own text above a negative's, chance 0.5. Negatives "
    "are drawn once for the split: *random* among studies with other findings, *hard* as the study "
    "with the nearest findings or text. Accuracy: share of own and random pairs on the right side "
    f"of log-odds 0, chance 50 %. Re-ranked: precision@{JUDGED} from image to text when matching "
    "orders the 20 nearest texts; global order: the same queries in the order of the global "
    "similarity, the baseline of re-ranking. Margin: transport cost of random pairs minus that of "
    "own pairs, chance 0. Cosine: of words and patches of random pairs; near 1 all tokens are "
    "one point. Localisation: mass that the transport plan sends from the words of a finding into "
    "its region, relative to the region's share of the image; a uniform plan gives 1. Another "
    "word: the same for a word that names no finding. Same kind elsewhere: the finding's words "
    "measured in another study's region of the same kind."
)
_CONTROLS_LEGEND = (
    "Each score minus its control, chance 0, with the same bootstrap. Re-ranked minus global order "
    "is over the same queries; localisation minus a control is over the findings that have the "
    "control, in multiples of a uniform plan."
)
_KINDS_LEGEND = (
    "Mean localisation of each kind of finding, 1 for a uniform plan; the number of findings in "
    "brackets. Kinds with few findings decide nothing."
)


# ---- tables -------------------------------------------------------------------------------------


def _average(scores: LocalScores, name: str, digits: int, measure: str = "") -> str:
    """Format a field of the records' averages and a measure's interval; in percent with 1 digit."""
    if digits == 1 and not _enough(scores):
        return numbers.NONE
    top, _, rest = name.partition(".")
    found = [getattr(average, top) for average in scores.averages]
    values = [attrgetter(rest)(one) if rest and one is not None else one for one in found]
    return over_seeds(values, digits, scores.span(measure), scale=100 if digits == 1 else 1)


def _enough(scores: LocalScores) -> bool:
    return scores.group.count() >= numbers.MIN_FOR_PERCENT


_DATA: Columns[LocalScores] = data_columns(lambda scores: scores.group)
_SEEDS: Columns[LocalScores] = (("seeds", lambda s: str(len(s.group.runs))),)
_SCORES: Columns[LocalScores] = (
    *_DATA,
    ("AUC, random pairs", lambda s: _average(s, "matching_auc_random", 3, RANDOM)),
    ("AUC, hard pairs", lambda s: _average(s, "matching_auc_hard", 3, HARD)),
    ("accuracy %", lambda s: _average(s, "matching_accuracy", 1)),
    (f"precision@{JUDGED} %, global order", lambda s: _average(s, "reranked.global_order", 1)),
    (f"precision@{JUDGED} %, re-ranked", lambda s: _average(s, "reranked.reordered", 1, RERANKED)),
    ("margin", lambda s: _average(s, "transport_margin", 3)),
    ("cosine", lambda s: _average(s, "cosine", 3)),
    ("localisation", lambda s: _average(s, "localisation.mean", 2, PLACES)),
    ("median", lambda s: _average(s, "localisation.median", 2)),
    ("another word", lambda s: _average(s, "localisation.other_word", 2)),
    ("same kind elsewhere", lambda s: _average(s, "localisation.elsewhere", 2)),
    *_SEEDS,
)
_CONTROLS: Columns[LocalScores] = (
    *_DATA,
    (
        "re-ranked minus global order, points",
        lambda s: _difference(s.gain if _enough(s) else None, RERANKED),
    ),
    (
        "localisation minus another word",
        lambda s: _difference(s.controls.get("another word"), PLACES),
    ),
    (
        "localisation minus same kind elsewhere",
        lambda s: _difference(s.controls.get("the same kind elsewhere"), PLACES),
    ),
    *_SEEDS,
)


def local_tables(groups: Sequence[SearchGroup]) -> list[Table]:
    """List the tables that have a row; empty if no configuration scored pairs."""
    scored = [LocalScores(group) for group in groups if scores_pairs(group)]
    compared = [scores for scores in scored if scores.gain or scores.controls]
    placed = [scores for scores in scored if scores.kinds]
    kinds = sorted({kind for scores in placed for kind in scores.kinds})
    of_kinds: Columns[LocalScores] = (
        *_DATA,
        *((kind, lambda s, kind=kind: _of_kind(s, kind)) for kind in kinds),
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


# ---- sentences ----------------------------------------------------------------------------------


def local_sentences(groups: Sequence[SearchGroup], baselines: Sequence[str] = ()) -> list[str]:
    """Judge each configuration's local alignment, and its differences from the baselines, if any.

    Every sentence starts with the label of its data and a colon.
    """
    scored = [LocalScores(group) for group in groups if scores_pairs(group)]
    pairs = pairs_of([scores.group for scores in scored], baselines) if baselines else []
    by_key = {scores.group.key: scores for scores in scored}
    return [
        *(
            f"{scores.group.label}: {text}"
            for scores in scored
            if _enough(scores)
            for text in (*_of_lists(scores), *_of_places(scores), *_of_tokens(scores))
        ),
        *(
            f"{first.label}: {text}"
            for first, second in pairs
            for text in _compared(by_key[first.key], by_key[second.key])
        ),
        *_unscored(groups),
    ]


def _of_lists(scores: LocalScores) -> Iterable[str]:
    gain = scores.gain
    if gain is not None and gain.span is not None:
        raises = "raises" if gain.span.low > 0 else "does not raise"
        yield (
            f"Re-ranking by matching {raises} precision@{JUDGED} in {scores.group.name}: "
            f"{_difference(gain, RERANKED)} points, {_seeds(gain, RERANKED)}."
        )


def _of_places(scores: LocalScores) -> Iterable[str]:
    """Compare localisation with a uniform plan and with both controls."""
    controls = {name: one for name, one in scores.controls.items() if one.span is not None}
    own = scores.estimate(scores.measures.get(PLACES))
    if not controls or own is None or own.span is None:
        return
    lows = [one.span.low for one in controls.values() if one.span is not None]
    claim = "localises" if own.span.low > 1 and min(lows) > 0 else "does not localise"
    apart = ", ".join(
        f"{_difference(one, PLACES)} against {name}" for name, one in controls.items()
    )
    yield (
        f"The transport plan of {scores.group.name} {claim} findings: {own.value:.2f} "
        f"[{own.span.low:.2f}, {own.span.high:.2f}] times a uniform plan, {apart}."
    )


def _of_tokens(scores: LocalScores) -> Iterable[str]:
    cosines = [average.cosine for average in scores.averages if average.cosine is not None]
    if cosines:
        mean = statistics.fmean(cosines)
        have = "have" if mean > COLLAPSED else "have not"
        other = f"cosine of other pairs {mean:.2f}"
        yield f"The tokens of {scores.group.name} {have} collapsed ({other})."


def _unscored(groups: Sequence[SearchGroup]) -> Iterable[str]:
    """Yield a sentence for every configuration in which only some seeds scored pairs."""
    for group in groups:
        bare = [str(record.seed) for record in group.records if record.pairs is None]
        if 0 < len(bare) < len(group.runs):
            yield (
                f"{group.label}: {group.name} has no local scores here, because its seed "
                f"{', '.join(bare)} scored no pairs; test it again."
            )


def _compared(first: LocalScores, second: LocalScores) -> Iterable[str]:
    """Yield a sentence for every measure that two configurations share."""
    one, two = first.group, second.group
    shared = shared_seeds(one, two)
    # The comparison of retrieval reports why configurations cannot be compared.
    if not (
        shared
        and one.key[:4] == two.key[:4]
        and first.lines
        and second.lines
        and _enough(first)
        and one.identities == two.identities
    ):
        return
    first, second = first.of_seeds(shared), second.of_seeds(shared)
    for name, measure in first.measures.items():
        other = second.measures.get(name)
        if other is None:
            continue
        if first.judged(name) != second.judged(name):
            yield (
                f"{one.name} and {two.name} are not compared in {name}, because it was measured on "
                "other pairs or findings."
            )
            continue
        gap = first.estimate(measure, other)
        if gap is None or gap.span is None:
            continue
        claim = f"{one.name} and {two.name} do not differ in {name} beyond chance"
        if gap.span.excludes_zero:
            side = "above" if gap.value > 0 else "BELOW"
            claim = f"{one.name} is {side} {two.name} in {name}{doubt(gap)}"
        unit = " points" if name == RERANKED else ""
        yield f"{claim}: {_difference(gap, name)}{unit}, {_seeds(gap, name)}."


def _difference(difference: Estimate | None, name: str) -> str:
    """Format a difference and its interval as its measure; precision is in points."""
    if difference is None:
        return numbers.NONE
    value, span = _amount(difference.value, name), difference.span
    if span is None:
        return value
    return f"{value} [{_amount(span.low, name)}, {_amount(span.high, name)}]"


def _amount(value: float, name: str) -> str:
    if name == RERANKED:
        return f"{100 * value:+.1f}"
    return f"{value:+.2f}" if name == PLACES else f"{value:+.3f}"


def _seeds(difference: Estimate, name: str) -> str:
    seeds = difference.seeds.items()
    return ", ".join(f"seed {seed}: {_amount(value, name)}" for seed, value in seeds)
