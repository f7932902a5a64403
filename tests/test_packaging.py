"""The wheel is complete, and the tested versions meet the declared bounds."""

from __future__ import annotations

import configparser
import re
import subprocess
import sys
import zipfile
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import amif_lightning

ROOT = Path(__file__).parents[1]
SHIPPED = {".py", ".yaml", ".json", ".typed", ".css", ".jinja", ".png", ".sh"}
#: Roots of the sources, and their place in the wheel.
PLACES = {
    "src/amif_lightning": "amif_lightning",
    "data_modules": "data_modules",
    "experiments": "amif_lightning/experiments",
}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel, built without the network from a copy (a build writes into the tree)."""
    folder = tmp_path_factory.mktemp("wheel")
    files = ["setup.py", "setup.cfg", "pyproject.toml", "README.md", "LICENSE"]
    for path in [ROOT / name for name in files] + _sources():
        copy = folder / "tree" / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
    command += ["--no-index", "--wheel-dir", str(folder), str(folder / "tree")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return zipfile.ZipFile(next(folder.glob("*.whl")))


def _sources() -> list[Path]:
    return [
        path
        for root in PLACES
        for path in sorted((ROOT / root).rglob("*"))
        if path.suffix in SHIPPED
    ]


def test_the_wheel_holds_every_source_file(wheel: zipfile.ZipFile) -> None:
    """A `packages = find:` of setup.cfg would silently leave out all roots but one."""
    expected = {
        f"{place}/{path.relative_to(ROOT / root)}"
        for root, place in PLACES.items()
        for path in _sources()
        if path.is_relative_to(ROOT / root)
    }
    held = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert held == expected
    assert {"amif_lightning/cli/app.py", "amif_lightning/data/schema/questions.py"} <= held
    assert "amif_lightning/reports/render/published.yaml" in held
    assert "amif_lightning/reports/page/style.css" in held
    assert "amif_lightning/reports/page/templates/page.html.jinja" in held


def test_the_wheel_says_who_it_is(wheel: zipfile.ZipFile) -> None:
    info = {Path(name).name: name for name in wheel.namelist() if ".dist-info/" in name}
    metadata = wheel.read(info["METADATA"]).decode()
    assert f"Version: {amif_lightning.__version__}\n" in metadata
    assert "License-Expression: Apache-2.0\n" in metadata
    assert "Apache License" in wheel.read(info["LICENSE"]).decode()
    scripts = wheel.read(info["entry_points.txt"]).decode()
    assert "amif-lightning = amif_lightning.cli:main" in scripts


def test_texts_name_only_documents_that_are_here() -> None:
    texts = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
    texts += sorted((ROOT / "docs").glob("*.md"))
    linked = {
        path.parent / target.partition("#")[0]
        for path in texts
        for target in re.findall(r"\]\(([^)#:\s]+[^):\s]*)\)", path.read_text(encoding="utf-8"))
    }
    sources = [path for path in _sources() if path.suffix != ".png"]
    sources += [*sorted((ROOT / "experiments").rglob("*.yaml"))]
    named: set[Path] = set()
    for path in [*texts, *sources]:
        text = path.read_text(encoding="utf-8")
        named |= {ROOT / name for name in re.findall(r"docs/[\w/]+\.md", text)}
        assert not re.search(r"design section", text, flags=re.IGNORECASE), path
    assert len(linked) > 5
    assert len(named) >= 2
    assert sorted(path for path in linked | named if not path.exists()) == []


def test_the_commands_of_the_readme_work_right_after_make() -> None:
    """The environment that `make` made holds the suite; a plain `python` does not."""
    for name in ("README.md", "docs/cli.md"):
        text = (ROOT / name).read_text(encoding="utf-8")
        before, *_ = re.split(r"^python -m amif_lightning", text, maxsplit=1, flags=re.MULTILINE)
        assert ". .venv/bin/activate" in before, name
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert "VENV ?= .venv\n" in makefile


def test_no_module_lies_in_a_folder_that_is_no_package() -> None:
    """find_packages passes over a folder without __init__.py, and everything below it."""
    modules = [path for path in _sources() if path.suffix == ".py"]
    assert [path for path in modules if not (path.parent / "__init__.py").is_file()] == []


def _requirements() -> list[Requirement]:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    lines = config["options"]["install_requires"].split("\n")
    for name, extra in config["options.extras_require"].items():
        # `make docs` installs its packages when it is called.
        lines += extra.split("\n") if name != "docs" else []
    found = [Requirement(line) for line in lines if line.strip()]
    return [requirement for requirement in found if requirement.name != "amif-lightning"]


def test_the_tested_set_meets_the_declared_bounds() -> None:
    text = (ROOT / "requirements-tested.txt").read_text()
    pins = dict(re.findall(r"^(\S+)==(\S+) \\\n    --hash=sha256:", text, flags=re.MULTILINE))
    assert len(pins) == text.count("==")  # pip checks the files of all of them
    tested = {canonicalize_name(name): version for name, version in pins.items()}
    for requirement in _requirements():
        version = tested[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), requirement


def test_the_bound_of_tokenizers_is_one_that_transformers_accepts() -> None:
    asked = [Requirement(line) for line in requires("transformers") or []]
    (theirs,) = [r.specifier for r in asked if r.name == "tokenizers" and r.marker is None]
    (ours,) = [r.specifier for r in _requirements() if r.name == "tokenizers"]
    bounds = [bound.version for bound in ours if bound.operator == ">="]
    assert bounds
    assert all(theirs.contains(version) for version in bounds), theirs


def test_citation_and_package_name_one_version() -> None:
    assert f"version: {amif_lightning.__version__}\n" in (ROOT / "CITATION.cff").read_text()
