"""Documents, docstrings, comments and messages avoid phrases that read as translated or private."""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BANNED = {
    "but for": "except for",
    "stands?": "is",
    "carv(e|es|ed|ing)": "hold out",
    "mend(s|ed|ing)?": "fix",
    "lets? in": "admit, or the gate's value",
    "has to go": "is removed",
    "spelling|spelt": "format, variant",
    "told": "reported",
    "said": "reported",
    "says so": "states this",
    "pictures?": "image or figure",
    "likenesses": "similarities",
    "alike": "similar",
    "beside it": "next to it",
    "takes no look": "ignores",
    "goes on from": "continues from",
    "less every": "without",
}
PATTERN = re.compile(rf"\b({'|'.join(BANNED)})\b", flags=re.IGNORECASE)
DOCUMENTS = [
    *(
        ROOT / name
        for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "Makefile")
    ),
    *(ROOT / "docs").glob("*.md"),
    *(ROOT / "experiments").rglob("*.yaml"),
]
SOURCES = [
    path
    for folder in ("src", "data_modules", "benchmarks")
    for path in (ROOT / folder).rglob("*.py")
]


def prose(source: str) -> Iterator[tuple[int, str]]:
    """Yield comments and strings of several words, with the line where each begins."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT or len(token.string.split()) > 2:
            yield token.start[0], token.string


def found(path: Path) -> list[str]:
    """The banned phrases of a file, each with its line."""
    text = path.read_text(encoding="utf-8")
    parts = prose(text) if path.suffix == ".py" else enumerate(text.splitlines(), 1)
    # Names in backticks are code.
    return [
        f"{path.relative_to(ROOT)}:{first + part.count(chr(10), 0, hit.start())}: {hit[0]!r}"
        for first, part in parts
        for hit in PATTERN.finditer(re.sub(r"`[^`\n]*`", lambda name: " " * len(name[0]), part))
    ]


@pytest.mark.parametrize("paths", [DOCUMENTS, SOURCES], ids=["documents", "sources"])
def test_banned_phrases_are_absent(paths: list[Path]) -> None:
    assert len(paths) > 20
    assert [line for path in paths for line in found(path)] == []


def test_a_banned_phrase_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    (tmp_path / "a.py").write_text(
        '"""Good.\n\nThe rest was\nsaid.\n"""\nsaid = 1  # `told`, told\n'
    )
    assert found(tmp_path / "a.py") == ["a.py:4: 'said'", "a.py:6: 'told'"]
