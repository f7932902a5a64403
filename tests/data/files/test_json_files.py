"""Released JSON files: lists of objects with their keys, or one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from amif_lightning.data.files.tables import load_questions, read_json
from amif_lightning.errors import UserError


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000])
def test_no_json_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(UserError, match=r"Set: .*a\.json is not valid JSON .* from https://set"):
        read_json("Set", tmp_path / "a.json", "https://set")
    with pytest.raises(UserError, match="cannot be read"):
        read_json("Set", tmp_path / "absent", "https://set")


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("{}", "it is not a list of questions"),
        ("[]", "it is not a list of questions"),
        ("[1]", "it is not a list of questions"),
        ('[{"a": 1, "b": 2}, {"b": 1}]', "question 1 has no a"),
        *(
            (f'[{{"a": 1}}, {{"a": {"[" * depth}{"]" * depth}}}]', "question 1 is nested more than")
            for depth in (21, 900)
        ),
    ],
)
def test_another_form_is_named(tmp_path: Path, content: str, what: str) -> None:
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(UserError, match=f"not the expected release because {what}"):
        load_questions("Set", tmp_path / "a.json", {"a"}, "https://set")


def test_a_byte_order_mark_is_no_content(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b'\xef\xbb\xbf[{"a": 1}]')
    assert load_questions("Set", tmp_path / "a.json", {"a"}, "https://set") == [{"a": 1}]
