"""Configurations and checkpoints with old module and option names still work."""

from __future__ import annotations

import json
import lzma
from pathlib import Path

import pytest

from amif_lightning.cli import main
from amif_lightning.renamed_options import RENAMED
from amif_lightning.tasks import AMiFVQA

SAVED = Path(__file__).parent / "saved"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "old.ckpt"
    path.write_bytes(lzma.decompress((SAVED / "answering.ckpt.xz").read_bytes()))
    return path


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder for generated data."""
    return tmp_path_factory.mktemp("saved")


def test_an_old_checkpoint_gives_the_same_answers(
    checkpoint: Path, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        f"--config={SAVED / 'answering.yaml'}",
        f"--data.init_args.root={root / 'answering'}",
        f"--runs={tmp_path / 'runs'}",
        f"--ckpt_path={checkpoint}",
    ]
    with pytest.warns(UserWarning, match="contains old option names"):
        assert main(["test", *words]) == 0
    assert capsys.readouterr().err.count("`pictures` is now `answer_images`") == 1
    lines = (tmp_path / "runs/before/clean/seed0/predictions-test.jsonl").read_text("utf-8")
    rows = [json.loads(line) for line in lines.splitlines()]
    expected = json.loads((SAVED / "answers.json").read_text("utf-8"))
    assert [[row["question_id"], row["prediction"]] for row in rows] == [e[:2] for e in expected]
    assert [row["log_likelihood"] for row in rows] == pytest.approx(
        [e[2] for e in expected], abs=1e-4
    )


def test_an_old_checkpoint_loads_in_python(checkpoint: Path) -> None:
    with pytest.warns(UserWarning, match="contains old option names"):
        task = AMiFVQA.load_from_checkpoint(checkpoint)
    assert task.min_lr == 1e-6
    assert "least_lr" not in task.hparams


@pytest.mark.parametrize("stage", ["answering", "pretrain"])
def test_a_run_of_an_old_configuration(
    stage: str, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        f"--config={SAVED / f'{stage}.yaml'}",
        f"--data.init_args.root={root / stage}",
        f"--runs={tmp_path / 'runs'}",
        "--trainer.max_steps=1",
        "--trainer.val_check_interval=1",
    ]
    assert main(["fit", *words]) == 0
    warned = [line for line in capsys.readouterr().err.splitlines() if "warning: " in line]
    (line,) = [line for line in warned if ".yaml" in line]
    assert line == (
        f"warning: {SAVED / f'{stage}.yaml'}: `least_lr` is now `min_lr`, `pictures.entries` was "
        "removed and is left out, `pictures` is now `answer_images`, "
        "`alignment_pictures` is now `alignment_images`."
    )
    (written,) = (tmp_path / "runs").rglob("config.yaml")
    assert "least_lr" not in written.read_text("utf-8")


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        ("--model.init_args.least_lr=1", "give `--model.init_args.min_lr`"),
        ("--model.least_lr 1", "give `--model.min_lr`"),
        ("--pictures.samples=1", "give `--answer_images.samples`"),
        ("--pictures.entries 1", "was removed: leave it out"),
        ("--data.init_args.missing_pictures=1", "give `--data.init_args.missing_images`"),
    ],
)
def test_an_old_name_on_the_command_line_is_an_error(
    option: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = option.split()
    assert main(["fit", "--config", "experiments/vqa/phantom.yaml", *words]) == 2
    assert sentence in capsys.readouterr().err


def test_audit_reads_an_old_configuration_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = tmp_path / "old.yaml"
    old.write_text(
        "data:\n  class_path: data_modules.ImageText\n  init_args:\n"
        f"    root: {tmp_path}\n    missing_pictures: guess\n"
    )
    assert main(["audit", "--config", str(old)]) == 2
    printed = capsys.readouterr().err
    assert f"warning: {old}: `missing_pictures` is now `missing_images`." in printed
    assert "missing_images does not take 'guess': " in printed


def test_no_new_name_was_renamed_again() -> None:
    assert not {new for new in RENAMED.values() if new} & set(RENAMED)
