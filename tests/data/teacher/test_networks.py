"""Teachers return the features of their model, and these depend on the sample only."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from torch.nn import functional
from transformers import BertModel, BertTokenizer

from amif_lightning.batch import Tokens
from amif_lightning.data.preprocessing.tokenizer import Tokenizer
from amif_lightning.data.preprocessing.transforms import ImageTransform, to_square
from amif_lightning.data.teacher.networks import (
    CheckpointTeacher,
    OpenClipTeacher,
    SentenceTeacher,
    teacher_name,
)
from amif_lightning.errors import UserError
from amif_lightning.tasks.pretrain import AMiFPretrain
from tests.small import SMALL
from tests.tiny_biomedclip import SCALE, SIDE, WIDTH, write_bert, write_biomedclip

TEXTS = ["no finding in the left lung", "nodule", "effusion in the right lung " * 3]


def image(seed: int, size: tuple[int, int] = (200, 170)) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    return Image.fromarray(values)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_biomedclip(tmp_path_factory.mktemp("teacher") / "tiny_model_of_teacher_tests")


@pytest.fixture(scope="module")
def teacher(folder: Path) -> OpenClipTeacher:
    return OpenClipTeacher(f"local-dir:{folder}")


def pixels(teacher: OpenClipTeacher | CheckpointTeacher) -> torch.Tensor:
    return torch.stack([teacher.prepare(image(seed)) for seed in range(3)])


# ---- open_clip --------------------------------------------------------------------------------


def test_open_clip_features_are_those_of_the_model(folder: Path, teacher: OpenClipTeacher) -> None:
    model: Any = open_clip.create_model_from_pretrained(
        f"local-dir:{folder}", return_transform=False
    )
    model.eval()
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    images = pixels(teacher)
    with torch.no_grad():
        image = functional.normalize(model.encode_image(images), dim=1)
        text = functional.normalize(model.encode_text(tokenizer(TEXTS)), dim=1)
    torch.testing.assert_close(teacher.image(images), image)
    torch.testing.assert_close(teacher.text(TEXTS), text)
    assert image.shape == text.shape == (3, WIDTH)
    assert teacher.scale == pytest.approx(SCALE)
    for rows in (image, text):  # the test would pass with anything if all rows were equal
        assert float((rows @ rows.T)[0, 1]) < 0.99


def test_images_are_prepared_as_the_model_was_trained(teacher: OpenClipTeacher) -> None:
    prepared = teacher.prepare(Image.new("RGB", (300, 200), (255, 0, 51)))
    assert prepared.shape == (3, SIDE, SIDE)
    expected = [(1 - 0.5) / 0.2, (0 - 0.4) / 0.3, (0.2 - 0.3) / 0.4]  # the folder's, not CLIP's
    torch.testing.assert_close(prepared[:, 5, 7], torch.tensor(expected))


def test_long_texts_are_cut_and_counted(teacher: OpenClipTeacher) -> None:
    assert teacher.max_tokens == 120
    whole, longer = "lung " * 118, "lung " * 119  # with [CLS] and [SEP] 120 and 121
    assert teacher.cut([whole, longer, "lung"]) == 1
    torch.testing.assert_close(teacher.text([longer]), teacher.text([whole]))
    assert not torch.allclose(teacher.text(["lung " * 117]), teacher.text([whole]), atol=1e-6)


def test_a_model_with_fewer_positions_reads_fewer_tokens(tmp_path: Path) -> None:
    short = write_biomedclip(tmp_path / "tiny_model_of_few_positions", context_length=12)
    teacher = OpenClipTeacher(f"local-dir:{short}")
    assert teacher.max_tokens == 12
    assert teacher.cut(["lung " * 10, "lung " * 11]) == 1


def test_a_sentence_is_the_mean_of_its_token_states(tmp_path: Path) -> None:
    folder = write_bert(tmp_path / "bert")
    teacher = SentenceTeacher(str(folder))
    bert, tokenizer = BertModel.from_pretrained(folder), BertTokenizer.from_pretrained(folder)
    rows = []
    for text in TEXTS:  # one at a time, so without padding
        states = bert(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
        rows.append(torch.nn.functional.normalize(states.mean(0), dim=0))
    torch.testing.assert_close(teacher.text(TEXTS), torch.stack(rows))
    assert not teacher.reads_images
    assert teacher.scale == pytest.approx(math.log(20))
    names = [teacher_name("text", str(folder)), teacher_name("text", "someone/bert")]
    assert names[0].startswith("text bert of sha256 ")
    assert names[1] == "text someone/bert, 120 tokens"


def test_nothing_moves_a_teacher(teacher: OpenClipTeacher) -> None:
    before = teacher.text(TEXTS)
    student = torch.nn.ModuleList([teacher]).train()
    assert not any(module.training for module in student[0].modules())
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    with torch.autocast("cpu", torch.bfloat16):
        again = teacher.text(TEXTS)
    assert torch.equal(again, before)
    assert not again.requires_grad
    assert again.dtype == torch.float32


@pytest.mark.parametrize(
    ("source", "word"),
    [
        ("hf-hub:nobody/nothing", "local-dir:FOLDER"),
        ("local-dir:/nowhere", "open_clip_config.json"),
        ("microsoft/BiomedCLIP", "hf-hub:NAME"),
        ("ViT-B-16", "hf-hub:NAME"),  # open_clip would build it with random weights
    ],
    ids=str,
)
def test_sources_that_are_not_there(source: str, word: str) -> None:
    with pytest.raises(UserError) as error:
        OpenClipTeacher(source)
    assert source in str(error.value)
    assert word in str(error.value)
    assert "\n" not in str(error.value)


def test_a_folder_without_weights_is_no_random_teacher(folder: Path, tmp_path: Path) -> None:
    for file in folder.iterdir():
        if file.suffix != ".bin":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    with pytest.raises(UserError, match="could not be loaded"):
        OpenClipTeacher(f"local-dir:{tmp_path}")


# ---- an earlier run ---------------------------------------------------------------------------


def write_checkpoint(path: Path, **options: Any) -> AMiFPretrain:
    torch.manual_seed(0)
    task = AMiFPretrain(**(SMALL | {"vision_quick_gelu": None} | options)).eval()
    for part in task.modules():
        if isinstance(part, torch.nn.BatchNorm2d):  # so that a teacher in training mode would show
            part.running_mean.uniform_(-1, 1)  # type: ignore[union-attr]  # tracked by default
    checkpoint = {
        "state_dict": task.state_dict(),
        "hyper_parameters": dict(task.hparams),
        "tokenizer": Tokenizer.from_texts([*TEXTS, "[SEP]"]).to_json(),
    }
    torch.save(checkpoint, path)
    return task


@pytest.mark.parametrize("shared", [True, False])
def test_checkpoint_features_are_those_of_its_task(tmp_path: Path, shared: bool) -> None:
    task = write_checkpoint(
        tmp_path / "a.ckpt", shared_projection=shared, temperature=0.05, dropout=0.1
    )
    teacher = CheckpointTeacher(tmp_path / "a.ckpt")
    images = pixels(teacher)
    texts = [*TEXTS, "the [SEP] lung"]
    tokenizer = Tokenizer.from_texts([*TEXTS, "[SEP]"])
    rows = [tokenizer.encode(text, 120) for text in texts]
    longest = max(map(len, rows))
    ids = torch.tensor([row + [tokenizer.pad_id] * (longest - len(row)) for row in rows])
    tokens = Tokens(ids, torch.arange(longest) < torch.tensor([[len(row)] for row in rows]))
    with torch.no_grad():
        image = task.embed_image(task.vision(images))
        text = task.embed_text(task.text(tokens.ids, tokens.mask))
    torch.testing.assert_close(teacher.image(images), image)
    torch.testing.assert_close(teacher.text(texts), text)
    assert teacher.scale == pytest.approx(-np.log(0.05))


def test_images_for_a_checkpoint_are_those_of_the_data_modules(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "a.ckpt")
    teacher, drawn = CheckpointTeacher(tmp_path / "a.ckpt"), image(0)
    expected = ImageTransform(teacher.image_size)(to_square(drawn, teacher.image_size))
    assert torch.equal(teacher.prepare(drawn), expected)


def test_a_checkpoint_cuts_texts_too(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "a.ckpt")
    teacher = CheckpointTeacher(tmp_path / "a.ckpt")
    teacher.max_tokens = 6
    assert teacher.cut(["no finding in the", "no finding in the left"]) == 1
    torch.testing.assert_close(
        teacher.text(["no finding in the left"]), teacher.text(["no finding in the"])
    )


def test_files_that_are_no_teacher(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    with pytest.raises(UserError, match="does not exist"):
        CheckpointTeacher(path)
    path.write_bytes(b"PK")
    with pytest.raises(UserError, match="is damaged or truncated"):
        CheckpointTeacher(path)
    torch.save({"state_dict": {}}, path)
    with pytest.raises(UserError, match="no hyper_parameters"):
        CheckpointTeacher(path)
    write_checkpoint(path, image_text=0.0)  # never compared images with texts: no scale for them
    with pytest.raises(UserError, match=r"no alignment\.pairs\.image_text.* image_text weight"):
        CheckpointTeacher(path)
    write_checkpoint(path)
    wrong = torch.load(path, weights_only=True)
    wrong["hyper_parameters"]["text_layers"] = 2
    torch.save(wrong, path)
    with pytest.raises(UserError, match="does not fit"):
        CheckpointTeacher(path)


# ---- names ------------------------------------------------------------------------------------


def test_hub_names_stand_for_themselves() -> None:
    name = teacher_name("open_clip", "")
    assert "hf-hub:microsoft/BiomedCLIP" in name
    assert "120 tokens" in name
    assert teacher_name("open_clip", "hf-hub:x/y") != name


def test_a_folder_is_its_files(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "a.bin").write_bytes(b"1")
    (folder / "b.json").write_bytes(b"2")
    name = teacher_name("open_clip", f"local-dir:{folder}")
    (tmp_path / "new").mkdir()
    shutil.move(folder, tmp_path / "new" / "model")
    moved = tmp_path / "new" / "model"
    assert teacher_name("open_clip", f"local-dir:{moved}") == name
    (moved / "a.bin").rename(moved / "c.bin")
    renamed = teacher_name("open_clip", f"local-dir:{moved}")
    (moved / "c.bin").write_bytes(b"3")
    assert len({name, renamed, teacher_name("open_clip", f"local-dir:{moved}")}) == 3


def test_a_run_trained_again_is_another_teacher(tmp_path: Path) -> None:
    path = tmp_path / "best.ckpt"
    path.write_bytes(b"1")
    first = teacher_name("checkpoint", str(path))
    path.write_bytes(b"2")
    assert teacher_name("checkpoint", str(path)) != first


@pytest.mark.parametrize("source", ["local-dir:empty", "local-dir:none"])
def test_nothing_there(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="does not exist or is empty"):
        teacher_name("open_clip", source)
