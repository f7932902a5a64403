"""Findings of the phantoms, their combinations and their exact vectors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

Kind = Literal["nodule", "mass", "effusion", "consolidation", "pneumothorax", "cardiomegaly"]
Side = Literal["left", "right", "both", ""]
Zone = Literal["upper", "middle", "lower", ""]
Size = Literal["small", "large", ""]
Aspect = Literal["presence", "side", "zone", "size", "count"]

KINDS: tuple[Kind, ...] = get_args(Kind)
SIDES: tuple[Side, ...] = ("left", "right")
ZONES: tuple[Zone, ...] = ("upper", "middle", "lower")
SIZES: tuple[Size, ...] = ("small", "large")
COUNTS: tuple[str, ...] = ("one", "two", "three")
NONE = "none"


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding of a study."""

    kind: Kind
    side: Side = ""  # of the patient; empty for the heart
    zone: Zone = ""  # third of the lung; empty if the kind has none or the lesions are scattered
    size: Size = ""  # empty if the kind has no size classes
    count: int = 1  # lesions, 1 to 3; more than 1 only for nodules

    @property
    def sides(self) -> tuple[Side, ...]:
        """Return the affected lungs."""
        return SIDES if self.side == "both" else (self.side,) if self.side else ()

    @property
    def aspects(self) -> frozenset[Aspect]:
        """Return the aspects that can be asked about."""
        optional: dict[Aspect, object] = {"side": self.side, "zone": self.zone, "size": self.size}
        optional["count"] = self.count > 1
        return frozenset({"presence", *(aspect for aspect, value in optional.items() if value)})


@dataclass(frozen=True, slots=True)
class Profile:
    """A combination of findings and its unnormalised share of the studies."""

    findings: tuple[Finding, ...]
    weight: float


def _profiles() -> tuple[Profile, ...]:
    groups: list[tuple[float, list[tuple[Finding, ...]]]] = [
        (0.14, [()]),
        (0.13, [(Finding("nodule", s, z),) for s, z in product(SIDES, ZONES)]),
        (0.07, [(Finding("nodule", s, count=2),) for s in (*SIDES, "both")]),
        (0.07, [(Finding("nodule", s, count=3),) for s in (*SIDES, "both")]),
        (0.13, [(Finding("mass", *a),) for a in product(SIDES, ZONES, SIZES)]),
        (0.11, [(Finding("effusion", s, size=z),) for s, z in product((*SIDES, "both"), SIZES)]),
        (0.13, [(Finding("consolidation", *a),) for a in product(SIDES, ZONES, SIZES)]),
        (0.10, [(Finding("pneumothorax", s, size=z),) for s, z in product(SIDES, SIZES)]),
        (0.06, [(Finding("cardiomegaly"),)]),
        (
            0.05,
            [
                (Finding("cardiomegaly"), Finding("effusion", s, size=z))
                for s, z in product((*SIDES, "both"), SIZES)
            ],
        ),
        (0.04, [(Finding("cardiomegaly"), Finding("nodule", *a)) for a in product(SIDES, ZONES)]),
    ]
    above: tuple[Zone, ...] = ("upper", "middle")
    solid: tuple[Kind, ...] = ("consolidation", "mass")
    # A lesion with an effusion lies in a zone that the fluid does not reach.
    with_effusion: list[tuple[Finding, ...]] = [
        (Finding(kind, side, zone, "small"), Finding("effusion", side, size="small"))
        for kind, side, zone in product(solid, SIDES, above)
    ]
    # A nodule with a pneumothorax lies in the other lung; a collapsed lung would hide it.
    with_pneumothorax: list[tuple[Finding, ...]] = [
        (Finding("pneumothorax", a, size="large"), Finding("nodule", b, zone))
        for (a, b), zone in product((SIDES, SIDES[::-1]), above)
    ]
    groups += [(0.05, with_effusion), (0.03, with_pneumothorax)]
    return tuple(Profile(one, weight / len(many)) for weight, many in groups for one in many)


#: Every combination of findings that is generated.
PROFILES: tuple[Profile, ...] = _profiles()


def _names(finding: Finding) -> list[str]:
    """Return the names of the coordinates that a finding sets to 1."""
    parts: list[str] = [*finding.sides, finding.zone, finding.size]
    if finding.kind == "nodule":
        parts.append(COUNTS[finding.count - 1])
    return [finding.kind, *(f"{finding.kind} {part}" for part in parts if part)]


#: Names of the vector's coordinates; the first one is for a study without findings.
COORDINATES: tuple[str, ...] = (
    NONE,
    *dict.fromkeys(
        name for profile in PROFILES for finding in profile.findings for name in _names(finding)
    ),
)


def finding_vector(findings: Iterable[Finding]) -> tuple[int, ...]:
    """Return the exact vector of a study: 0 or 1 per name in ``COORDINATES``.

    Studies without findings set the coordinate ``none``, so no vector is zero. Vectors are binary,
    so different vectors have different directions.
    """
    on = {name for finding in findings for name in _names(finding)} or {NONE}
    return tuple(int(name in on) for name in COORDINATES)


def unit_vectors(vectors: Sequence[Sequence[int]]) -> NDArray[np.float32]:
    """Scale finding vectors (N, C) to rows of unit length (N, C), float32."""
    array = np.asarray(vectors, dtype=np.float64).reshape(-1, len(COORDINATES))
    lengths = np.linalg.norm(array, axis=1, keepdims=True)
    return (array / lengths.clip(min=1e-12)).astype(np.float32)


def draw_profiles(rng: np.random.Generator, count: int) -> list[Profile]:
    """Draw the profiles of ``count`` studies by systematic sampling, in random order.

    Each profile gets its share to within one study, so small splits have nearly all profiles.
    """
    order = rng.permutation(len(PROFILES))
    # Integers: rounding of floats could differ between machines at a sampling point.
    weights = np.array([round(PROFILES[i].weight * 1e6) for i in order], dtype=np.int64)
    bounds = np.cumsum(weights)
    offset = int(rng.integers(1_000_000))
    total, parts = int(bounds[-1]), 1_000_000
    points = [(k * parts + offset) * total // (parts * count) for k in range(count)]
    drawn = [PROFILES[order[int(np.searchsorted(bounds, p, side="right"))]] for p in points]
    return [drawn[int(i)] for i in rng.permutation(count)]
