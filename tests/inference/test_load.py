"""Checkpoints that can answer, and those that cannot."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from amif_lightning.errors import UserError
from amif_lightning.inference.load import restore
from amif_lightning.tasks import AMiFPretrain
from tests.inference.conftest import Saved
from tests.small import SMALL


def test_the_weights_are_those_of_the_file(saved: Saved) -> None:
    restored = restore(saved.path)
    assert not restored.training
    stored: dict[str, Any] = torch.load(saved.path, weights_only=True)["state_dict"]
    for name, tensor in restored.state_dict().items():
        assert torch.equal(tensor.cpu(), stored[name])


def test_no_pretrained_weights_are_fetched(saved: Saved, tmp_path: Path) -> None:
    """A tag of the hub in the file, which no test can reach, changes nothing."""
    state = torch.load(saved.path, weights_only=True)
    state["hyper_parameters"] |= {"vision_pretrained": "openai", "text_pretrained": True}
    torch.save(state, tmp_path / "tagged.ckpt")
    restore(tmp_path / "tagged.ckpt")


def test_a_pretraining_checkpoint_answers_nothing(tmp_path: Path) -> None:
    restored = AMiFPretrain(**SMALL)
    torch.save({"state_dict": restored.state_dict()}, tmp_path / "pretrained.ckpt")
    with pytest.raises(UserError, match="stage and this is the answering stage: fine-tune"):
        restore(tmp_path / "pretrained.ckpt")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda state: state.pop("answer_space"), "holds no candidate answers"),
        (lambda state: state.pop("hyper_parameters"), "holds no hyper-parameters"),
        (lambda state: state["hyper_parameters"].update(width=64), "do not fit its own hyper-par"),
        (lambda state: state["answer_space"].pop("vocabulary"), "answer_space is unusable"),
        (lambda state: state["state_dict"].pop("text.bert.embeddings.LayerNorm.bias"), "not fit"),
    ],
)
def test_a_checkpoint_with_other_parts_is_one_sentence(
    saved: Saved, tmp_path: Path, change: Callable[[Any], object], sentence: str
) -> None:
    state = torch.load(saved.path, weights_only=True)
    change(state)
    torch.save(state, tmp_path / "bare.ckpt")
    with pytest.raises(UserError, match=sentence) as caught:
        restore(tmp_path / "bare.ckpt")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("device", ["cuda:77", "nonsense"])
def test_a_device_that_is_not_there_is_one_sentence(saved: Saved, device: str) -> None:
    with pytest.raises(UserError, match="does not exist"):
        restore(saved.path, device)


@pytest.mark.gpu
def test_a_gpu_answers_as_the_cpu_does(saved: Saved) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    image = saved.data.file_of(saved.data.splits.test[0])
    here, there = restore(saved.path, "cpu"), restore(saved.path)
    assert there.device.type == "cuda"
    for one, other in zip(
        here.answer(image, "is there a nodule?"),
        there.answer(image, "is there a nodule?"),
        strict=True,
    ):
        assert one.answer == other.answer
        assert one.probability == pytest.approx(other.probability, rel=1e-3)
