"""The measurement of runs on validation questions: its table, and a whole run on a mixture."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from amif_lightning.errors import UserError
from amif_lightning.tasks import AMiFVQA
from benchmarks.measures import validation
from benchmarks.measures.validation import Run, checkpoints, main, table
from tests.small import SIZES, SMALL, phantom, trainer

IMAGES = {f"Set/validation/{n}": f"image{n // 2}" for n in range(40)}


def answered(right: int) -> dict[str, bool]:
    return {question: n < right for n, question in enumerate(sorted(IMAGES))}


def test_the_table_counts_and_compares_with_the_first_run() -> None:
    runs = [Run("a", (answered(10), answered(20)), (298.6, None)), Run("b", (answered(25),))]
    text = table(runs, IMAGES)
    _, _, first, second = text.splitlines()
    cells = [cell.strip() for cell in first.strip("|").split("|")]
    assert cells[:3] == ["a", "2", "37.5"]
    assert cells[4:] == ["10, 20 of 40", "-", "-", "299 s, -"]
    cells = [cell.strip() for cell in second.strip("|").split("|")]
    assert cells[:3] == ["b", "1", "62.5"]
    assert cells[5] == "+25.0"
    low, high = (float(part) for part in cells[6].split(" to "))
    assert 0 < low < 25 < high


def test_seeds_are_taken_in_their_order(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"contains no seed<k>/last\.ckpt"):
        checkpoints(tmp_path)
    for seed in (10, 2):
        (tmp_path / f"seed{seed}").mkdir()
        (tmp_path / f"seed{seed}" / "last.ckpt").touch()
    assert [path.parent.name for path in checkpoints(tmp_path)] == ["seed2", "seed10"]


def test_a_run_answers_every_validation_question(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    task, data = AMiFVQA(**SMALL), phantom(tmp_path / "phantom", validation_questions=5)
    running = trainer(tmp_path, max_steps=1, limit_val_batches=0)
    running.fit(task, datamodule=data)
    run = tmp_path / "runs" / "phantom" / "clean"
    running.save_checkpoint(run / "seed0" / "last.ckpt")
    options = [f"--data.{name}={value}" for name, value in SIZES.items()]
    options += ["--data.image_size=32", "--data.tokenizer=words", "--data.num_workers=0"]
    main([str(run), "--data=Phantom", f"--data.root={tmp_path / 'phantom'}", *options])
    printed = capsys.readouterr().out
    count = len(data.splits.validation)
    assert count > 5  # all of them, not the sample of training
    assert f"validation (released), {count} questions on" in printed
    assert f" of {count} " in printed
    assert "phantom/clean" in printed
    # Twice the same, and what the task itself counts.
    given = validation.answer(run / "seed0" / "last.ckpt", data)
    scores = trainer(tmp_path).validate(task, datamodule=data, verbose=False)[0]
    assert sum(given.values()) / count == pytest.approx(scores["val/overall"])
