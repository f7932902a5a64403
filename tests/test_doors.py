"""No file that may come from somebody else runs code, whatever reads it."""

from __future__ import annotations

import io
import json
import os
import pickle
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import torch
from PIL import Image

from amif_lightning.cli import app, main
from amif_lightning.data.files.parquet import ParquetQuestions
from amif_lightning.data.leakage.hash_cache import HashStore
from amif_lightning.data.preprocessing.tokenizer import Tokenizer
from amif_lightning.data.teacher.extract import compute
from amif_lightning.data.teacher.networks import OpenClipTeacher, open_teacher
from amif_lightning.data.teacher.store import read_embeddings
from amif_lightning.errors import UserError
from amif_lightning.inference.load import restore
from amif_lightning.models.text import TextEncoder
from amif_lightning.models.vision import build_vision
from amif_lightning.tasks import AMiFPretrain, AMiFVQA
from data_modules.phantom.module import Phantom
from tests.cli import toys
from tests.cli.conftest import QUICK
from tests.http_server import Page, Server, serving
from tests.small import SMALL, phantom, trainer
from tests.tiny_biomedclip import write_biomedclip

MARKER = "code-was-run"
#: Where a checkpoint may lie; `yaml` names the address in a configuration file.
PLACES = ("path", "file", "memory", "http", "yaml")
CODE = "import os\nos.mkdir({!r})\nclass Own:\n    pass\n"


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return os.mkdir, (str(self.folder / MARKER),)


def torch_trap(folder: Path) -> bytes:
    stream = io.BytesIO()
    torch.save(
        {"state_dict": {"decoder.x": torch.ones(2)}, "hyper_parameters": Trap(folder)}, stream
    )
    return stream.getvalue()


def pickle_trap(folder: Path) -> bytes:
    return pickle.dumps(Trap(folder))


def array_trap(folder: Path) -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.array([Trap(folder)], dtype=object))
    return stream.getvalue()


def arrays_trap(folder: Path) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, version=np.array([Trap(folder)], dtype=object))
    return stream.getvalue()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving() as running:
        yield running


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Phantom:
    return phantom(tmp_path_factory.mktemp("doors") / "phantom")


@pytest.fixture
def sprung(tmp_path: Path) -> Iterator[Path]:
    """The folder that a trap makes; the test fails if there is one at its end."""
    yield tmp_path / MARKER
    assert not (tmp_path / MARKER).exists()


@pytest.mark.parametrize(
    ("trap", "load"),
    [
        (torch_trap, partial(torch.load, weights_only=False)),
        (pickle_trap, pickle.load),
        (array_trap, partial(np.load, allow_pickle=True)),
        (arrays_trap, lambda stream: np.load(stream, allow_pickle=True)["version"]),
    ],
)
def test_the_traps_run_code_in_a_careless_reader(
    trap: Callable[[Path], bytes], load: Callable[[io.BytesIO], object], tmp_path: Path
) -> None:
    load(io.BytesIO(trap(tmp_path)))
    assert (tmp_path / MARKER).is_dir()


# ---- checkpoints ------------------------------------------------------------------------------


def lightning(command: str, source: str, data: Phantom) -> None:
    words = [f"--ckpt_path={source}"]
    if source.endswith(".yaml"):
        words = [f"--config={source}"]
    assert main([command, *QUICK, *words]) == 2
    raise UserError(source)


def init_from(source: str, data: Phantom) -> None:
    task = AMiFVQA(**SMALL, init_from=source)
    trainer(data.root, limit_val_batches=1).validate(task, datamodule=data, verbose=False)


def answer(source: str, data: Phantom) -> None:
    words = ["--image", str(data.file_of(data.splits.test[0])), "--question", "is there a nodule?"]
    assert main(["answer", "--ckpt_path", source, *words]) == 2
    raise UserError(source)


COMMANDS = ("fit", "validate", "test", "predict")
READERS: dict[str, Callable[[str, Phantom], object]] = {
    **{name: partial(lightning, name) for name in COMMANDS},
    "init_from": init_from,
    "answer": answer,
    "restore": lambda source, _: restore(source),
    "load_from_checkpoint": lambda source, _: AMiFPretrain.load_from_checkpoint(source),
    "weights_only_none": lambda source, _: AMiFVQA.load_from_checkpoint(source, weights_only=None),
    "teacher": lambda source, _: open_teacher("checkpoint", source),
}


