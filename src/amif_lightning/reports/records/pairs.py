"""Scores of single image-text pairs, of one study and of a whole split."""

from __future__ import annotations

import statistics
from collections.abc import Hashable, Iterable, Sequence
from typing import Annotated

from pydantic import Field

from amif_lightning.metrics.auc import auc
from amif_lightning.reports.records.schema import Cosine, Model, NotNegative, Positive, Real, Share


class Odds(Model):
    """Log-odds of matching for the study's own text and its negatives; None without a negative."""

    own: Real
    random: Real | None
    hard: Real | None


class Transported(Model):
    """Transport costs of the study's own text and its random negative.

    None without a negative or tokens. A debiased cost may be slightly negative.
    """

    own: Real | None
    random: Real | None


class FindingLine(Model):
    """Mass of the transport plan inside the region of one finding; see `evaluation.Localised`."""

    kind: str
    area: Annotated[Share, Field(gt=0)]
    inside: Share
    other_word: Share | None
    elsewhere: Share | None


class PairLine(Model):
    """Scores of the pairs of one study."""

    random: str | None  # id of the study with the random negative's text; None without one
    hard: str | None  # id of the study with the hard negative's text; None without one
    matching: Odds | None  # None if the run trains no matching
    # Share of relevant texts among the first 5 after re-ranking by matching; None if not re-ranked.
    reranked: Share | None
    transport: Transported
    # Mean of the image's patches and the random negative's words; None without negative or tokens.
    cosine: Cosine | None
    localised: tuple[FindingLine, ...]  # the findings with a known region

    @property
    def judged(self) -> Hashable:
        """The scored pairs without their scores: equal in all seeds of one configuration."""
        scores = (self.matching, self.reranked, self.transport.own, self.transport.random)
        absent = (score is None for score in (*scores, self.cosine))
        return self.random, self.hard, *absent, self.findings

    @property
    def findings(self) -> tuple[tuple[str, float, bool, bool], ...]:
        """Kind and area of every finding, and whether its two controls are missing."""
        return tuple(
            (one.kind, round(one.area, 9), one.other_word is None, one.elsewhere is None)
            for one in self.localised
        )

    @property
    def right(self) -> float | None:
        """Matching accuracy of the own and the random pair at log-odds 0, ties by half; or None."""
        if self.matching is None or self.matching.random is None:
            return None
        sides = (self.matching.own, -self.matching.random)
        return sum(0.5 if side == 0 else float(side > 0) for side in sides) / 2


# ---- a whole split ----------------------------------------------------------------------------


class Reranked(Model):
    """Precision@5 (image to text) of the studies with a re-ranked list, in both orders."""

    studies: Positive
    global_order: Share  # order of the global similarity
    reordered: Share  # order of matching


class OfKind(Model):
    """Findings of one kind: their number, and their mean of inside / area."""

    findings: Positive
    mean: NotNegative


class Localisation(Model):
    """Mass inside the findings' regions / their area; a uniform plan gives 1."""

    findings: Positive
    mean: NotNegative  # of inside / area
    median: NotNegative
    other_word: NotNegative | None  # mean of the control; None if no finding has it
    elsewhere: NotNegative | None  # mean of the control; None if no finding has it
    kinds: dict[str, OfKind]


class PairAverages(Model):
    """Averages over the pairs of a split; None if no pair has the score."""

    # Probability that an own pair scores above a random negative; ties count half.
    matching_auc_random: Share | None
    matching_auc_hard: Share | None  # the same for hard negatives
    matching_accuracy: Share | None  # mean of `PairLine.right`: a constant answer reaches 0.5
    reranked: Reranked | None
    transport_own: Real | None  # mean over studies with both costs
    transport_random: Real | None  # mean over the same studies
    transport_margin: Real | None  # random minus own: above 0 if own pairs are nearer
    cosine: Cosine | None  # mean over patches and words of other pairs
    localisation: Localisation | None


def pair_averages(pairs: Sequence[PairLine], global_precision: Sequence[float]) -> PairAverages:
    """Average the pairs of a split, at least one.

    ``global_precision`` is each study's precision@5 (image to text) in the global order.
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
