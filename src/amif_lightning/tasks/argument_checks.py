"""Ranges of the numeric options of both stages; a UserError names the option that is outside."""

from __future__ import annotations

import math

from amif_lightning.errors import UserError
from amif_lightning.losses.alignment import GREATEST_TEMPERATURE, LEAST_TEMPERATURE
from amif_lightning.losses.transport import DIAMETER


def check_weights(**weights: float) -> None:
    """Weights of losses are finite and not negative."""
    for name, value in weights.items():
        _check(name, value, 0 <= value < math.inf, "0 or more")


def check_at_least_one(**numbers: int) -> None:
    """Counts of layers, beams and the like are 1 or more."""
    for name, value in numbers.items():
        _check(name, value, value >= 1, "at least 1")


def check_smoothing(**shares: float) -> None:
    """Smoothing leaves some of the label; so does a late start leave some steps."""
    for name, value in shares.items():
        _check(name, value, 0 <= value < 1, "0 or more, below 1")


def check_temperature(temperature: float) -> None:
    """The temperature at the start lies in the range that it is kept in."""
    allowed = LEAST_TEMPERATURE <= temperature <= GREATEST_TEMPERATURE
    right = f"{LEAST_TEMPERATURE:g} to {GREATEST_TEMPERATURE:g}"
    _check("temperature", temperature, allowed, right)


def check_transport(blur: float, scaling: float, reach: float | None) -> None:
    """Options of :class:`TokenTransport`."""
    _check("blur", blur, 0 < blur < DIAMETER, f"more than 0, below {DIAMETER:g}")
    _check("scaling", scaling, 0 < scaling < 1, "more than 0, below 1")
    _check("reach", reach, reach is None or 0 < reach < math.inf, "more than 0, or null")


def check_contrast(temperature: float, start: float) -> None:
    """Options of the contrastive transport."""
    allowed = 0 < temperature < math.inf
    _check("transport_temperature", temperature, allowed, "a finite number above 0")
    check_smoothing(transport_start=start)


def check_mining(random_share: float, max_likeness: float) -> None:
    """Options of the draw of negatives."""
    _check("random_share", random_share, 0 <= random_share <= 1, "0 to 1")
    _check("max_likeness", max_likeness, 0 < max_likeness <= 1, "more than 0, at most 1")


def _check(name: str, value: float | None, allowed: bool, right: str) -> None:
    if not allowed:
        raise UserError(f"model.init_args.{name} is {value}: give {right}.")
