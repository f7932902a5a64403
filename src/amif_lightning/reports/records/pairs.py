"""What the single pairs of one study scored: the key ``pairs`` of a line of `study_lines`."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from amif_lightning.reports.records.fields import Fields

# What rounding adds to a share or a cosine.
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Odds:
    """Log-odds of matching that the image belongs to a text; any finite numbers.

    Attributes:
        own: The study's own text.
        random: The random negative's text; None without a negative.
        hard: The hard negative's text; None without a negative.
    """

    own: float
    random: float | None
    hard: float | None


@dataclass(frozen=True, slots=True)
class Transported:
    """Transport cost of the image and a text; a debiased cost may be slightly negative.

    Attributes:
        own: The study's own text; None where a side has no tokens.
        random: The random negative's text; None without a negative, or where a side has no tokens.
    """

    own: float | None
    random: float | None


@dataclass(frozen=True, slots=True)
class FindingLine:
    """Where the transport plan sends words, beside the region of one finding.

    Attributes:
        kind: What was found.
        area: The region's share of the image's area, in (0, 1]: what an even plan puts inside.
        inside: Share of the naming words' mass inside the region.
        other_word: The same of one other word of the report; None without one.
        elsewhere: Share of the naming words' mass inside the region of another study's finding of
            the same kind; None without one.
    """

    kind: str
    area: float
    inside: float
    other_word: float | None
    elsewhere: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PairLine:
    """What the pairs of one study scored.

    Attributes:
        random: Id of the study whose text is the random negative; None without one.
        hard: Id of the study whose text is the hard negative; None without one.
        matching: Log-odds of matching; None where the run trains no matching.
        reranked: Share of relevant texts among the first 5 of the nearest ones, put in the order of
            matching (0 to 1); None where the study was not re-ranked.
        transport: Transport costs.
        cosine: Mean cosine of the image's patches and the random negative's words (-1 to 1); None
            without a negative, or where a side has no tokens.
        localised: The findings whose region is known.
    """

    random: str | None
    hard: str | None
    matching: Odds | None
    reranked: float | None
    transport: Transported
    cosine: float | None
    localised: tuple[FindingLine, ...]

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


def parse_pairs(data: object, where: str) -> PairLine | None:
    """Check the JSON value of the key ``pairs``.

    Args:
        data: The value; null where the task scores no pairs.
        where: File and line, for the message.

    Raises:
        UserError: Naming the file, the line and the field that is missing, mistyped, out of range,
            or there without the negative that it is of.
    """
    if data is None:
        return None
    fields = Fields(data, where, "pairs.")
    line = PairLine(
        random=fields.optional_text("random"),
        hard=fields.optional_text("hard"),
        matching=_odds(fields),
        reranked=optional_within(fields, "reranked", 0, 1),
        transport=_transported(fields.inside("transport")),
        cosine=optional_within(fields, "cosine", -1, 1),
        localised=_findings(fields),
    )
    fields.finish()
    _check(line, fields)
    return line


def check_negatives(
    pairs: Sequence[PairLine | None], ids: Sequence[str], lines: Sequence[Fields]
) -> None:
    """Raise unless the lines of a whole file fit each other.

    Args:
        pairs: What the pairs of each study scored.
        ids: The id of each study.
        lines: The fields of each line, for the message.

    Raises:
        UserError: If a negative is no other study of the file, or some lines only have pairs or
            scores of matching.
    """
    known = set(ids)
    first = pairs[0] if pairs else None
    for line, own, fields in zip(pairs, ids, lines, strict=True):
        if (line is None) != (first is None):
            fields.field_fails("pairs", "is null on some lines only")
        if line is None or first is None:
            continue
        if (line.matching is None) != (first.matching is None):
            fields.field_fails("pairs.matching", "is null on some lines only")
        for name in ("random", "hard"):
            negative: str | None = getattr(line, name)
            if negative is not None and (negative == own or negative not in known):
                fields.field_fails(
                    f"pairs.{name}", f"must be another study of the file, found '{negative}'"
                )


def number_of(fields: Fields, name: str) -> float:
    """A finite number."""
    return within(fields, name, -math.inf, math.inf)


def within(fields: Fields, name: str, low: float, high: float) -> float:
    """A number from ``low`` to ``high``, a rounding error beyond them allowed.

    Raises:
        UserError: If the field is null, no number, or outside.
    """
    value = optional_within(fields, name, low, high)
    if value is None:
        fields.field_fails(name, "must be a number, found None")
    return value


def optional_within(fields: Fields, name: str, low: float, high: float) -> float | None:
    """The same, or null."""
    value = fields.optional_number(name)
    if value is not None and not low - _ROUNDING <= value <= high + _ROUNDING:
        fields.field_fails(name, f"must be a number from {low:g} to {high:g}, found {value}")
    return value


def _odds(fields: Fields) -> Odds | None:
    value = fields.value("matching")
    if value is None:
        return None
    inner = Fields(value, fields.where, f"{fields.prefix}matching.")
    odds = Odds(
        own=number_of(inner, "own"),
        random=inner.optional_number("random"),
        hard=inner.optional_number("hard"),
    )
    inner.finish()
    return odds


def _transported(fields: Fields) -> Transported:
    made = Transported(fields.optional_number("own"), fields.optional_number("random"))
    fields.finish()
    return made


def _findings(fields: Fields) -> tuple[FindingLine, ...]:
    values = fields.value("localised")
    if not isinstance(values, list):
        fields.field_fails("localised", "must be a list of findings")
    return tuple(
        _finding(Fields(value, fields.where, f"{fields.prefix}localised.{place}."))
        for place, value in enumerate(values)
    )


def _finding(fields: Fields) -> FindingLine:
    finding = FindingLine(
        kind=fields.text("kind"),
        area=within(fields, "area", 0, 1),
        inside=within(fields, "inside", 0, 1),
        other_word=optional_within(fields, "other_word", 0, 1),
        elsewhere=optional_within(fields, "elsewhere", 0, 1),
    )
    fields.finish()
    if finding.area <= 0:
        fields.field_fails("area", f"must be above 0, found {finding.area}")
    return finding


def _check(line: PairLine, fields: Fields) -> None:
    """Raise unless scores are there exactly where their negative is."""
    if line.matching is not None:
        for name in ("random", "hard"):
            negative, odds = getattr(line, name), getattr(line.matching, name)
            if (negative is None) != (odds is None):
                fields.field_fails(
                    f"matching.{name}",
                    f"must be null where '{fields.prefix}{name}' is, and only there",
                )
    elif line.reranked is not None:
        fields.field_fails("reranked", "must be null where nothing is matched")
    if line.random is None:
        for name, value in (("transport.random", line.transport.random), ("cosine", line.cosine)):
            if value is not None:
                fields.field_fails(name, f"must be null where '{fields.prefix}random' is")
