"""Errors of constructors and of torch (test_wrong_command_lines.py: those of the parser)."""

from __future__ import annotations

from pathlib import Path

import pytest

from amif_lightning.cli.error_messages import state_mismatch
from tests.cli.conftest import Main


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