@pytest.mark.parametrize(
    ("reader", "place"),
    [(one, place) for one in READERS for place in PLACES if place != "yaml" or one in COMMANDS],
)
def test_a_checkpoint_runs_no_code(
    reader: str,
    place: str,
    tmp_path: Path,
    data: Phantom,
    server: Server,
    sprung: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(app, "load_suite", toys.toy_suite)
    monkeypatch.setattr(sys, "argv", ["amif-lightning"])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    path, content = tmp_path / "x.ckpt", torch_trap(tmp_path)
    path.write_bytes(content)
    fsspec.filesystem("memory").pipe_file("/x.ckpt", content)
    server.pages["/x.ckpt"] = Page(content)
    source = {
        "path": str(path),
        "file": f"file://{path}",
        "memory": "memory://x.ckpt",
        "http": f"{server.base}/x.ckpt",
        "yaml": str(tmp_path / "x.yaml"),
    }[place]
    (tmp_path / "x.yaml").write_text(f"ckpt_path: {server.base}/x.ckpt\n")
    server.asked.clear()
    with pytest.raises(UserError) as caught:
        READERS[reader](source, data)
    printed = capsys.readouterr().err
    assert not server.asked
    assert "Traceback" not in printed
    message = printed.splitlines()[-1] if reader in (*COMMANDS, "answer") else str(caught.value)
    if reader == "teacher" and place != "path":
        assert "does not exist" in message  # the option takes a file alone
        return
    wanted = "is not encrypted" if place in ("http", "yaml") else "contains Python objects"
    assert wanted in message


# ---- everything else --------------------------------------------------------------------------


def teacher_folder(folder: Path) -> Path:
    return write_biomedclip(folder / "door_teacher")


def bad_weights(folder: Path, content: bytes) -> Path:
    """A teacher's folder with other weights."""
    made = teacher_folder(folder)
    (made / "open_clip_pytorch_model.bin").write_bytes(content)
    (made / "pytorch_model.bin").write_bytes(content)
    return made


def own_code(folder: Path) -> Path:
    """A teacher's folder whose configuration names code in the folder, and asks to trust it."""
    made = teacher_folder(folder)
    (made / "own.py").write_text(CODE.format(str(folder / MARKER)))
    for name, key in (("config.json", "AutoConfig"), ("tokenizer_config.json", "AutoTokenizer")):
        values = json.loads((made / name).read_text())
        values.pop("tokenizer_class", None)
        target: Any = "own.Own" if key == "AutoConfig" else ["own.Own", "own.Own"]
        values |= {"model_type": "own", "auto_map": {key: target}}
        (made / name).write_text(json.dumps(values))
    values = json.loads((made / "open_clip_config.json").read_text())
    values["model_cfg"]["text_cfg"]["tokenizer_kwargs"] = {"trust_remote_code": True}
    (made / "open_clip_config.json").write_text(json.dumps(values))
    return made


def own_tokenizer(folder: Path) -> Path:
    """The same, with a usual configuration of the model, so that the tokenizer is reached."""
    made = own_code(folder)
    values = json.loads((made / "config.json").read_text())
    del values["auto_map"]
    (made / "config.json").write_text(json.dumps(values | {"model_type": "bert"}))
    return made


def ignored(loaded: object) -> None:
    """What a file contains is not used."""
    raise UserError(f"{loaded} was loaded without it")


def hashes(folder: Path) -> None:
    (folder / "hashes").mkdir()
    (folder / "hashes" / "A.npz").write_bytes(arrays_trap(folder))
    Image.new("L", (40, 50)).save(folder / "a.png")
    ignored(HashStore(folder / "hashes", progress=False).look({"A/a.png": folder / "a.png"}))


def teacher_parts(folder: Path) -> None:
    for name in ("image", "text"):
        (folder / f"{name}-000000000.npy").write_bytes(array_trap(folder))
    Image.new("RGB", (40, 50)).save(folder / "a.png")
    teacher = OpenClipTeacher(f"local-dir:{teacher_folder(folder)}")
    ignored(compute(teacher, {"a": folder / "a.png"}, {"b": "lung"}, folder))


def file(folder: Path, name: str, trap: Callable[[Path], bytes] = pickle_trap) -> Path:
    (folder / name).write_bytes(trap(folder))
    return folder / name


def command(*words: object) -> None:
    assert main([str(word) for word in words]) == 2
    raise UserError("exit code 2")


def yaml_file(folder: Path) -> Path:
    path = folder / "x.yaml"
    path.write_text(f"model: !!python/object/apply:os.mkdir [{folder / MARKER}]\ndata: Toys\n")
    return path


DOORS: dict[str, Callable[[Path], object]] = {
    "teacher weights": lambda f: OpenClipTeacher(f"local-dir:{bad_weights(f, torch_trap(f))}"),
    "teacher pickle": lambda f: OpenClipTeacher(f"local-dir:{bad_weights(f, pickle_trap(f))}"),
    "teacher code": lambda f: OpenClipTeacher(f"local-dir:{own_code(f)}"),
    "teacher tokenizer": lambda f: ignored(OpenClipTeacher(f"local-dir:{own_tokenizer(f)}")),
    "text weights": lambda f: TextEncoder(str(bad_weights(f, torch_trap(f)))),
    "text pickle": lambda f: TextEncoder(str(bad_weights(f, pickle_trap(f)))),
    "text code": lambda f: TextEncoder(str(own_code(f))),
    "tokenizer code": lambda f: Tokenizer.from_pretrained(str(own_code(f))),
    "tokenizer of BERT": lambda f: ignored(Tokenizer.from_pretrained(str(own_tokenizer(f)))),
    "image folder": lambda f: build_vision(f"local-dir:{bad_weights(f, torch_trap(f))}", None, 160),
    "image weights": lambda f: build_vision("ViT-S-32-alt", str(file(f, "x.pt", torch_trap)), 224),
    "image arrays": lambda f: build_vision("ViT-S-32-alt", str(file(f, "x.npz", arrays_trap)), 224),
    "embeddings": lambda f: read_embeddings(file(f, "x.safetensors")),
    "hashes": hashes,
    "teacher parts": teacher_parts,
    "parquet": lambda f: ParquetQuestions(
        "X", {"test": [file(f, "test-0-of-1.parquet")]}, f
    ).prepare(),
    "record": lambda f: command("report", file(f, "result-test.json").parent),
    "predictions": lambda f: command("report", file(f, "predictions-test.jsonl").parent),
    "questions": lambda f: command(
        "answer", "--ckpt_path=x", "--questions", file(f, "questions.jsonl")
    ),
    "config": lambda f: command("fit", "--config", yaml_file(f)),
    "audit config": lambda f: command("audit", "--config", yaml_file(f)),
    "sweep": lambda f: command("sweep", yaml_file(f), "--seeds", "0"),
}


@pytest.mark.parametrize("door", DOORS)
def test_other_files_run_no_code(
    door: str, tmp_path: Path, sprung: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("builtins.input", lambda *_: "y")  # transformers asks whether to run code
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError):
        DOORS[door](tmp_path)
