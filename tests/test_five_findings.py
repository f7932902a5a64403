"""The documented command scores a MIMIC-CXR run on CheXpert 5x200."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from amif_lightning.cli import main
from tests.fakes_corpora import write_chexpert, write_mimic_cxr

FOLDER = Path(__file__).parents[1] / "experiments"


def test_weights_of_one_corpus_are_scored_on_the_test_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["amif-lightning"])  # Lightning warns where both are given
    monkeypatch.chdir(tmp_path)
    write_mimic_cxr(tmp_path / "mimic")
    write_chexpert(tmp_path / "chexpert")
    config = [
        f"--config={FOLDER / 'pretrain' / 'mimic_cxr.yaml'}",
        f"--config={FOLDER / 'size' / 'tiny.yaml'}",
        "--model.init_args.labels=hard",
        "--trainer.accelerator=cpu",
        "--trainer.enable_progress_bar=false",
        "--trainer.enable_model_summary=false",
    ]
    small = [
        "--data.init_args.teacher=none",
        "--data.init_args.batch_size=2",
        "--data.init_args.num_workers=0",
    ]
    words = ["fit", *config, "--data.init_args.root=mimic", *small, "--trainer.max_epochs=1"]
    assert main([*words, "--runs=runs"]) == 0
    (checkpoint,) = Path("runs").rglob("best.ckpt")
    words = ["test", *config, "--data=CheXpert5x200", "--data.root=chexpert", *small]
    assert main([*words, f"--ckpt_path={checkpoint}", "--runs=scored"]) == 0
    found = list(Path().rglob("result-test.json"))
    assert found, sorted(str(path) for path in Path().rglob("*.json"))
    record = json.loads(found[0].read_text())
    assert record["dataset"] == "CheXpert5x200"
