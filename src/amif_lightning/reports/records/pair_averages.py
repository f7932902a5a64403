"""What the single pairs of a whole split come to: the key ``pairs`` of a record of a search."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from amif_lightning.metrics.auc import auc
from amif_lightning.reports.records.fields import Fields
from amif_lightning.reports.records.pairs import FindingLine, PairLine, optional_within, within
from amif_lightning.reports.records.study_scores import JUDGED, StudyLine


@dataclass(frozen=True, slots=True)
class Reranked:
    """Lists that were put in the order of matching.

    Attributes:
        studies: Number of images whose lists were re-ranked.
        global_order: Their precision@5 (image to text) in the order of the global similarity.
        reordered: Their precision@5 in the order of matching.
    """

    studies: int
    global_order: float
    reordered: float


@dataclass(frozen=True, slots=True)
class OfKind:
    """Findings of one kind.

    Attributes:
        findings: Their number.
        mean: Mean of inside / area.
    """

    findings: int
    mean: float


@dataclass(frozen=True, slots=True)
class Localisation:
    """Mass inside the findings' regions over what an even plan puts there; 1 is chance.

    Attributes:
        findings: Number of findings.
        mean: Mean of inside / area, for the words that name the finding.
        median: Its median.
        other_word: Mean of other_word / area; None where no report has another word.
        elsewhere: Mean of elsewhere / area; None where no other study has a finding of the kind.
        kinds: By kind of finding.
    """

    findings: int
    mean: float
    median: float
    other_word: float | None
    elsewhere: float | None
    kinds: dict[str, OfKind]


@dataclass(frozen=True, slots=True, kw_only=True)
class PairAverages:
    """What the pairs of a split come to.

    Attributes:
        matching_auc_random: Probability that an own pair scores above a random negative, ties
            counted by half; None without scores or negatives.
        matching_auc_hard: The same of hard negatives.
        matching_accuracy: Share of pairs on the right side of log-odds 0, over the own and the
            random pair of every study that has both, so that a constant answer reaches one half; a
            score of 0 counts by half. None without scores or negatives.
        reranked: Re-ranked lists; None without any.
        transport_own: Mean transport cost of own pairs, over studies with both; None without one.
        transport_random: Mean transport cost of random pairs, over the same studies.
        transport_margin: The second minus the first: above 0 where own pairs are nearer.
        cosine: Mean cosine of patches and words of other pairs; None without negatives.
        localisation: The findings whose region is known; None without any.
    """

    matching_auc_random: float | None
    matching_auc_hard: float | None
    matching_accuracy: float | None
    reranked: Reranked | None
    transport_own: float | None
    transport_random: float | None
    transport_margin: float | None
    cosine: float | None
    localisation: Localisation | None


def pair_averages(lines: Sequence[StudyLine]) -> PairAverages | None:
    """The numbers of a record; None where the lines have no pairs.

    Args:
        lines: Of a whole split, at least one.
    """
    pairs = [line.pairs for line in lines if line.pairs is not None]
    if not pairs:
        return None
    right = [value for line in pairs if (value := right_share(line)) is not None]
    lists = [
        (line.image_to_text.precision[JUDGED], line.pairs.reranked)
        for line in lines
        if line.pairs is not None and line.pairs.reranked is not None
    ]
    costs = [
        (line.transport.own, line.transport.random)
        for line in pairs
        if line.transport.own is not None and line.transport.random is not None
    ]
    own, random = (_mean(part) for part in zip(*costs, strict=True)) if costs else (None, None)
    cosines = [line.cosine for line in pairs if line.cosine is not None]
    return PairAverages(
        matching_auc_random=_auc(pairs, "random"),
        matching_auc_hard=_auc(pairs, "hard"),
        matching_accuracy=_mean(right) if right else None,
        reranked=Reranked(
            len(lists), _mean(before for before, _ in lists), _mean(after for _, after in lists)
        )
        if lists
        else None,
        transport_own=own,
        transport_random=random,
        transport_margin=None if own is None or random is None else random - own,
        cosine=_mean(cosines) if cosines else None,
        localisation=_localisation([one for line in pairs for one in line.localised]),
    )


def right_share(line: PairLine) -> float | None:
    """Share of the own and the random pair on the right side of log-odds 0: 0, 0.5, 1 or between.

    None without scores or a random negative.
    """
    if line.matching is None or line.matching.random is None:
        return None
    return (_positive(line.matching.own) + _positive(-line.matching.random)) / 2


def _positive(value: float) -> float:
    return 0.5 if value == 0 else float(value > 0)


def _auc(pairs: Sequence[PairLine], name: str) -> float | None:
    odds = [line.matching for line in pairs if line.matching is not None]
    negatives = [value for one in odds if (value := getattr(one, name)) is not None]
    return auc([one.own for one in odds], negatives) if negatives else None


def _localisation(found: Sequence[FindingLine]) -> Localisation | None:
    if not found:
        return None
    ratios = [one.inside / one.area for one in found]
    other = [one.other_word / one.area for one in found if one.other_word is not None]
    elsewhere = [one.elsewhere / one.area for one in found if one.elsewhere is not None]
    by_kind: dict[str, list[float]] = {}
    for one in sorted(found, key=lambda one: one.kind):
        by_kind.setdefault(one.kind, []).append(one.inside / one.area)
    return Localisation(
        findings=len(found),
        mean=_mean(ratios),
        median=statistics.median(ratios),
        other_word=_mean(other) if other else None,
        elsewhere=_mean(elsewhere) if elsewhere else None,
        kinds={kind: OfKind(len(its), _mean(its)) for kind, its in by_kind.items()},
    )


def _mean(values: Iterable[float]) -> float:
    return statistics.fmean(values)


# ---- the record -------------------------------------------------------------------------------


def parse_averages(data: object, where: str, studies: int) -> PairAverages | None:
    """Check the JSON value of the key ``pairs``.

    Args:
        data: The value; null where the run scored no pairs.
        where: The file, for the message.
        studies: Number of studies of the split.

    Raises:
        UserError: Naming the file and the field that is missing, mistyped or out of range.
    """
    if data is None:
        return None
    fields = Fields(data, where, "pairs.")
    found = PairAverages(
        matching_auc_random=optional_within(fields, "matching_auc_random", 0, 1),
        matching_auc_hard=optional_within(fields, "matching_auc_hard", 0, 1),
        matching_accuracy=optional_within(fields, "matching_accuracy", 0, 1),
        reranked=_parse_reranked(fields),
        transport_own=fields.optional_number("transport_own"),
        transport_random=fields.optional_number("transport_random"),
        transport_margin=fields.optional_number("transport_margin"),
        cosine=optional_within(fields, "cosine", -1, 1),
        localisation=_parse_localisation(fields),
    )
    fields.finish()
    if found.reranked is not None and found.reranked.studies > studies:
        fields.field_fails("reranked.studies", f"is more than the {studies} studies of the split")
    if (found.matching_accuracy is None) != (found.matching_auc_random is None):
        fields.field_fails("matching_accuracy", "must be null where the random AUC is")
    costs = (found.transport_own, found.transport_random, found.transport_margin)
    margin = None if costs[0] is None or costs[1] is None else costs[1] - costs[0]
    if len({cost is None for cost in costs}) > 1 or not same_number(costs[2], margin):
        fields.field_fails("transport_margin", "must be the random transport minus the own one")
    return found


def _parse_reranked(fields: Fields) -> Reranked | None:
    value = fields.value("reranked")
    if value is None:
        return None
    inner = Fields(value, fields.where, f"{fields.prefix}reranked.")
    made = Reranked(
        inner.integer("studies", minimum=1),
        within(inner, "global_order", 0, 1),
        within(inner, "reordered", 0, 1),
    )
    inner.finish()
    return made


def _parse_localisation(fields: Fields) -> Localisation | None:
    value = fields.value("localisation")
    if value is None:
        return None
    inner = Fields(value, fields.where, f"{fields.prefix}localisation.")
    kinds = inner.inside("kinds")
    made = Localisation(
        findings=inner.integer("findings", minimum=1),
        mean=within(inner, "mean", 0, math.inf),
        median=within(inner, "median", 0, math.inf),
        other_word=optional_within(inner, "other_word", 0, math.inf),
        elsewhere=optional_within(inner, "elsewhere", 0, math.inf),
        kinds={kind: _parse_kind(kinds.inside(kind)) for kind in kinds.remaining()},
    )
    inner.finish()
    if sum(one.findings for one in made.kinds.values()) != made.findings:
        inner.field_fails("kinds", f"must hold {made.findings} findings together")
    return made


def _parse_kind(fields: Fields) -> OfKind:
    made = OfKind(fields.integer("findings", minimum=1), within(fields, "mean", 0, math.inf))
    fields.finish()
    return made


def odd_average(record: PairAverages | None, found: PairAverages | None) -> str | None:
    """The first number by which two differ, such as ``'pairs.cosine'``; None where none does."""
    if record is None or found is None:
        return None if record is found else "'pairs'"
    return _odd(asdict(record), asdict(found), "pairs")


def _odd(one: object, other: object, name: str) -> str | None:
    if isinstance(one, dict) and isinstance(other, dict):
        if one.keys() != other.keys():
            return f"'{name}'"
        parts = (_odd(one[key], other[key], f"{name}.{key}") for key in one)
        return next((part for part in parts if part), None)
    return None if same_number(one, other) else f"'{name}'"


def same_number(one: object, other: object) -> bool:
    """Whether two values are equal, up to the rounding of a mean where both are numbers."""
    if isinstance(one, int | float) and isinstance(other, int | float):
        return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-9)
    return one == other
