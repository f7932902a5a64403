"""What single pairs of image and text scored, of one study and of a whole split."""

from __future__ import annotations

import statistics
from collections.abc import Hashable, Iterable, Sequence
from typing import Annotated, Self

from pydantic import Field, model_validator

from amif_lightning.metrics.auc import auc
from amif_lightning.reports.records.schema import (
    Cosine,
    FieldError,
    Model,
    NotNegative,
    Positive,
    Share,
    first_difference,
)


class Odds(Model):
    """Log-odds of matching that the image belongs to a text; any finite numbers.

    Attributes:
        own: The study's own text.
        random: The random negative's text; None without a negative.
        hard: The hard negative's text; None without a negative.
    """

    own: float
    random: float | None
    hard: float | None


class Transported(Model):
    """Transport cost of the image and a text; a debiased cost may be slightly negative.

    Attributes:
        own: The study's own text; None where a side has no tokens.
        random: The random negative's text; None without a negative, or where a side has no tokens.
    """

    own: float | None
    random: float | None


class FindingLine(Model):
    """Where the transport plan sends words, beside the region of one finding.

    Attributes:
        kind: What was found.
        area: The region's share of the image's area: what an even plan puts inside.
        inside: Share of the naming words' mass inside the region.
        other_word: The same of one other word of the report; None without one.
        elsewhere: Share of the naming words' mass inside the region of another study's finding of
            the same kind; None without one.
    """

    kind: str
    area: Annotated[Share, Field(gt=0)]
    inside: Share
    other_word: Share | None
    elsewhere: Share | None


class PairLine(Model):
    """What the pairs of one study scored.

    Attributes:
        random: Id of the study whose text is the random negative; None without one.
        hard: Id of the study whose text is the hard negative; None without one.
        matching: Log-odds of matching; None where the run trains no matching.
        reranked: Share of relevant texts among the first 5 of the nearest ones, put in the order of
            matching; None where the study was not re-ranked.
        transport: Transport costs.
        cosine: Mean cosine of the image's patches and the random negative's words; None without a
            negative, or where a side has no tokens.
        localised: The findings whose region is known.
    """

    random: str | None
    hard: str | None
    matching: Odds | None
    reranked: Share | None
    transport: Transported
    cosine: Cosine | None
    localised: tuple[FindingLine, ...]

    @model_validator(mode="after")
    def _scores_have_their_negative(self) -> Self:
        if self.matching is not None:
            for name in ("random", "hard"):
                if (getattr(self, name) is None) != (getattr(self.matching, name) is None):
                    reason = f"must be null where '{name}' is, and only there"
                    raise FieldError(f"matching.{name}", reason)
        elif self.reranked is not None:
            raise FieldError("reranked", "must be null where nothing is matched")
        if self.random is None:
            scored = {"transport.random": self.transport.random, "cosine": self.cosine}
            for name, value in scored.items():
                if value is not None:
                    raise FieldError(name, "must be null where 'random' is")
        return self

    @property
    def judged(self) -> Hashable:
        """What was judged, whatever it scored: equal in all seeds of one configuration."""
        return (
            self.random,
            self.hard,
            self.matching is None,
            self.reranked is None,
            self.transport.own is None,
            self.transport.random is None,
            self.cosine is None,
            self.findings,
        )

    @property
    def findings(self) -> tuple[tuple[str, float, bool, bool], ...]:
        """Kind and area of every finding, and which controls it lacks."""
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
        return (_positive(self.matching.own) + _positive(-self.matching.random)) / 2


def _positive(value: float) -> float:
    return 0.5 if value == 0 else float(value > 0)


# ---- a whole split ----------------------------------------------------------------------------


class Reranked(Model):
    """Lists that were put in the order of matching.

    Attributes:
        studies: Number of images whose lists were re-ranked.
        global_order: Their precision@5 (image to text) in the order of the global similarity.
        reordered: Their precision@5 in the order of matching.
    """

    studies: Positive
    global_order: Share
    reordered: Share


class OfKind(Model):
    """Findings of one kind: their number, and their mean of inside / area."""

    findings: Positive
    mean: NotNegative


class Localisation(Model):
    """Mass inside the findings' regions over what an even plan puts there; 1 is chance.

    Attributes:
        findings: Number of findings.
        mean: Mean of inside / area, for the words that name the finding.
        median: Its median.
        other_word: Mean of other_word / area; None where no report has another word.
        elsewhere: Mean of elsewhere / area; None where no other study has a finding of the kind.
        kinds: By kind of finding.
    """

    findings: Positive
    mean: NotNegative
    median: NotNegative
    other_word: NotNegative | None
    elsewhere: NotNegative | None
    kinds: dict[str, OfKind]

    @model_validator(mode="after")
    def _kinds_hold_all(self) -> Self:
        if sum(kind.findings for kind in self.kinds.values()) != self.findings:
            raise FieldError("kinds", f"must hold {self.findings} findings together")
        return self


class PairAverages(Model):
    """What the pairs of a split come to.

    Attributes:
        matching_auc_random: Probability that an own pair scores above a random negative, ties
            counted by half; None without scores or negatives.
        matching_auc_hard: The same of hard negatives.
        matching_accuracy: Mean of `PairLine.right`, so that a constant answer reaches one half.
        reranked: Re-ranked lists; None without any.
        transport_own: Mean transport cost of own pairs, over studies with both; None without one.
        transport_random: Mean transport cost of random pairs, over the same studies.
        transport_margin: The second minus the first: above 0 where own pairs are nearer.
        cosine: Mean cosine of patches and words of other pairs; None without negatives.
        localisation: The findings whose region is known; None without any.
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

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.matching_accuracy is None) != (self.matching_auc_random is None):
            raise FieldError("matching_accuracy", "must be null where the random AUC is")
        margin = _difference(self.transport_random, self.transport_own)
        lone = (self.transport_own is None) != (self.transport_random is None)
        if lone or first_difference(self.transport_margin, margin, "margin"):
            reason = "must be the random transport minus the own one"
            raise FieldError("transport_margin", reason)
        return self


def pair_averages(pairs: Sequence[PairLine], global_precision: Sequence[float]) -> PairAverages:
    """What the pairs of a split come to.

    Args:
        pairs: Of every study, at least one.
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
    return PairAverages(
        matching_auc_random=_auc(pairs, "random"),
        matching_auc_hard=_auc(pairs, "hard"),
        matching_accuracy=_mean(pair.right for pair in pairs),
        reranked=Reranked(
            studies=len(lists),
            global_order=statistics.fmean(before for before, _ in lists),
            reordered=statistics.fmean(after for _, after in lists),
        )
        if lists
        else None,
        transport_own=own,
        transport_random=random,
        transport_margin=_difference(random, own),
        cosine=_mean(pair.cosine for pair in pairs),
        localisation=_localisation([one for pair in pairs for one in pair.localised]),
    )


def _difference(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one - other


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
    ratios = [one.inside / one.area for one in found]
    by_kind: dict[str, list[float]] = {}
    for one in sorted(found, key=lambda one: one.kind):
        by_kind.setdefault(one.kind, []).append(one.inside / one.area)

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
