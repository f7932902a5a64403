"""Rules of the tree: short files, small folders, exports that exist."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import amif_lightning
from amif_lightning.tasks import AMiFVQA

ROOT = Path(__file__).parents[1]
SOURCES = [ROOT / "src" / "amif_lightning", ROOT / "data_modules"]
PACKAGES = sorted(path.parent for root in SOURCES for path in root.rglob("__init__.py"))


def name_of(package: Path) -> str:
    root = ROOT / "src" if ROOT / "src" in package.parents else ROOT
    return ".".join(package.relative_to(root).parts)


@pytest.mark.parametrize("package", PACKAGES, ids=name_of)
def test_a_folder_has_twelve_modules_at_most(package: Path) -> None:
    modules = [path for path in package.glob("*.py") if path.name != "__init__.py"]
    assert len(modules) <= 12


def test_a_file_has_four_hundred_lines_at_most() -> None:
    files = [p for root in [*SOURCES, ROOT / "benchmarks"] for p in root.rglob("*.py")]
    long = {str(p.relative_to(ROOT)): n for p in files if (n := len(p.open().readlines())) > 400}
    assert long == {}


@pytest.mark.parametrize("package", PACKAGES, ids=name_of)
def test_a_package_has_all_names_that_it_exports(package: Path) -> None:
    module = importlib.import_module(name_of(package))
    exported = getattr(module, "__all__", [])
    assert sorted(exported) == sorted(set(exported))
    assert all(hasattr(module, name) for name in exported)


def test_the_package_imports_torch_on_first_use() -> None:
    program = (
        "import sys, amif_lightning\n"
        "assert amif_lightning.__version__ and not {'torch', 'matplotlib'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "AMiFVQA" in dir(amif_lightning)
    assert amif_lightning.AMiFVQA is AMiFVQA
    with pytest.raises(AttributeError):
        _ = amif_lightning.Nothing


def test_tests_repeat_the_tree() -> None:
    """Every folder of tests has a folder of sources of the same name."""
    folders = {
        path.parent.relative_to(ROOT / "tests") for path in (ROOT / "tests").rglob("test_*.py")
    }
    roots = [ROOT / "src" / "amif_lightning", ROOT]
    folders -= {Path("faults"), Path("fuzz")}  # of whole runs, and of all readers
    alone = [str(f) for f in folders if not any((root / f).is_dir() for root in roots)]
    assert alone == []
