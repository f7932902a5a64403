"""Checkpoint files: damage is found, addresses are fetched, and other files are one sentence."""

from __future__ import annotations

import io
import random
import re
import zipfile
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pytest
import torch

from amif_lightning.checkpoint_file import check_weights, local_file, read_checkpoint
from amif_lightning.errors import UserError

WEIGHTS = {"weight": torch.arange(600.0).reshape(20, 30), "bias": torch.ones(7)}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A small checkpoint."""
    torch.save({"state_dict": WEIGHTS, "epoch": 3}, tmp_path / "small.ckpt")
    return tmp_path / "small.ckpt"


def equal(found: Any) -> bool:
    state = found["state_dict"]
    same = state.keys() == WEIGHTS.keys() and found["epoch"] == 3
    return same and all(torch.equal(state[name], WEIGHTS[name]) for name in WEIGHTS)


# Headers and padding are outside the checksums, so a flipped bit there may be harmless.
@pytest.mark.parametrize("where", ["data", "file"])
def test_a_flipped_bit_never_loads_as_other_weights(path: Path, where: str) -> None:
    whole = path.read_bytes()
    start, length = 0, len(whole)
    if where == "data":
        data = WEIGHTS["weight"].numpy().tobytes()
        start, length = whole.index(data), len(data)
    draw = random.Random(0)
    refusals = []
    for bit in draw.sample(range(8 * start, 8 * (start + length)), 40):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        try:
            assert equal(read_checkpoint(path)), bit
        except UserError as error:
            refusals.append(str(error))
    assert all("small.ckpt" in text and "\n" not in text for text in refusals)
    assert len(refusals) > 20
    if where == "data":
        assert len(refusals) == 40
        member = "is damaged (its member small/data/0 differs from its checksum): copy it again"
        assert all(member in text for text in refusals)


def packed(content: bytes, kind: int = zipfile.ZIP_STORED) -> bytes:
    """A zip archive of one member."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", kind) as archive:
        archive.writestr("notes.txt", content)
    return stream.getvalue()


def saved(content: object) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream)
    return stream.getvalue()


NAN = {"decoder.weight": torch.tensor([1.0, float("nan")])}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is empty: copy it again"),
        (b"not a checkpoint\n" * 99, "is not a checkpoint (not an archive of torch.save)"),
        (packed(b"text"), "is not a checkpoint ("),
        (packed(b"text" * 99, zipfile.ZIP_DEFLATED), "was compressed after torch wrote it"),
        (saved({"state_dict": WEIGHTS})[:100], "is damaged or truncated (File is not a zip file)"),
        (saved({"state_dict": WEIGHTS})[:-50], "is damaged or truncated (File is not a zip file)"),
        (saved({"weight": torch.ones(3)}), "holds no state_dict: give a checkpoint that `fit`"),
        (saved([torch.ones(3)]), "holds no state_dict"),
        (saved(torch.ones(3)), "holds no state_dict"),
        (saved({"state_dict": 3}), "holds no state_dict"),
        (saved({"state_dict": NAN}), "not finite numbers, such as decoder.weight: its training"),
        (saved({"state_dict": {}, "hyper_parameters": [1]}), "no names of its hyper_parameters"),
        (saved({"state_dict": {}, "x": Namespace()}), "Python objects (argparse.Namespace), which"),
        (saved({"state_dict": {}, "x": Path("a")}), "Python objects (pathlib.PosixPath), which"),
        (b"\x80\x04N.", "contains Python objects, which are not loaded because this can run code"),
    ],
)
def test_other_files_are_one_sentence(tmp_path: Path, content: bytes, sentence: str) -> None:
    path = tmp_path / "x.ckpt"
    path.write_bytes(content)
    with pytest.raises(UserError, match=re.escape(sentence)) as caught:
        read_checkpoint(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_path_without_a_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere\.ckpt does not exist: check the path"):
        read_checkpoint(tmp_path / "nowhere.ckpt")
    for folder in (tmp_path, f"file://{tmp_path}"):
        with pytest.raises(UserError, match=r"is a folder: give a file in it, such as best\.ckpt"):
            read_checkpoint(folder)


# ---- addresses --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("http://127.0.0.1:9/x.ckpt", "is not encrypted, so others could replace the file"),
        ("HTTP://localhost/x.ckpt", "is not encrypted"),
        ("ftp://localhost/x.ckpt", "is not encrypted"),
        ("simplecache::http://127.0.0.1:9/x.ckpt", "is a chain of addresses"),
        ("zip://x.ckpt::memory://x.zip", "is a chain of addresses"),
        ("s3://bucket/x.ckpt", "cannot be opened (Install s3fs to access S3): install the"),
        ("gs://bucket/x.ckpt", "install the protocol's package, or copy the file"),
        ("nonsense://x.ckpt", "cannot be opened (Protocol not known: nonsense)"),
        ("https://localhost:9/x.ckpt", "cannot be fetched"),
        ("memory://nowhere.ckpt", "cannot be fetched"),
        ("file:///nowhere.ckpt", "does not exist: check the path"),
    ],
)
def test_an_address_that_gives_no_file_is_one_sentence(address: str, sentence: str) -> None:
    with pytest.raises(UserError, match=re.escape(sentence)) as caught:
        read_checkpoint(address)
    assert address in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_at_an_address_is_read_as_any_other(path: Path) -> None:
    remote = fsspec.filesystem("memory")
    whole = path.read_bytes()
    damaged = bytearray(whole)
    damaged[whole.index(WEIGHTS["weight"].numpy().tobytes()) + 9] ^= 1
    for name, content in (("/whole.ckpt", whole), ("/damaged.ckpt", bytes(damaged))):
        remote.pipe_file(name, content)
    assert equal(read_checkpoint("memory://whole.ckpt"))
    assert equal(read_checkpoint(f"file://{path}"))
    with pytest.raises(UserError, match=r"memory://damaged\.ckpt is damaged"):
        read_checkpoint("memory://damaged.ckpt")
    with local_file("memory://whole.ckpt") as copy:
        assert copy.read_bytes() == whole
    assert not copy.parent.exists()


# ---- pretrained weights -----------------------------------------------------------------------


@pytest.mark.parametrize("of", [lambda path: path, lambda path: path.parent])
def test_pretrained_weights_are_checked_where_they_have_checksums(
    path: Path, of: Callable[[Path], Path]
) -> None:
    (path.parent / "vocab.txt").write_text("lung")
    check_weights(of(path))
    check_weights(path.parent / "nowhere")
    content = bytearray(path.read_bytes())
    content[content.index(WEIGHTS["weight"].numpy().tobytes()) + 9] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"small\.ckpt is damaged"):
        check_weights(of(path))
