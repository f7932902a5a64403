"""Record files as strict pydantic models; what is wrong with a file is one sentence."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Annotated, ClassVar, Self, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from amif_lightning.data.files.atomic import read_text, write_atomically
from amif_lightning.errors import UserError

# What rounding may add to a share or a cosine.
_ROUNDING = 1e-9


def _share(value: float) -> float:
    if not -_ROUNDING <= value <= 1 + _ROUNDING:
        raise ValueError("must be a number from 0 to 1")
    return value


def _cosine(value: float) -> float:
    if not abs(value) <= 1 + _ROUNDING:
        raise ValueError("must be a number from -1 to 1")
    return value


def _name(value: str) -> str:
    if not value.strip():
        raise ValueError("must not be empty")
    return value


Share = Annotated[float, AfterValidator(_share)]
Cosine = Annotated[float, AfterValidator(_cosine)]
Name = Annotated[str, AfterValidator(_name)]
Number = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
NotNegative = Annotated[float, Field(ge=0)]


class Model(BaseModel):
    """Strict and frozen; unknown fields, NaN and infinities are refused."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


M = TypeVar("M", bound=Model)


class FieldError(ValueError):
    """A rule between fields that is broken.

    Args:
        field: The field's dotted name, inside the model that checks the rule.
        reason: What is wrong with it: ``must be ...``.
    """

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"field '{field}' {reason}")
        self.field, self.reason = field, reason


def broken(where: object, reason: object) -> UserError:
    """The one sentence on a file (and line) whose content breaks a rule."""
    return UserError(
        f"{where}: {reason}; test the checkpoint again to rewrite the file, or move it out of the "
        "folder."
    )


def parse(model: type[M], text: str, where: object) -> M:
    """Read one JSON object.

    Args:
        model: What it must be.
        text: The JSON text.
        where: File (and line) for the message.

    Raises:
        UserError: Naming the first field that is missing, unknown, mistyped or inconsistent.
    """
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
    message = first["msg"].removeprefix("Value error, ").replace("Input should", "must")
    found = repr(first["input"])
    return f"{field}: {message}, found {found if len(found) <= 40 else found[:37] + '...'}"


class Line(Model):
    """What one question or study reached: a line of the file beside the record.

    Attributes:
        ID: Name of the field that is unique in the file.
        CLUSTER: Name of the field that intervals draw: lines of one image, or of one patient, are
            not independent.
        ALIKE: Names of the fields that are null on all lines of a file or on none.
    """

    ID: ClassVar[str]
    CLUSTER: ClassVar[str]
    ALIKE: ClassVar[tuple[str, ...]]

    @property
    def id(self) -> str:
        """What tells the line from the others of its file."""
        return str(getattr(self, self.ID))

    @property
    def cluster(self) -> str:
        """The cluster that the line belongs to."""
        return str(getattr(self, self.CLUSTER))

    @property
    def subsets(self) -> tuple[str, ...]:
        """Names of the subsets that the line is counted in."""
        return ("overall",)

    @property
    def identity(self) -> tuple[object, ...]:
        """What is scored, whatever the score: equal in runs on the same task."""
        return self.id, self.cluster

    @property
    def judged(self) -> object:
        """Which further pairs were scored; None where there are none."""
        return None

    def value(self, measure: str, count: int) -> float | None:
        """A score from 0 to 1; None where the line has none.

        Args:
            measure: Its name.
            count: Number of lines in the file.
        """
        raise NotImplementedError

    @classmethod
    def rules(cls, lines: Sequence[Self]) -> Iterator[tuple[int, FieldError]]:
        """Broken rules between the lines of a file: the place of the line, and what is wrong."""
        seen: set[str] = set()
        for place, line in enumerate(lines):
            if line.id in seen:
                yield place, FieldError(cls.ID, f"'{line.id}' occurs twice")
            seen.add(line.id)
            for field in cls.ALIKE:
                if (getattr(line, field) is None) != (getattr(lines[0], field) is None):
                    yield place, FieldError(field, "is null on some lines only")


L = TypeVar("L", bound=Line)


def read_lines(path: str | PathLike[str], model: type[L]) -> tuple[L, ...]:
    """Read a file with one JSON object a line.

    Args:
        path: The file.
        model: What every line must be.

    Raises:
        UserError: Naming the line and the field that is missing, mistyped, repeated or impossible,
            or if the last line has no end.
    """
    path = Path(path)
    # Not splitlines(): a text may hold one of the exotic line separators it also splits at.
    texts = read_text(path).split("\n")
    if texts.pop():
        raise UserError(f"{path} ends in the middle of a line: test the checkpoint again.")
    lines = tuple(
        parse(model, text, f"{path}, line {number}") for number, text in enumerate(texts, start=1)
    )
    return _checked(path, lines, model)


def write_lines(path: str | PathLike[str], lines: Sequence[Line]) -> None:
    """Check the rules of `read_lines`, then write all lines atomically in the order given.

    Raises:
        UserError: If the lines break a rule or the file cannot be written.
    """
    _checked(Path(path), lines, type(lines[0]) if lines else Line)
    rows = (json.dumps(line.model_dump(mode="json"), ensure_ascii=False) for line in lines)
    write_atomically(Path(path), "".join(row + "\n" for row in rows))


def _checked(path: Path, lines: Sequence[L], model: type[L]) -> tuple[L, ...]:
    if not lines:
        raise broken(path, "it holds no line")
    for place, error in model.rules(lines):
        raise broken(f"{path}, line {place + 1}", error)
    return tuple(lines)


def first_difference(one: object, other: object, name: str = "") -> str | None:
    """The dotted name of the first number in which two models or mappings differ; None without.

    Numbers are equal up to the rounding of a mean.
    """
    if isinstance(one, BaseModel) and isinstance(other, BaseModel):
        return first_difference(one.model_dump(), other.model_dump(), name)
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for key in {**one, **other}:
            inner = f"{name}.{key}".lstrip(".")
            found = first_difference(one.get(key), other.get(key), inner)
            if found:
                return found
        return None
    if isinstance(one, int | float) and isinstance(other, int | float):
        return None if math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-9) else name
    return None if one == other else name
