"""Range checks of the numeric options of both stages; a UserError names the option."""

from __future__ import annotations

import math

from amif_lightning.errors import UserError
from amif_lightning.losses.alignment import GREATEST_TEMPERATURE, LEAST_TEMPERATURE
from amif_lightning.losses.transport import DIAMETER


def check_weights(**weights: float) -> None:
    """Require finite weights of losses, 0 or more."""
    for name, value in weights.items():
        check(name, value, 0 <= value < math.inf, "0 or more")


def check_factors(**factors: float) -> None:
    """Require finite factors above 0."""
    for name, value in factors.items():
        check(name, value, 0 < value < math.inf, "a number above 0 (freeze_... keeps weights)")


def check_at_least_one(**numbers: int) -> None:
    """Require counts of 1 or more."""
    for name, value in numbers.items():
        check(name, value, value >= 1, "at least 1")


def check_smoothing(**shares: float) -> None:
    """Require label smoothing, or a share of steps before a late start, in [0, 1)."""
    for name, value in shares.items():
        check(name, value, 0 <= value < 1, "0 or more, below 1")


def check_temperature(temperature: float) -> None:
    """Require an initial temperature in the range that training keeps."""
    allowed = LEAST_TEMPERATURE <= temperature <= GREATEST_TEMPERATURE
    right = f"{LEAST_TEMPERATURE:g} to {GREATEST_TEMPERATURE:g}"
    check("temperature", temperature, allowed, right)


def check_transport(blur: float, scaling: float, reach: float | None) -> None:
    """Check the options of :class:`TokenTransport`."""
    check("blur", blur, 0 < blur < DIAMETER, f"more than 0, below {DIAMETER:g}")
    check("scaling", scaling, 0 < scaling < 1, "more than 0, below 1")
    check("reach", reach, reach is None or 0 < reach < math.inf, "more than 0, or null")


def check(name: str, value: float | None, allowed: bool, right: str) -> None:
    """Raise a UserError unless the value is allowed."""
    if not allowed:
        raise UserError(f"model.init_args.{name} is {value}: give {right}.")
