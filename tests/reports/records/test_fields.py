from __future__ import annotations

from typing import Any

import pytest

from amif_lightning.errors import UserError
from amif_lightning.reports.records.fields import Fields, parse_json


@pytest.mark.parametrize(
    ("method", "value"),
    [
        ("text", 3),
        ("optional_text", 3),
        ("flag", 1),
        ("optional_flag", 0),
        ("integer", True),
        ("integer", 1.0),
        ("integer", -1),
        ("optional_integer", "1"),
        ("optional_number", True),
        ("optional_number", float("inf")),
        ("texts", ["a", 1]),
        ("texts", "ab"),
        ("mapping", []),
        ("inside", 1),
    ],
)
def test_wrong_types_name_file_and_field(method: str, value: Any) -> None:
    fields = Fields({"x": value}, "file.json", "outer.")
    with pytest.raises(UserError, match=r"^file\.json: field 'outer\.x' must be .*;"):
        getattr(fields, method)("x")


def test_missing_and_unknown_fields_are_named() -> None:
    with pytest.raises(UserError, match=r"file\.json: field 'y' is missing"):
        Fields({}, "file.json").text("y")
    with pytest.raises(UserError, match="field 'z' is not part of this schema version"):
        Fields({"z": 1}, "file.json").finish()


def test_optional_values_may_be_null_but_not_absent() -> None:
    fields = Fields({"a": None, "b": None, "c": None, "d": None}, "f")
    assert fields.optional_text("a") is None
    assert fields.optional_flag("b") is None
    assert fields.optional_integer("c") is None
    assert fields.optional_number("d") is None
    fields.finish()
    with pytest.raises(UserError, match="'a' is missing"):
        fields.optional_text("a")


@pytest.mark.parametrize("text", ["{", '{"a": NaN}', '{"a": -Infinity}'])
def test_only_strict_json_is_read(text: str) -> None:
    with pytest.raises(UserError, match=r"^file is not valid JSON"):
        parse_json(text, "file")
