"""Sentences on local alignment: which parts pay, which do not, and against a baseline."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence

from amif_lightning.reports.analysis.groups import SearchGroup
from amif_lightning.reports.analysis.local_scores import (
    PLACES,
    RERANKED,
    LocalScores,
    scores_pairs,
)
from amif_lightning.reports.analysis.statistics import Estimate
from amif_lightning.reports.records.retrieval import JUDGED
from amif_lightning.reports.render import numbers
from amif_lightning.reports.render.comparisons import pairs_of

#: Mean cosine of other pairs' tokens from which on they have collapsed.
COLLAPSED = 0.9


def local_sentences(groups: Sequence[SearchGroup], baselines: Sequence[str] = ()) -> list[str]:
    """What the configurations' own numbers and their differences from the baselines say.

    Every sentence starts with the label of its data and a colon.

    Args:
        groups: Configurations on studies.
        baselines: Experiments that others are compared with; none: nothing is compared.
    """
    scored = [LocalScores(group) for group in groups if scores_pairs(group)]
    sentences = [sentence for scores in scored for sentence in local_statements(scores)]
    return sentences + local_comparisons(scored, baselines) + _unscored(groups)


def local_statements(scores: LocalScores) -> list[str]:
    """What one configuration's own numbers say; fewer than 30 studies decide nothing."""
    if scores.group.count() < numbers.LEAST_FOR_PERCENT:
        return []
    sentences = [*_of_lists(scores), *_of_places(scores), *_of_tokens(scores)]
    return [f"{scores.group.label}: {text}" for text in sentences]


def _of_lists(scores: LocalScores) -> Iterable[str]:
    gain = scores.gain
    if gain is None or gain.span is None:
        return
    raises = "raises" if gain.span.low > 0 else "does not raise"
    yield (
        f"Re-ranking by matching {raises} precision@{JUDGED} in {scores.group.name}: "
        f"{written(gain, RERANKED)} points, {_seeds(gain, RERANKED)}."
    )


def _of_places(scores: LocalScores) -> Iterable[str]:
    """Words must reach their finding more than an even spread, another word and elsewhere."""
    controls = {name: one for name, one in scores.controls.items() if one.span is not None}
    own = scores.estimate(scores.measures.get(PLACES))
    if not controls or own is None or own.span is None:
        return
    localises = own.span.low > 1 and all(
        one.span is not None and one.span.low > 0 for one in controls.values()
    )
    apart = ", ".join(f"{written(one, PLACES)} against {name}" for name, one in controls.items())
    claim = "localises" if localises else "does not localise"
    yield (
        f"The transport plan of {scores.group.name} {claim} findings: {own.value:.2f} "
        f"[{own.span.low:.2f}, {own.span.high:.2f}] times an even spread, {apart}."
    )


def _of_tokens(scores: LocalScores) -> Iterable[str]:
    cosines = [average.cosine for average in scores.averages if average.cosine is not None]
    if cosines:
        mean = statistics.fmean(cosines)
        have = "have" if mean > COLLAPSED else "have not"
        other = f"cosine of other pairs {mean:.2f}"
        yield f"The tokens of {scores.group.name} {have} collapsed ({other})."


def _unscored(groups: Sequence[SearchGroup]) -> list[str]:
    """A sentence for every configuration of which only some seeds scored pairs."""
    sentences = []
    for group in groups:
        bare = [str(record.seed) for record in group.records if record.pairs is None]
        if 0 < len(bare) < len(group.runs):
            sentences.append(
                f"{group.label}: {group.name} has no local scores here, for its seed "
                f"{', '.join(bare)} scored no pairs; test it again."
            )
    return sentences


# ---- against a baseline -----------------------------------------------------------------------


def local_comparisons(scored: Sequence[LocalScores], baselines: Sequence[str]) -> list[str]:
    """A sentence for every measure that a configuration shares with a baseline.

    Args:
        scored: Configurations with pairs.
        baselines: Experiments that others are compared with; none: nothing is compared.
    """
    if not baselines:
        return []
    by_group = {scores.group.key: scores for scores in scored}
    return [
        f"{first.label}: {text}"
        for first, second in pairs_of([scores.group for scores in scored], baselines)
        for text in _differences(by_group[first.key], by_group[second.key])
    ]


def _differences(first: LocalScores, second: LocalScores) -> Iterable[str]:
    one, two = first.group, second.group
    shared = {record.seed for record in one.records} & {record.seed for record in two.records}
    # The comparison of retrieval says why configurations cannot be compared.
    if not (
        shared
        and one.key[:4] == two.key[:4]
        and first.lines
        and second.lines
        and one.count() >= numbers.LEAST_FOR_PERCENT
        and one.identities == two.identities
    ):
        return
    first, second = first.of_seeds(shared), second.of_seeds(shared)
    for name, measure in first.measures.items():
        other = second.measures.get(name)
        if other is None:
            continue
        if first.judged(name) != second.judged(name):
            both = f"{one.name} and {two.name}"
            yield f"{both} are not compared in {name}, for it is of other pairs or findings."
            continue
        gap = first.estimate(measure, other)
        if gap is not None and gap.span is not None:
            yield f"{_judged(gap, name, one.name, two.name)}, {_seeds(gap, name)}."


def _judged(gap: Estimate, name: str, first: str, second: str) -> str:
    amount = written(gap, name) + (" points" if name == RERANKED else "")
    if gap.span is None or not gap.span.excludes_zero:
        return f"{first} and {second} do not differ in {name} beyond chance: {amount}"
    doubt = (
        ""
        if all(value * gap.value > 0 for value in gap.seeds.values())
        else ", BUT NOT IN EVERY SEED"
    )
    side = "above" if gap.value > 0 else "BELOW"
    return f"{first} is {side} {second} in {name}{doubt}: {amount}"


def written(difference: Estimate, name: str) -> str:
    """A difference with its interval, as its measure is written; of precision, in points."""
    parts = [_amount(difference.value, name)]
    if difference.span is not None:
        low, high = (_amount(end, name) for end in (difference.span.low, difference.span.high))
        parts.append(f"[{low}, {high}]")
    return " ".join(parts)


def _amount(value: float, name: str) -> str:
    if name == RERANKED:
        return f"{100 * value:+.1f}"
    return f"{value:+.2f}" if name == PLACES else f"{value:+.3f}"


def _seeds(difference: Estimate, name: str) -> str:
    seeds = difference.seeds.items()
    return ", ".join(f"seed {seed}: {_amount(value, name)}" for seed, value in seeds)
