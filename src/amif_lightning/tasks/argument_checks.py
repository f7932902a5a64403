"""Ranges of the options that both stages' alignment losses take."""

from __future__ import annotations

import math

from amif_lightning.errors import UserError
from amif_lightning.losses.alignment import GREATEST_TEMPERATURE, LEAST_TEMPERATURE
from amif_lightning.losses.transport import DIAMETER


def check_weights(**weights: float) -> None:
    """Weights of losses are finite and not negative.

    Raises:
        UserError: If one is not; it is named.
    """
    for name, value in weights.items():
        _check(name, value, 0 <= value < math.inf, "0 or more")


def check_at_least_one(**numbers: int) -> None:
    """Counts of layers, beams and the like are 1 or more.

    Raises:
        UserError: If one is not; it is named.
    """
    for name, value in numbers.items():
        _check(name, value, value >= 1, "at least 1")


def check_smoothing(**shares: float) -> None:
    """Smoothing leaves some of the label.

    Raises:
        UserError: If a share is not in [0, 1); it is named.
    """
    for name, value in shares.items():
        _check(name, value, 0 <= value < 1, "0 or more, below 1")


def check_temperature(temperature: float) -> None:
    """The temperature at the start lies in the range that it is kept in.

    Raises:
        UserError: If it does not.
    """
    allowed = LEAST_TEMPERATURE <= temperature <= GREATEST_TEMPERATURE
    right = f"{LEAST_TEMPERATURE:g} to {GREATEST_TEMPERATURE:g}"
    _check("temperature", temperature, allowed, right)


def check_transport(blur: float, scaling: float, reach: float | None) -> None:
    """Options of :class:`TokenTransport`.

    Raises:
        UserError: If one is out of range; it is named.
    """
    _check("blur", blur, 0 < blur < DIAMETER, f"more than 0, below {DIAMETER:g}")
    _check("scaling", scaling, 0 < scaling < 1, "more than 0, below 1")
    _check("reach", reach, reach is None or 0 < reach < math.inf, "more than 0, or null")


def check_contrast(temperature: float, start: float) -> None:
    """Options of the contrastive transport.

    Raises:
        UserError: If one is out of range; it is named.
    """
    allowed = 0 < temperature < math.inf
    _check("transport_temperature", temperature, allowed, "a finite number above 0")
    _check("transport_start", start, 0 <= start < 1, "0 or more, below 1")


def check_mining(random_share: float, max_likeness: float) -> None:
    """Options of the draw of negatives.

    Raises:
        UserError: If one is out of range; it is named.
    """
    _check("random_share", random_share, 0 <= random_share <= 1, "0 to 1")
    _check("max_likeness", max_likeness, 0 < max_likeness <= 1, "more than 0, at most 1")


def _check(name: str, value: float | None, allowed: bool, right: str) -> None:
    if not allowed:
        raise UserError(f"model.init_args.{name} is {value}: give {right}.")
