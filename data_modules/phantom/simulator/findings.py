"""What a phantom can show: the vocabulary of findings, their combinations and their exact vectors.

There are 60-100 distinct finding vectors, with a coordinate of their own for "none".
"""

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

KINDS: tuple[Kind, ...] = get_args(Kind)
SIDES: tuple[Side, ...] = ("left", "right")
ZONES: tuple[Zone, ...] = ("upper", "middle", "lower")
SIZES: tuple[Size, ...] = ("small", "large")
COUNTS: tuple[str, ...] = ("one", "two", "three")
NONE = "none"


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding of a study.

    Attributes:
        kind: What it is.
        side: The patient's side; empty for the heart.
        zone: Third of the lung, empty where the kind has no free zone or the lesions are scattered.
        size: Size class, empty where the kind has none.
        count: Number of lesions, 1 to 3; more than 1 only for nodules.
    """

    kind: Kind
    side: Side = ""
    zone: Zone = ""
    size: Size = ""
    count: int = 1

    @property
    def sides(self) -> tuple[Side, ...]:
        """The lungs it lies in, ``both`` taken apart."""
        return SIDES if self.side == "both" else (self.side,) if self.side else ()


@dataclass(frozen=True, slots=True)
class Profile:
    """A combination of findings and the share of the studies that have it (before normalising)."""

    findings: tuple[Finding, ...]
    weight: float


def _profiles() -> tuple[Profile, ...]:
    """List every combination that a study can have, with its weight."""
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
    # Lesions beside an effusion keep to the zones that the fluid does not reach.
    above: tuple[Zone, ...] = ("upper", "middle")
    beside: list[tuple[Finding, ...]] = []
    for kind, side, zone in product(("consolidation", "mass"), SIDES, above):
        lesion = Finding("mass" if kind == "mass" else "consolidation", side, zone, "small")
        beside.append((lesion, Finding("effusion", side, size="small")))
    groups.append((0.05, beside))
    # A nodule beside a pneumothorax lies in the other lung: a collapsed lung would hide it.
    groups.append(
        (
            0.03,
            [
                (Finding("pneumothorax", a, size="large"), Finding("nodule", b, zone))
                for (a, b), zone in product((SIDES, SIDES[::-1]), above)
            ],
        )
    )
    return tuple(
        Profile(findings, weight / len(members))
        for weight, members in groups
        for findings in members
    )


PROFILES: tuple[Profile, ...] = _profiles()
"""Every combination of findings that is generated."""


def _names(finding: Finding) -> list[str]:
    """Name the coordinates that a finding switches on."""
    parts: list[str] = [*finding.sides, finding.zone, finding.size]
    if finding.kind == "nodule":
        parts.append(COUNTS[finding.count - 1])
    return [finding.kind, *(f"{finding.kind} {part}" for part in parts if part)]


COORDINATES: tuple[str, ...] = (
    NONE,
    *dict.fromkeys(
        name for profile in PROFILES for finding in profile.findings for name in _names(finding)
    ),
)
"""Names of the vector's coordinates; the first is the one for a study without findings."""


def finding_vector(findings: Iterable[Finding]) -> tuple[int, ...]:
    """Return the exact vector of a study, with C = ``len(COORDINATES)`` entries of 0 or 1.

    A study without findings has the coordinate ``none`` to itself, so no vector is zero and each
    can be given unit norm; being binary, different vectors never have the same direction.
    """
    on = {name for finding in findings for name in _names(finding)} or {NONE}
    return tuple(int(name in on) for name in COORDINATES)


def unit_vectors(vectors: Sequence[Sequence[int]]) -> NDArray[np.float32]:
    """Scale finding vectors (N, C) to unit rows (N, C), float32."""
    array = np.asarray(vectors, dtype=np.float64).reshape(-1, len(COORDINATES))
    rows: NDArray[np.float32] = (
        array / np.linalg.norm(array, axis=1, keepdims=True).clip(min=1e-12)
    ).astype(np.float32)
    return rows


def draw_profiles(rng: np.random.Generator, count: int) -> list[Profile]:
    """Draw the profiles of ``count`` studies by systematic sampling, in random order.

    Systematic sampling gives each profile its share to within one study, so that even a small
    split holds nearly all of them.
    """
    order = rng.permutation(len(PROFILES))
    # Whole numbers, so that no machine rounds a share to the other side of a sampling point.
    weights = np.array([round(PROFILES[i].weight * 1e6) for i in order], dtype=np.int64)
    bounds = np.cumsum(weights)
    offset = int(rng.integers(1_000_000))
    points = [
        (k * 1_000_000 + offset) * int(bounds[-1]) // (1_000_000 * count) for k in range(count)
    ]
    drawn = [PROFILES[order[int(np.searchsorted(bounds, p, side="right"))]] for p in points]
    return [drawn[int(i)] for i in rng.permutation(count)]
