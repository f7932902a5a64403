"""Misspelt keys, classes and values: one short sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from amif_lightning.cli.error_messages import state_mismatch
from tests.cli.conftest import Main

ON_THE_COMMAND_LINE = {
    "--trainer.max_epoch 3": "`--trainer.max_epoch`; did you mean `--trainer.max_epochs`?",
    "--modle.lr 1": "no option `--modle.lr`; did you mean `--model`?",
    "--ckpt_pth=x": "no option `--ckpt_pth`; did you mean `--ckpt_path`?",
    "--model.lrr 1": "model Classifier has no option `lrr`; did you mean `lr`?",
    "--data.bach_size 1": "data Toys has no option `bach_size`; did you mean `batch_size`?",
    "--model Clasifier": "no model class `Clasifier`; did you mean `Classifier`?",
    "--data Toyz": "no data class `Toyz`; did you mean `Toys`?",
    "--data tests.cli.toys.Classifier": "no data class `tests.cli.toys.Classifier`",
    "--model.lr abc": "model.init_args.lr does not take 'abc': ",
    "--trainer.max_epochs x": "trainer.max_epochs does not take 'x': ",
    "--data.protocol cleen": "data.init_args.protocol does not take 'cleen': ",
    "--seed_everything -1": "0 or a positive number",
    "--trainer.logger Tensorbord": "trainer.logger does not take 'Tensorbord': ",
    "stray": "`stray` belongs to no option",
}

IN_A_FILE = [
    (
        "trainer:\n  max_epoch: 3\n",
        "a.yaml, line 2: there is no option `trainer.max_epoch`; did you mean "
        "`trainer.max_epochs`?",
    ),
    (
        "model:\n  class_path: Classifier\n  init_args:\n    lrr: 1\n",
        "a.yaml, line 4: model Classifier has no option `lrr`; did you mean `lr`?",
    ),
    (
        "model:\n  class_path: Classifier\n  init_args:\n    lr: abc\n",
        "a.yaml, line 4: model.init_args.lr does not take 'abc': ",
    ),
    (
        "data:\n  class_path: Toys\n  init_arg:\n    studies: 3\n",
        "a.yaml, line 3: `data:` takes only",
    ),
    ("data:\n  class_path: Toys\n init_args:\n", "a.yaml, line 3, column 2: not valid YAML"),
    ("model:\n  init_args:\n    seed: 3\n", "model.init_args.seed follows --seed_everything"),
]


def assert_one_sentence(printed: str, sentence: str) -> None:
    assert sentence in printed
    assert printed.startswith("error: ")
    assert "usage:" not in printed
    assert "Traceback" not in printed
    assert len(printed.splitlines()) <= 2


@pytest.mark.parametrize("words", ON_THE_COMMAND_LINE)
def test_command_line(fit: Main, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert fit(*words.split()) == 2
    assert_one_sentence(capsys.readouterr().err, ON_THE_COMMAND_LINE[words])


@pytest.mark.parametrize(("text", "sentence"), IN_A_FILE, ids=range(len(IN_A_FILE)))
def test_config_file(
    fit: Main, tmp_path: Path, text: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.yaml").write_text(text)
    assert fit("--config", "a.yaml") == 2
    assert_one_sentence(capsys.readouterr().err, sentence)


def test_classes_must_be_given(toy_main: Main, capsys: pytest.CaptureFixture[str]) -> None:
    assert toy_main("fit") == 2
    assert_one_sentence(capsys.readouterr().err, "data and model missing: give --config")
    # Without a class jsonargparse would build the base.
    assert toy_main("fit", "--model.lr=1", "--data=Toys") == 2
    assert "no class is named for `model`" in capsys.readouterr().err


def test_a_constructor_speaks_for_itself(fit: Main, capsys: pytest.CaptureFixture[str]) -> None:
    """An exception of a constructor is buried by jsonargparse in a report about union types."""
    assert fit("--model.width=99") == 2
    assert "error: model.width is above 64: give a smaller one.\n" in capsys.readouterr().err
    with pytest.raises(ValueError, match="a bug in a constructor"):
        fit("--model.width=13")


def test_state_mismatch_names_a_shape_or_a_key(tmp_path: Path) -> None:
    message = (
        "Error(s) in loading state_dict for M:\n"
        '\tMissing key(s) in state_dict: "c.weight". \n'
        "\tsize mismatch for a.weight: copying a param with shape torch.Size([4, 3]) from "
        "checkpoint, the shape in current model is torch.Size([9, 3]).\n"
    )
    sentence = state_mismatch(message, str(tmp_path / "best.ckpt"))
    assert sentence is not None
    assert "a.weight has shape [4, 3], in this model [9, 3]" in sentence
    assert sentence.endswith("use the --config of the run that saved it.")
    missing = 'Error(s) in loading state_dict for M:\n\tMissing key(s) in state_dict: "a.b", "c". '
    assert "it lacks a.b" in str(state_mismatch(missing, "x.ckpt"))
    unknown = missing.replace("Missing", "Unexpected")
    assert "it holds an unknown a.b" in str(state_mismatch(unknown, "x.ckpt"))
    assert state_mismatch("mat1 and mat2 shapes cannot be multiplied", "x.ckpt") is None


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["source.init_args.rooot=x"], "VQAMed2019 has no option `rooot`; did you mean `root`?"),
        (["split_sed=1"], "CaptionsFromQA has no option `split_sed`"),
    ],
)
def test_the_class_that_holds_a_wrong_key_is_named(
    words: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Captions are made of another data class, which is given inside."""
    from amif_lightning.cli import main

    config = Path(__file__).parents[2] / "experiments" / "pretrain" / "base.yaml"
    assert main(["fit", f"--config={config}", *(f"--data.init_args.{w}" for w in words)]) == 2
    assert expected in capsys.readouterr().err
