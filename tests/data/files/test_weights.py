"""The paper's pretrained models are fetched from a hub and load without network, also if moved."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from inspect import signature
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from transformers import BertConfig, BertModel

from amif_lightning.cli import main
from amif_lightning.data.files.weights import PARTS, fetch_weights
from amif_lightning.data.preprocessing.tokenizer import Tokenizer
from amif_lightning.data.teacher.networks import BIOMEDCLIP, OpenClipTeacher
from amif_lightning.errors import UserError
from amif_lightning.models.text import TextEncoder
from amif_lightning.models.vision import build_vision
from amif_lightning.tasks import AMiFPretrain
from tests.http_server import Server
from tests.hub_server import REVISION, publish, serving_hub
from tests.tiny_biomedclip import WORDS, write_biomedclip

BERT = "owner/tiny-bert"
NEVER_READ = ("flax_model.msgpack", "tf_model.h5", "model.onnx", "onnx/model.onnx", "notes.ipynb")
CLIP: dict[str, Any] = {
    "embed_dim": 16,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 16, "head_width": 8, "patch_size": 16},
    "text_cfg": {"context_length": 8, "vocab_size": 64, "width": 16, "heads": 2, "layers": 1},
}


def contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, bytes]]:
    """Tiny models in the layout of the published ones, by name of their repository."""
    base = tmp_path_factory.mktemp("published")
    torch.manual_seed(0)
    clip: Any = open_clip.CLIP(**CLIP)
    (base / "vision").mkdir()
    save_file(clip.state_dict(), base / "vision" / "open_clip_model.safetensors")
    (base / "vision" / "open_clip_pytorch_model.bin").write_bytes(b"the same, pickled")
    (base / "vision" / "open_clip_config.json").write_text(json.dumps({"model_cfg": CLIP}))

    teacher = contents(write_biomedclip(base / "tiny_model_of_weights_tests"))
    settings = json.loads(teacher["open_clip_config.json"])
    text = settings["model_cfg"]["text_cfg"]
    text["hf_model_name"] = text["hf_tokenizer_name"] = BERT
    teacher["open_clip_config.json"] = json.dumps(settings).encode()
    bert = {"config.json": teacher.pop("config.json"), "pytorch_model.bin": b"not needed"}

    sizes: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = BertConfig(vocab_size=5 + len(WORDS), intermediate_size=32, **sizes)
    config.save_pretrained(base / "text")
    torch.save(BertModel(config).state_dict(), base / "text" / "pytorch_model.bin")
    (base / "text" / "vocab.txt").write_bytes(teacher["vocab.txt"])

    published = {
        PARTS["vision"].repository: contents(base / "vision"),
        PARTS["text"].repository: contents(base / "text"),
        PARTS["teacher"].repository: teacher,
        BERT: bert,
    }
    more = dict.fromkeys(NEVER_READ, b"of another framework") | {"README.md": b"license: mit"}
    return {name: files | more for name, files in published.items()}


@pytest.fixture
def hub(models: dict[str, dict[str, bytes]], tmp_path: Path) -> Iterator[Server]:
    with serving_hub(tmp_path / "cache") as server:
        for name, files in models.items():
            publish(server, name, files)
        yield server


def weights_of(part: str, name: str) -> str:
    return f"/{PARTS[part].repository}/resolve/{REVISION}/{name}"


def test_the_models_are_the_defaults_of_the_suite() -> None:
    assert open_clip.get_pretrained_cfg("ViT-B-16", "openai")["hf_hub"] == (
        f"{PARTS['vision'].repository}/"
    )
    assert signature(AMiFPretrain).parameters["vision"].default == "ViT-B-16"
    assert signature(AMiFPretrain).parameters["text"].default == PARTS["text"].repository
    assert f"hf-hub:{PARTS['teacher'].repository}" == BIOMEDCLIP


def test_a_moved_folder_loads_without_network(
    models: dict[str, dict[str, bytes]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with serving_hub(tmp_path / "cache") as server:
        for name, files in models.items():
            publish(server, name, files)
        assert main(["prepare", "weights", "--to", str(tmp_path / "first")]) == 0
    printed = capsys.readouterr().out
    assert f"{PARTS['text'].repository}, revision {REVISION}" in printed
    (tmp_path / "first").rename(tmp_path / "moved")
    monkeypatch.chdir(tmp_path)
    words = printed.split("HF_HUB_OFFLINE=1 in its environment:")[1].split()
    given = dict(zip(words[::2], words[1::2], strict=True))
    given = {k: v.replace(f"{tmp_path / 'first'}", "moved") for k, v in given.items()}

    tower = build_vision(given["--model.init_args.vision"], None, 32)
    assert tower.quick_gelu
    name = f"{tmp_path}/moved/vision/open_clip_model.safetensors"
    whole: Any = open_clip.CLIP(**CLIP)
    open_clip.load_checkpoint(whole, name)
    torch.testing.assert_close(
        tower.state_dict()["visual.conv1.weight"], whole.visual.conv1.weight.detach()
    )
    ids = torch.tensor([[2, 5, 6, 3]])
    text = TextEncoder(given["--model.init_args.text"]).eval()
    bert = BertModel.from_pretrained("moved/text", add_pooling_layer=False).eval()
    with torch.no_grad():
        torch.testing.assert_close(text(ids, ids > 0), bert(ids).last_hidden_state)
    assert Tokenizer.from_pretrained(given["--data.init_args.tokenizer"]).pieces("lung") == [5]
    teacher = OpenClipTeacher(given["--data.init_args.teacher_source"])
    original = OpenClipTeacher(f"local-dir:{complete(tmp_path / 'original', models)}")
    image = Image.new("RGB", (50, 40), (200, 30, 90))
    for network in (teacher, original):
        assert network.text(["left lung", "no finding"]).unique(dim=0).shape[0] == 2
    torch.testing.assert_close(teacher.text(["left lung"]), original.text(["left lung"]))
    torch.testing.assert_close(
        teacher.image(teacher.prepare(image)[None]), original.image(original.prepare(image)[None])
    )
    # The image tower of BiomedCLIP reads the same folder.
    assert build_vision("local-dir:moved/teacher", None, 160).width > 0


def complete(folder: Path, models: dict[str, dict[str, bytes]]) -> Path:
    """The teacher in one folder with an absolute path, as open_clip itself expects it."""
    folder.mkdir()
    for name, body in (models[BERT] | models[PARTS["teacher"].repository]).items():
        if "/" not in name:
            (folder / name).write_bytes(body)
    path = folder / "open_clip_config.json"
    path.write_text(path.read_text().replace(BERT, str(folder)))
    return folder


def test_only_what_is_read_is_fetched_and_once(hub: Server, tmp_path: Path) -> None:
    fetch_weights(tmp_path / "w")
    found = {
        str(path.relative_to(tmp_path / "w"))
        for path in (tmp_path / "w").rglob("*")
        if path.is_file() and ".cache" not in path.parts
    }
    tokenizer = {"vocab.txt", "tokenizer.json", "tokenizer_config.json"}
    assert found == {
        "vision/open_clip_config.json",
        "vision/open_clip_model.safetensors",  # not the .bin
        "vision/README.md",
        *(f"text/{name}" for name in ("config.json", "pytorch_model.bin", "vocab.txt")),
        "text/README.md",
        *(f"teacher/{name}" for name in tokenizer),
        "teacher/open_clip_config.json",
        "teacher/open_clip_pytorch_model.bin",
        "teacher/README.md",
        f"teacher/{BERT}/config.json",  # without weights: the teacher's include them
        f"teacher/{BERT}/README.md",
    }
    hub.asked.clear()
    fetch_weights(tmp_path / "w", ["text", "teacher"])
    assert not [path for path, _ in hub.asked if "/resolve/" in path]


def test_an_interrupted_download_continues(hub: Server, tmp_path: Path) -> None:
    body, page = bytes(12 * 2**20), weights_of("text", "pytorch_model.bin")  # over one chunk
    publish(hub, PARTS["text"].repository, {"config.json": b"{}", "pytorch_model.bin": body})
    hub.pages[page].breaks = [11 * 2**20]
    fetch_weights(tmp_path, ["text"])
    assert (tmp_path / "text" / "pytorch_model.bin").read_bytes() == body
    ranges = [wanted for path, wanted in hub.asked if path == page]
    assert ranges[0] == ""
    assert ranges[-1].startswith("bytes=1")


def test_what_cannot_be_fetched_is_one_sentence(
    hub: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, vision = PARTS["text"].repository, PARTS["vision"].repository
    page = hub.pages[weights_of("text", "pytorch_model.bin")]
    page.body = page.body[:-1] + b"x"
    with pytest.raises(UserError, match=r"text/pytorch_model\.bin does not have the checksum"):
        fetch_weights(tmp_path / "damaged", ["text"])
    publish(hub, text, {"config.json": b"{}", "model.onnx": b"1"})
    with pytest.raises(UserError, match=r"none of the files model\.safetensors, pytorch_model"):
        fetch_weights(tmp_path / "none", ["text"])
    hub.pages.pop(f"/api/models/{text}")
    with pytest.raises(UserError, match=f"{text} cannot be fetched .*404.*: check the connection"):
        fetch_weights(tmp_path / "unknown", ["text"])
    page = hub.pages[weights_of("vision", "open_clip_config.json")]
    for body in (b"[]", b"{", b'{"model_cfg": {}}'):
        publish(hub, vision, {"open_clip_config.json": body, "open_clip_model.safetensors": b"1"})
        folder = tmp_path / str(len(body))
        with pytest.raises(UserError, match=r"vision/open_clip_config\.json is not a config"):
            fetch_weights(folder, ["vision"])
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=100))
        with pytest.raises(UserError, match=r"needs \d\.\d MB and .* has 0\.0 MB free: make room"):
            fetch_weights(tmp_path / "full", ["teacher"])
    assert not list((tmp_path / "full").rglob("*.bin"))


def test_offline_it_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["prepare", "weights", "--to", str(tmp_path / "w"), "--only", "text"]
    assert main(words) == 2
    assert "because HF_HUB_OFFLINE is set: unset it" in capsys.readouterr().err
    assert not (tmp_path / "w").exists()


def test_a_pickle_that_runs_code_is_refused(hub: Server, tmp_path: Path) -> None:
    """Weights that are pickles are read as tensors only."""
    ran = tmp_path / "ran"

    class Attack:
        def __reduce__(self) -> tuple[Any, tuple[Path]]:
            return Path.touch, (ran,)

    torch.save({"a": Attack()}, tmp_path / "attack.bin")
    body = (tmp_path / "attack.bin").read_bytes()
    for part, name in (
        ("text", "pytorch_model.bin"),
        ("teacher", "open_clip_pytorch_model.bin"),
    ):
        fetch_weights(tmp_path / "w", [part])
        (tmp_path / "w" / part / name).write_bytes(body)
    with pytest.raises(UserError, match="could not be loaded"):
        TextEncoder(str(tmp_path / "w" / "text"))
    with pytest.raises(UserError, match="could not be loaded"):
        OpenClipTeacher(f"local-dir:{tmp_path / 'w' / 'teacher'}")
    with pytest.raises(UserError, match="could not be loaded"):
        build_vision(f"local-dir:{tmp_path / 'w' / 'teacher'}", None, 160)
    assert not ran.exists()
