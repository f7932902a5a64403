"""Typed access to one JSON object: every failure is one sentence naming the file and the field."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

from amif_lightning.errors import UserError


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def parse_json(text: str, where: str) -> object:
    """Parse strict JSON (``NaN`` and ``Infinity`` are refused).

    Args:
        text: The JSON text.
        where: File (and line) for the message.

    Raises:
        UserError: If the text is not JSON.
    """
    try:
        return json.loads(text, parse_constant=_no_constant)
    except ValueError as error:  # JSONDecodeError is one
        raise UserError(
            f"{where} is not valid JSON ({error}): test the checkpoint again to rewrite it."
        ) from error


class Fields:
    """One JSON object whose fields are taken one by one, each with its type.

    Every method raises UserError for a field that is missing or of the wrong type.
    """

    def __init__(self, data: object, where: str, prefix: str = "") -> None:
        """Open an object.

        Args:
            data: The parsed JSON value.
            where: File (and line) the object stands in.
            prefix: Path of the object inside the file, such as ``scores.overall.``.

        Raises:
            UserError: If ``data`` is not an object.
        """
        self.where = where
        self.prefix = prefix
        if not isinstance(data, dict):
            name = f"field '{prefix[:-1]}'" if prefix else "the content"
            self.fail(name, f"must be an object, found {_short(data)}")
        self._rest: dict[str, Any] = dict(data)

    def fail(self, name: str, reason: str) -> NoReturn:
        """Raise the one sentence for the part called ``name``."""
        raise UserError(
            f"{self.where}: {name} {reason}; test the checkpoint again to rewrite the file, "
            "or move it out of the folder."
        )

    def field_fails(self, name: str, reason: str) -> NoReturn:
        """Raise the one sentence for a field of this object."""
        self.fail(f"field '{self.prefix}{name}'", reason)

    def value(self, name: str) -> Any:
        """Take a field of any JSON type; it must be present."""
        if name not in self._rest:
            self.field_fails(name, "is missing")
        return self._rest.pop(name)

    def _typed(self, name: str, expected: str, good: Callable[[Any], bool]) -> Any:
        value = self.value(name)
        if not good(value):
            self.field_fails(name, f"must be {expected}, found {_short(value)}")
        return value

    def text(self, name: str) -> str:
        """A string."""
        return str(self._typed(name, "text", lambda v: isinstance(v, str)))

    def optional_text(self, name: str) -> str | None:
        """A string or null."""
        value = self._typed(name, "text or null", lambda v: v is None or isinstance(v, str))
        return None if value is None else str(value)

    def flag(self, name: str) -> bool:
        """A truth value."""
        return bool(self._typed(name, "true or false", lambda v: isinstance(v, bool)))

    def optional_flag(self, name: str) -> bool | None:
        """A truth value or null."""
        value = self._typed(name, "true, false or null", lambda v: v is None or isinstance(v, bool))
        return None if value is None else bool(value)

    def integer(self, name: str, minimum: int = 0) -> int:
        """A whole number of at least ``minimum``."""
        return int(
            self._typed(
                name, f"a whole number >= {minimum}", lambda v: _is_integer(v) and v >= minimum
            )
        )

    def optional_integer(self, name: str, minimum: int = 0) -> int | None:
        """A whole number of at least ``minimum``, or null."""
        value = self._typed(
            name,
            f"a whole number >= {minimum} or null",
            lambda v: v is None or (_is_integer(v) and v >= minimum),
        )
        return None if value is None else int(value)

    def optional_number(self, name: str) -> float | None:
        """A finite number or null."""
        value = self._typed(name, "a number or null", lambda v: v is None or _is_number(v))
        return None if value is None else float(value)

    def share(self, name: str) -> float:
        """A number from 0 to 1."""
        return float(
            self._typed(name, "a number from 0 to 1", lambda v: _is_number(v) and 0 <= v <= 1)
        )

    def choice(self, name: str, allowed: Sequence[str]) -> str:
        """One of the words in ``allowed``."""
        return str(
            self._typed(
                name, "one of " + ", ".join(allowed), lambda v: isinstance(v, str) and v in allowed
            )
        )

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of strings."""
        value = self._typed(
            name,
            "a list of texts",
            lambda v: isinstance(v, list) and all(isinstance(item, str) for item in v),
        )
        return tuple(value)

    def mapping(self, name: str) -> dict[str, Any]:
        """An object with whatever values."""
        return dict(self._typed(name, "an object", lambda v: isinstance(v, dict)))

    def inside(self, name: str) -> Fields:
        """The object in a field, as typed fields of its own."""
        return Fields(self.value(name), self.where, f"{self.prefix}{name}.")

    def remaining(self) -> list[str]:
        """Names of the fields not taken yet, in the file's order."""
        return list(self._rest)

    def finish(self) -> None:
        """Raise if a field was never taken: a misspelt or unknown name."""
        if self._rest:
            self.field_fails(min(self._rest), "is not part of this schema version")


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return _is_integer(value) or (isinstance(value, float) and math.isfinite(value))


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."


def json_lines(text: str, path: object) -> Iterator[Fields]:
    """The objects of a file with one JSON object a line, each to be taken before the next.

    Args:
        text: The whole content.
        path: The file, for the messages.

    Raises:
        UserError: If the last line has no end, or a line is not a JSON object.
    """
    # Not splitlines(): a text may hold one of the exotic line separators it also splits at.
    lines = text.split("\n")
    if lines.pop():
        raise UserError(f"{path} ends in the middle of a line: test the checkpoint again.")
    for number, line in enumerate(lines, start=1):
        where = f"{path}, line {number}"
        yield Fields(parse_json(line, where), where)
