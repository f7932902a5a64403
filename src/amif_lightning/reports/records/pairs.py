"""Scores of single image-text pairs, of one study and of a whole split."""

from __future__ import annotations

import statistics
from collections.abc import Hashable, Iterable, Sequence
from typing import Annotated

from pydantic import Field

from amif_lightning.metrics.auc import auc
from amif_lightning.reports.records.schema import Cosine, Model, NotNegative, Positive, Share


class Odds(Model):
    """Log-odds of matching for the study's own text and its negatives; None without a negative."""

    own: float
    random: float | None
    hard: float | None


class Transported(Model):
    """Transport costs of the study's own text and its random negative.

    A debiased cost may be slightly negative. None without a negative, or where a side has no
    tokens.
    """

    own: float | None
    random: float | None


class FindingLine(Model):
    """Mass of the transport plan inside the region of one finding; see `evaluation.Localised`."""

    kind: str
    area: Annotated[Share, Field(gt=0)]
    inside: Share
    other_word: Share | None
    elsewhere: Share | None


class PairLine(Model):
    """Scores of the pairs of one study.

    Attributes:
        random: Id of the study whose text is the random negative; None without one.
        hard: Id of the study whose text is the hard negative; None without one.
        matching: None where the run trains no matching.
        reranked: Share of relevant texts among the first 5 when matching orders the nearest ones;
            None where the study was not re-ranked.
        cosine: Mean cosine of the image's patches and the random negative's words; None without a
            negative, or where a side has no tokens.
        localised: The findings with a known region.
    """

    random: str | None
    hard: str | None
    matching: Odds | None
    reranked: Share | None
    transport: Transported
    cosine: Cosine | None
    localised: tuple[FindingLine, ...]

    @property
    def judged(self) -> Hashable:
        """What was judged, whatever it scored: equal in all seeds of one configuration."""
        scores = (self.matching, self.reranked, self.transport.own, self.transport.random)
        absent = (score is None for score in (*scores, self.cosine))
        return self.random, self.hard, *absent, self.findings

    @property
    def findings(self) -> tuple[tuple[str, float, bool, bool], ...]:
        """Kind and area of every finding, and whether its controls are missing."""
        return tuple(
            (one.kind, round(one.area, 9), one.other_word is None, one.elsewhere is None)
            for one in self.localised
        )

    @property
    def right(self) -> float | None:
        """Share of the own and the random pair on the right side of log-odds 0, ties by half.

        None without scores or a random negative.
        """
        if self.matching is None or self.matching.random is None:
            return None
        sides = (self.matching.own, -self.matching.random)
        return sum(0.5 if side == 0 else float(side > 0) for side in sides) / 2


# ---- a whole split ----------------------------------------------------------------------------


class Reranked(Model):
    """Precision@5 (image to text) of the studies with a re-ranked list, in both orders.

    ``global_order`` is that of the global similarity, ``reordered`` that of matching.
    """

    studies: Positive
    global_order: Share
    reordered: Share


class OfKind(Model):
    """Findings of one kind: their number, and their mean of inside / area."""

    findings: Positive
    mean: NotNegative


class Localisation(Model):
    """Mass inside the findings' regions relative to a uniform plan; chance is 1.

    Mean and median of inside / area, and means of the two controls / area, which are None where no
    finding has the control.
    """

    findings: Positive
    mean: NotNegative
    median: NotNegative
    other_word: NotNegative | None
    elsewhere: NotNegative | None
    kinds: dict[str, OfKind]


class PairAverages(Model):
    """Averages over the pairs of a split.

    Attributes:
        matching_auc_random: Probability that an own pair scores above a random negative, ties
            counted by half; None without scores or negatives.
        matching_auc_hard: The same for hard negatives.
        matching_accuracy: Mean of `PairLine.right`, so that a constant answer reaches one half.
        reranked: Re-ranked lists; None without any.
        transport_own: Mean transport cost of own pairs, over studies with both; None without one.
        transport_random: Mean transport cost of random pairs, over the same studies.
        transport_margin: Random minus own: above 0 where own pairs are nearer.
        cosine: Mean cosine of patches and words of other pairs; None without negatives.
        localisation: The findings with a known region; None without any.
    """

    matching_auc_random: Share | None
    matching_auc_hard: Share | None
    matching_accuracy: Share | None
    reranked: Reranked | None
    transport_own: float | None
    transport_random: float | None
    transport_margin: float | None
    cosine: Cosine | None
    localisation: Localisation | None


def pair_averages(pairs: Sequence[PairLine], global_precision: Sequence[float]) -> PairAverages:
    """Average the pairs of a split.

    Args:
        pairs: One per study, at least one.
        global_precision: Each study's precision@5 (image to text) in the global order.
    """
    lists = [
        (before, pair.reranked)
        for pair, before in zip(pairs, global_precision, strict=True)
        if pair.reranked is not None
    ]
    costs = [
        (pair.transport.own, pair.transport.random)
        for pair in pairs
        if pair.transport.own is not None and pair.transport.random is not None
    ]
    own, random = _mean(own for own, _ in costs), _mean(random for _, random in costs)
    reranked = None
    if lists:
        before, after = (statistics.fmean(side) for side in zip(*lists, strict=True))
        reranked = Reranked(studies=len(lists), global_order=before, reordered=after)
    return PairAverages(
        matching_auc_random=_auc(pairs, "random"),
        matching_auc_hard=_auc(pairs, "hard"),
        matching_accuracy=_mean(pair.right for pair in pairs),
        reranked=reranked,
        transport_own=own,
        transport_random=random,
        transport_margin=None if own is None or random is None else random - own,
        cosine=_mean(pair.cosine for pair in pairs),
        localisation=_localisation([one for pair in pairs for one in pair.localised]),
    )


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


def _auc(pairs: Sequence[PairLine], name: str) -> float | None:
    odds = [pair.matching for pair in pairs if pair.matching is not None]
    negatives = [value for one in odds if (value := getattr(one, name)) is not None]
    return auc([one.own for one in odds], negatives) if negatives else None


def _localisation(found: Sequence[FindingLine]) -> Localisation | None:
    if not found:
        return None
    by_kind: dict[str, list[float]] = {}
    for one in sorted(found, key=lambda one: one.kind):
        by_kind.setdefault(one.kind, []).append(one.inside / one.area)
    ratios = [one.inside / one.area for one in found]

    def over_area(name: str) -> float | None:
        return _mean(v / one.area for one in found if (v := getattr(one, name)) is not None)

    return Localisation(
        findings=len(found),
        mean=statistics.fmean(ratios),
        median=statistics.median(ratios),
        other_word=over_area("other_word"),
        elsewhere=over_area("elsewhere"),
        kinds={
            kind: OfKind(findings=len(its), mean=statistics.fmean(its))
            for kind, its in by_kind.items()
        },
    )
