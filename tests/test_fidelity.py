"""docs/fidelity.md names existing tests, files and options."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from amif_lightning.tasks import AMiFPretrain, AMiFVQA
from data_modules import Mixture, Phantom, PhantomStudies

PROJECT = Path(__file__).parents[1]
PAGE = (PROJECT / "docs" / "fidelity.md").read_text(encoding="utf-8")


def test_every_test_named_exists() -> None:
    named = re.findall(r"`(tests/[\w/.]+)::(\w+)`", PAGE)
    assert len(named) > 15
    for path, name in named:
        content = (PROJECT / path).read_text(encoding="utf-8")
        assert f"\ndef {name}(" in content, f"{path} has no {name}"


def test_every_file_named_exists() -> None:
    named = re.findall(r"`((?:experiments|benchmarks|docs)/[\w/.]+)`", PAGE)
    assert named
    assert [path for path in named if not (PROJECT / path).is_file()] == []


def test_every_option_named_is_one() -> None:
    known = {
        name
        for given in (AMiFPretrain, AMiFVQA, Mixture, Phantom, PhantomStudies)
        for cls in given.__mro__
        if "__init__" in vars(cls)
        for name in inspect.signature(vars(cls)["__init__"]).parameters
    }
    named = re.findall(r"`(\w+): [^`]+`", PAGE)
    assert len(named) > 10
    assert set(named) <= known
