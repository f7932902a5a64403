"""Record files as strict pydantic models; an invalid file gives an error of one sentence."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Annotated, ClassVar, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from amif_lightning.data.files.atomic import read_text, write_atomically
from amif_lightning.errors import UserError

_ROUNDING = 1e-9  # what rounding may add to a share or a cosine
Share = Annotated[float, Field(ge=-_ROUNDING, le=1 + _ROUNDING)]
Cosine = Annotated[float, Field(ge=-1 - _ROUNDING, le=1 + _ROUNDING)]
Name = Annotated[str, Field(min_length=1)]
# The limits, far beyond real values, keep sums finite and cells short.
Number = Annotated[int, Field(ge=0, lt=1e15)]
Positive = Annotated[int, Field(ge=1, lt=1e15)]
Real = Annotated[float, Field(gt=-1e15, lt=1e15)]
NotNegative = Annotated[float, Field(ge=0, lt=1e15)]


class Model(BaseModel):
    """Strict and frozen; unknown fields, NaN and infinities are errors."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


M = TypeVar("M", bound=Model)


class FieldError(ValueError):
    """A broken rule between fields: the dotted name of a field, and the reason."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"field '{field}' {reason}")
        self.field, self.reason = field, reason


def broken(where: object, reason: object) -> UserError:
    """Return the error for a file (and line) whose content breaks a rule."""
    return UserError(
        f"{where}: {reason}; test the checkpoint again to rewrite the file, or move it out of the "
        "folder."
    )


def parse(model: type[M], text: str, where: object) -> M:
    """Parse one JSON object; a UserError starts with ``where`` and names the first wrong field."""
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        raise broken(where, _reason(error)) from error


def _reason(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    places = [str(part) for part in first["loc"] if part != "[key]"]
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, FieldError):
        return f"field '{'.'.join([*places, cause.field])}' {cause.reason}"
    if first["type"] == "json_invalid":
        return f"the content is not valid JSON ({cause})"
    field = f"field '{'.'.join(places)}'" if places else "the content"
    if first["type"] == "missing":
        return f"{field} is missing"
    if first["type"] == "extra_forbidden":
        return f"{field} is not part of this schema version"
    message = re.sub(r"^\w+ should", "must", first["msg"].removeprefix("Value error, "))
    found = repr(first["input"])
    return f"{field}: {message}, found {found if len(found) <= 40 else found[:37] + '...'}"


class Line(Model):
    """The result of one question or study: a line of the file next to the record."""

    ID: ClassVar[str]  # name of the field that is unique in the file
    # Name of the field that the bootstrap resamples: lines of one image or of one patient are not
    # independent.
    CLUSTER: ClassVar[str]
    # Names of the fields that are null on all lines of a file or on none.
    TOGETHER: ClassVar[tuple[str, ...]]

    @property
    def id(self) -> str:
        """The line's unique id."""
        return str(getattr(self, self.ID))

    @property
    def cluster(self) -> str:
        """The line's image or patient."""
        return str(getattr(self, self.CLUSTER))

    @property
    def subsets(self) -> tuple[str, ...]:
        """Names of the subsets that count the line."""
        return ("overall",)

    @property
    def identity(self) -> tuple[object, ...]:
        """The scored question or study without its score: equal in runs on the same task."""
        return self.id, self.cluster

    @property
    def judged(self) -> object:
        """The further pairs that were scored; None without any."""
        return None

    def value(self, measure: str, count: int) -> float | None:
        """Return a score from 0 to 1 in a file of ``count`` lines; None if the line has none."""
        raise NotImplementedError

    @classmethod
    def rules(cls, lines: Sequence[Self]) -> Iterator[tuple[int, FieldError]]:
        """Yield the broken rules between the lines of a file, each with the line's position."""
        seen: set[str] = set()
        for place, line in enumerate(lines):
            if line.id in seen:
                yield place, FieldError(cls.ID, f"'{line.id}' occurs twice")
            seen.add(line.id)
            for field in cls.TOGETHER:
                if (getattr(line, field) is None) != (getattr(lines[0], field) is None):
                    yield place, FieldError(field, "is null on some lines only")


L = TypeVar("L", bound=Line)


def read_lines(path: str | PathLike[str], model: type[L]) -> tuple[L, ...]:
    """Read a file with one JSON object a line.

    Raises:
        UserError: If a field is missing, mistyped, repeated or impossible (with its line), or if
            the last line is incomplete.
    """
    path = Path(path)
    # Not splitlines(): it would also split at exotic line separators inside a text.
    texts = read_text(path).split("\n")
    if texts.pop():
        raise UserError(f"{path} ends in the middle of a line: test the checkpoint again.")
    lines = tuple(
        parse(model, text, f"{path}, line {number}") for number, text in enumerate(texts, start=1)
    )
    _check(path, lines)
    return lines


def write_lines(path: str | PathLike[str], lines: Sequence[Line]) -> None:
    """Check the rules of `read_lines`, then write all lines atomically in the given order.

    Raises:
        UserError: If the lines break a rule or the file cannot be written.
    """
    _check(Path(path), lines)
    rows = (json.dumps(line.model_dump(mode="json"), ensure_ascii=False) for line in lines)
    write_atomically(Path(path), "".join(row + "\n" for row in rows))


def _check(path: Path, lines: Sequence[Line]) -> None:
    if not lines:
        raise broken(path, "the file has no line")
    for place, error in type(lines[0]).rules(lines):
        raise broken(f"{path}, line {place + 1}", error)


def first_difference(one: object, other: object, name: str = "") -> str | None:
    """Return the dotted name of the first value in which two models or mappings differ, or None.

    Numbers are equal up to the rounding of a mean.
    """
    if isinstance(one, BaseModel) and isinstance(other, BaseModel):
        return first_difference(one.model_dump(), other.model_dump(), name)
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        inner = (
            first_difference(one.get(key), other.get(key), f"{name}.{key}".lstrip("."))
            for key in {**one, **other}
        )
        return next(filter(None, inner), None)
    if isinstance(one, int | float) and isinstance(other, int | float):
        return None if math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-9) else name
    return None if one == other else name
