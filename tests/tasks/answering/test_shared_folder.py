"""Models as folders: equal weights and answers, no pickles, and damaged folders."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from transformers import BertConfig, BertModel

from amif_lightning.errors import UserError
from amif_lightning.inference.load import restore
from amif_lightning.tasks import AMiFVQA
from amif_lightning.tasks.answering.shared_folder import (
    CONFIG,
    TOKENIZER,
    WEIGHTS,
    fetch_shared,
    read_shared,
    write_shared,
)
from tests import small


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small.saved(tmp_path_factory.mktemp("shared"), max_question_tokens=10)[1]


@pytest.fixture
def folder(checkpoint: Path, tmp_path: Path) -> Path:
    place = tmp_path / "model"
    place.mkdir()
    write_shared(torch.load(checkpoint, weights_only=True), place)
    return place


def test_the_model_of_a_folder_equals_the_checkpoint(checkpoint: Path, folder: Path) -> None:
    one, other = restore(checkpoint, "cpu"), AMiFVQA.from_pretrained(folder)
    assert {path.name for path in folder.iterdir()} == {CONFIG, WEIGHTS, TOKENIZER}
    assert not other.training
    assert one.space == other.space
    assert one.space is not None
    assert "nodule" in one.space.question_words
    assert one.space.image_limit > 0
    assert one.hparams == other.hparams
    for name, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[name])
    assert other.decoder.lm.get_output_embeddings().weight is (
        other.decoder.lm.get_input_embeddings().weight
    )


def test_another_process_gives_bit_equal_answers_without_network(
    checkpoint: Path, folder: Path, tmp_path: Path
) -> None:
    image = tmp_path / "scan.png"
    Image.linear_gradient("L").save(image)
    expected = restore(checkpoint, "cpu").answer(image, "is there a mass?", 3)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "amif_lightning", "answer", "--json", "--top", "3"),
            *("--model", str(folder), "--image", str(image), "--question", "is there a mass?"),
            *("--device", "cpu"),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    given = json.loads(done.stdout)
    assert given["checkpoint"] == str(folder)
    assert given["answers"] == [one._asdict() for one in expected]


def test_a_hub_encoder_needs_neither_hub_nor_its_folder(checkpoint: Path, tmp_path: Path) -> None:
    """The encoder's configuration lies in the folder, which may be moved."""
    state = torch.load(checkpoint, weights_only=True)
    config = BertConfig(**restore(checkpoint, "cpu").text.bert.config.to_dict())
    BertModel(config).save_pretrained(tmp_path / "bert")
    state["hyper_parameters"]["text"] = str(tmp_path / "bert")
    place = tmp_path / "here"
    place.mkdir()
    config.save_pretrained(place / "text")
    write_shared(state, place)
    (tmp_path / "bert").rename(tmp_path / "gone")
    task = AMiFVQA.from_pretrained(place.rename(tmp_path / "there"))
    assert task.text.table_size == config.vocab_size


def _spoil(name: str) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        content = bytearray((folder / name).read_bytes())
        content[len(content) // 2] ^= 1
        (folder / name).write_bytes(content)

    return change


def _config(**values: object) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        given = json.loads((folder / CONFIG).read_text())
        (folder / CONFIG).write_text(json.dumps(given | values))

    return change


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda folder: (folder / WEIGHTS).unlink(), r"lacks model\.safetensors: fetch the folder"),
        (lambda folder: (folder / TOKENIZER).unlink(), r"lacks tokenizer\.json"),
        (lambda folder: (folder / CONFIG).write_text("{"), r"config\.json is not of an AMiF model"),
        (_config(format=2), r"format 2, and this program reads 'amif', format 1"),
        (_config(model_type="bert"), r"of type 'bert'"),
        (_config(checkpoint={}), r"lacks a part"),
        (_config(tied={"a": "b"}), r"lacks a part"),
        (_spoil(WEIGHTS), r"model\.safetensors is damaged \(SHA-256"),
        (_spoil(TOKENIZER), r"tokenizer\.json is damaged"),
    ],
)
def test_a_damaged_folder_is_one_sentence(
    folder: Path, change: Callable[[Path], object], sentence: str
) -> None:
    change(folder)
    with pytest.raises(UserError, match=sentence) as caught:
        read_shared(folder)
    assert "\n" not in str(caught.value)


def test_a_name_that_is_neither_folder_nor_model(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"somebody/no-model is no folder and cannot be fetched"):
        fetch_shared("somebody/no-model")
    with pytest.raises(UserError, match=r"lacks config\.json"):
        fetch_shared(tmp_path)
