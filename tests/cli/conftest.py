"""The command line on toy classes, below ``tmp_path``."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from amif_lightning.cli import app, main
from amif_lightning.cli.commands import audit, prepare
from tests.cli import toys

Main = Callable[..., int]

QUICK = (
    "--model=Classifier",
    "--data=Toys",
    "--trainer.max_epochs=2",
    "--trainer.log_every_n_steps=1",
    "--trainer.accelerator=cpu",
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
)
DRY = (*QUICK, "--trainer.fast_dev_run=1")


def use_toys(patch: pytest.MonkeyPatch, folder: Path) -> None:
    """Replace the project's classes by toys, and run below ``folder``."""
    patch.setattr(app, "load_suite", toys.toy_suite)
    patch.setattr(audit, "data_base", lambda: toys.ToyData)
    patch.setattr(prepare, "data_base", lambda: toys.ToyData)
    patch.setattr(sys, "argv", ["amif-lightning"])  # Lightning warns where both are given
    patch.chdir(folder)


@pytest.fixture
def toy_main(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Main:
    """``main`` with the toys of :mod:`tests.cli.toys`."""
    use_toys(monkeypatch, tmp_path)
    return lambda *words: main(words)


@pytest.fixture
def fit(toy_main: Main) -> Main:
    """``fit`` of the toys with further options."""
    return lambda *words: toy_main("fit", *QUICK, *words)


@pytest.fixture
def test(toy_main: Main) -> Main:
    """``test`` of the toys with further options."""
    return lambda *words: toy_main("test", *QUICK, *words)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder below which the toys were trained and tested."""
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        use_toys(patch, folder)
        words = (*QUICK, "--model.width=5", "--trainer.max_epochs=3")
        assert main(["fit", *words]) == 0
        assert main(["test", *words, "--ckpt_path=best", "--data.batch_size=2"]) == 0
    return folder


@pytest.fixture
def trained(toy_main: Main, finished: Path, tmp_path: Path) -> Path:
    """A copy of the run folder of :func:`finished`, relative to the current folder."""
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    return Path("runs/Toys-Classifier/clean/seed0")
