"""Text from files in terminals: control characters are visible and do nothing."""

from __future__ import annotations

import json

import pytest

from amif_lightning.errors import printable

#: Clears the screen, names the window, returns to the line's start, reverses the reading direction.
HOSTILE = "\x1b[2J \x1b]0;x\x07 \r \u202e \x9b31m \u2028 \x7f \ud800"


@pytest.mark.parametrize("text", ["plain", "µm ± 3 °C, é, 中文 \u00a0|<script>", ""])
def test_plain_text_is_kept(text: str) -> None:
    assert printable(text) == text


def test_control_characters_become_visible() -> None:
    escaped = printable(HOSTILE)
    assert escaped.isprintable()
    assert escaped.startswith("\\u001b[2J \\u001b]0;x\\u0007 \\r \\u202e ")
    assert printable("a\nb\x1b", keep="\n") == "a\nb\\u001b"
    assert printable("a\nb") == "a\\nb"


def test_json_keeps_its_meaning() -> None:
    fields = {HOSTILE: [HOSTILE, "\U000e0001"]}
    assert json.loads(printable(json.dumps(fields, ensure_ascii=False))) == fields
