"""docs/architecture.md and docs/reliability.md name existing files."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
LIBRARY = ROOT / "src" / "amif_lightning"


def walk(title: str) -> list[str]:
    (block,) = re.findall(rf"^## {title}\n+```\n(.*?)```", TEXT, flags=re.MULTILINE | re.DOTALL)
    return [line.split()[0] for line in block.splitlines()]


def is_there(name: str) -> bool:
    return any((root / name).exists() for root in (ROOT, LIBRARY))


@pytest.mark.parametrize(
    "title", ["One question, from file to record", "One report, from files to page"]
)
def test_a_walk_visits_no_folder_twice(title: str) -> None:
    stops = walk(title)
    assert len(stops) >= 5
    assert [stop for stop in stops if not is_there(stop)] == []
    folders = [str(Path(stop).parent) for stop in stops]
    assert len(set(folders)) == len(folders)


def test_every_folder_of_the_table_exists() -> None:
    (table,) = re.findall(r"^## Where code belongs\n(.*?)^## ", TEXT, re.MULTILINE | re.DOTALL)
    named = [name for name in re.findall(r"`([\w/<>.]+)`", table) if "/" in name or ".py" in name]
    assert len(named) > 20
    known = {path.name for path in LIBRARY.rglob("*.py")}
    lost = [name for name in named if "<" not in name and not is_there(name) and name not in known]
    assert lost == []


def test_the_layers_are_those_that_are_checked() -> None:
    """The drawing names every layer of the contracts."""
    contracts = (
        (ROOT / "pyproject.toml").read_text(encoding="utf-8").split("[tool.importlinter]")[1]
    )
    (layers,) = re.findall(r"^## Layers\n.*?```\n(.*?)```", TEXT, re.MULTILINE | re.DOTALL)
    for layer in re.findall(r'^    "([\w.| :]+)",$', contracts, flags=re.MULTILINE):
        for module in re.split(r"[|:]", layer):
            assert re.search(rf"\b{module.strip().rpartition('.')[2]}\b", layers), module


def test_promises_of_reliability_name_their_tests() -> None:
    text = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    (table,) = re.findall(r"^## Promises\n(.*?)^## ", text, re.MULTILINE | re.DOTALL)
    rows = table.splitlines()[2:-1]
    named = [re.findall(r"`(tests/[\w/]+\.py)`", row) for row in rows]
    assert len(rows) > 8
    assert all(named)
    assert [name for names in named for name in names if not (ROOT / name).is_file()] == []
