"""What questions read of the answer vocabulary: the key ``knowledge`` of lines and records."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from amif_lightning.reports.records.fields import Fields
from amif_lightning.reports.records.pair_averages import same_number
from amif_lightning.reports.records.pairs import optional_within, within


@dataclass(frozen=True, slots=True, kw_only=True)
class KnowledgeLine:
    """What one question read.

    Attributes:
        mass: Attention of the question on the entries that are in its answer (0 to 1); None where
            the answer has no entry, as for the next two.
        even: What even attention would put there: their share of the vocabulary.
        top: Whether the most attended entry is one of them.
        effective: exp of the entropy of the attention: how many entries share it, 1 or more.
        gate: Mean openness of the gate over the question's tokens and channels (0 to 1).
        read: The most attended entries, each with its attention.
    """

    mass: float | None
    even: float | None
    top: bool | None
    effective: float
    gate: float
    read: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class KnowledgeAverages:
    """Means over the questions of a stratum.

    Attributes:
        questions: All of them.
        known: Those whose answer has an entry; the next three are means over these, and None
            without any.
        mass: Attention on the answer's entries.
        even: What even attention would put there.
        top: Share of questions whose most attended entry is one of them.
        effective: How many entries share the attention.
        gate: Openness of the gate.
    """

    questions: int
    known: int
    mass: float | None
    even: float | None
    top: float | None
    effective: float
    gate: float


def knowledge_averages(lines: Sequence[KnowledgeLine]) -> KnowledgeAverages:
    """The means of some questions, at least one."""
    mass = [line.mass for line in lines if line.mass is not None]
    even = [line.even for line in lines if line.even is not None]
    top = [float(line.top) for line in lines if line.top is not None]
    return KnowledgeAverages(
        questions=len(lines),
        known=len(mass),
        mass=statistics.fmean(mass) if mass else None,
        even=statistics.fmean(even) if even else None,
        top=statistics.fmean(top) if top else None,
        effective=statistics.fmean(line.effective for line in lines),
        gate=statistics.fmean(line.gate for line in lines),
    )


def reading_text(read: Sequence[tuple[str, float]], gate: float) -> str:
    """What was read, for people: ``left 61%, small 20%; gate 0.49``."""
    entries = ", ".join(f"{entry} {share:.0%}" for entry, share in read)
    return f"{entries}; gate {gate:.2f}"


def parse_line(fields: Fields) -> KnowledgeLine | None:
    """Take the key ``knowledge`` of a line of predictions; None where it is null or missing.

    Raises:
        UserError: Naming the file, the line and the field that is missing or wrong.
    """
    inner = _opened(fields)
    if inner is None:
        return None
    line = KnowledgeLine(
        mass=optional_within(inner, "mass", 0, 1),
        even=optional_within(inner, "even", 0, 1),
        top=inner.optional_flag("top"),
        effective=within(inner, "effective", 1, math.inf),
        gate=within(inner, "gate", 0, 1),
        read=_read(inner),
    )
    inner.finish()
    if len({line.mass is None, line.even is None, line.top is None}) > 1:
        inner.field_fails("mass", "must be null where 'even' and 'top' are, and only there")
    return line


def parse_averages(fields: Fields) -> dict[str, KnowledgeAverages] | None:
    """Take the key ``knowledge`` of a record, by stratum; None where it is null or missing.

    Raises:
        UserError: Naming the file and the field that is missing, mistyped or out of range.
    """
    inner = _opened(fields)
    if inner is None:
        return None
    return {name: _averages(inner.inside(name)) for name in inner.remaining()}


def odd_stratum(
    record: dict[str, KnowledgeAverages] | None, found: dict[str, KnowledgeAverages] | None
) -> str | None:
    """The first stratum whose means two tables give differently; None where they agree."""
    one, other = record or {}, found or {}
    for name in sorted({*one, *other}):
        if name not in one or name not in other:
            return name
        pairs = zip(asdict(one[name]).values(), asdict(other[name]).values(), strict=True)
        if not all(same_number(a, b) for a, b in pairs):
            return name
    return None


def _opened(fields: Fields) -> Fields | None:
    value = fields.value("knowledge") if "knowledge" in fields.remaining() else None
    return None if value is None else Fields(value, fields.where, f"{fields.prefix}knowledge.")


def _read(fields: Fields) -> tuple[tuple[str, float], ...]:
    value = fields.value("read")
    if not isinstance(value, list):
        fields.field_fails("read", "must be a list of entries with their attention")
    made: list[tuple[str, float]] = []
    for place, pair in enumerate(value):
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            fields.field_fails(f"read.{place}", "must be an entry and its attention")
        inner = Fields(
            dict(zip(("entry", "attention"), pair, strict=True)), fields.where, fields.prefix
        )
        made.append((inner.text("entry"), within(inner, "attention", 0, 1)))
    return tuple(made)


def _averages(fields: Fields) -> KnowledgeAverages:
    found = KnowledgeAverages(
        questions=fields.integer("questions", minimum=1),
        known=fields.integer("known"),
        mass=optional_within(fields, "mass", 0, 1),
        even=optional_within(fields, "even", 0, 1),
        top=optional_within(fields, "top", 0, 1),
        effective=within(fields, "effective", 1, math.inf),
        gate=within(fields, "gate", 0, 1),
    )
    fields.finish()
    if found.known > found.questions:
        fields.field_fails("known", f"is more than the {found.questions} questions")
    for name in ("mass", "even", "top"):
        if (getattr(found, name) is None) != (found.known == 0):
            fields.field_fails(name, "must be null where no answer has an entry, and only there")
    return found
