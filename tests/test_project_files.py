"""Workflow, hooks, documents and version fit the tree."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

import amif_lightning

ROOT = Path(__file__).parents[1]
WORKFLOW = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text("utf-8"))
TARGETS = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text("utf-8"), re.M))
STEPS = [(name, step) for name, job in WORKFLOW["jobs"].items() for step in job["steps"]]


@pytest.mark.parametrize("command", [step["run"] for _, step in STEPS if "run" in step])
def test_each_step_of_the_workflow_is_a_target(command: str) -> None:
    make, *targets = command.split()
    assert make == "make"
    assert targets
    assert set(targets) <= TARGETS


def test_the_workflow_runs_what_has_to_pass() -> None:
    local = re.findall(r"^make ([a-z-]+)$", (ROOT / ".ci" / "run").read_text("utf-8"), re.M)
    assert local
    checked = [step["run"].split()[1] for name, step in STEPS if "run" in step and name == "check"]
    assert local == checked
    pythons: list[str] = WORKFLOW["jobs"]["check"]["strategy"]["matrix"]["python"]
    assert pythons[0] in (ROOT / "setup.cfg").read_text("utf-8").split("python_requires = >=")[1]


def test_hooks_are_targets() -> None:
    hooks: Any = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))
    entries = [hook["entry"].split() for repo in hooks["repos"] for hook in repo["hooks"]]
    assert {make for make, _ in entries} == {"make"}
    assert {target for _, target in entries} <= TARGETS


def test_the_changelog_dates_the_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert re.search(
        rf"^## \[{re.escape(amif_lightning.__version__)}\] - \d{{4}}-\d\d-\d\d$", text, re.M
    )


def test_the_site_leads_to_every_document() -> None:
    docs = ROOT / "docs"
    listed = re.findall(r"^(?:.* <)?([\w/]+)>?$", (docs / "index.md").read_text("utf-8"), re.M)
    pages = {
        str(path.relative_to(docs).with_suffix(""))
        for path in [*docs.glob("*.md"), *docs.glob("*.ipynb"), *docs.glob("results/*.md")]
    }
    assert pages - {"index"} == {page for page in listed if not page.startswith("api/")}
