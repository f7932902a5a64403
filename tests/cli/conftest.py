"""The command line on toy classes, in a folder of its own."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from amif_lightning.cli import main
from tests.cli import toys

Main = Callable[..., int]


@pytest.fixture
def toy_main(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Main:
    """``main`` with the toys of :mod:`tests.cli.toys`, run below ``tmp_path``."""
    from amif_lightning.cli import app
    from amif_lightning.cli.commands import audit

    monkeypatch.setattr(app, "load_suite", toys.toy_suite)
    monkeypatch.setattr(audit, "_data_base", lambda: toys.ToyData)
    monkeypatch.setattr(sys, "argv", ["amif-lightning"])  # Lightning warns where both are given
    monkeypatch.chdir(tmp_path)
    return lambda *words: main(words)


QUICK = (
    "--model=Classifier",
    "--data=Toys",
    "--trainer.max_epochs=2",
    "--trainer.log_every_n_steps=1",
    "--trainer.accelerator=cpu",
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
)


@pytest.fixture
def fit(toy_main: Main) -> Main:
    """``fit`` of the toys with further options."""
    return lambda *words: toy_main("fit", *QUICK, *words)


@pytest.fixture
def test(toy_main: Main) -> Main:
    """``test`` of the toys with further options."""
    return lambda *words: toy_main("test", *QUICK, *words)
