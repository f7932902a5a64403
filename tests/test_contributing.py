"""Checklists name existing files, and links lead to existing headings."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
# Where the rules of the tree begin to count: `cli/entry.py` is short for the package's.
FOLDERS = (ROOT, ROOT / "src" / "amif_lightning")
SUFFIXES = (".py", ".yaml", ".md", ".toml", ".cfg")
TAGS = ("train/", "val/")  # of TensorBoard


def paths(text: str) -> set[str]:
    """Paths of the tree in backticks."""
    quoted = re.findall(r"`([^`\s]+)`", text)
    return {
        name
        for name in quoted
        if ("/" in name or name.endswith(SUFFIXES) or name == "Makefile")
        and not name.startswith(TAGS)
    }


def is_there(name: str) -> bool:
    """Whether a path exists; one with a `<placeholder>` needs an example in the tree."""
    pattern = re.sub(r"<\w+>", "*", name).rstrip("/")
    return any(any(folder.glob(pattern)) for folder in FOLDERS)


def checklist(title: str) -> str:
    """A section of CONTRIBUTING.md that has boxes to tick."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (found,) = re.findall(rf"^## {title}\n(.*?)(?=^## |\Z)", text, flags=re.MULTILINE | re.DOTALL)
    assert found.count("- [ ] ") >= 8
    return found


@pytest.mark.parametrize("title", ["Add a data set", "Add a loss"])
def test_every_path_of_a_checklist_exists(title: str) -> None:
    named = paths(checklist(title))
    assert len(named) >= 8
    assert sorted(name for name in named if not is_there(name)) == []


def test_a_path_that_is_not_there_is_found() -> None:
    named = paths(
        "`losses/none.py`, `tests/<name>/test_none.py`, `train/x_loss`, `fit`, `Makefile`"
    )
    assert named == {"losses/none.py", "tests/<name>/test_none.py", "Makefile"}
    assert {name for name in named if is_there(name)} == {"Makefile"}


def test_every_rule_of_the_tree_names_what_is_there() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert sorted(name for name in paths(text) if not is_there(name)) == []


def anchors(path: Path) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_to_headings(path: Path) -> None:
    links = re.findall(r"\]\(([^)\s:]*)#([^)\s]+)\)", path.read_text(encoding="utf-8"))
    lost = [
        f"{target}#{anchor}"
        for target, anchor in links
        if anchor not in anchors((path.parent / target) if target else path)
    ]
    assert lost == []


def test_the_readme_leads_to_the_checklists() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for anchor in ("add-a-data-set", "add-a-loss"):
        assert f"CONTRIBUTING.md#{anchor}" in text
