from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torch.utils.tensorboard import SummaryWriter

from amif_lightning.reports.page.images import SIDE, TITLES, NoImage, data_root, data_uri, sheets


def decoded(address: str) -> Image.Image:
    kind, _, content = address.partition(",")
    assert kind == "data:image/jpeg;base64"
    return Image.open(io.BytesIO(base64.b64decode(content))).convert("L")


@pytest.mark.parametrize(
    ("mode", "name"), [("RGB", "a.png"), ("L", "a.jpg"), ("RGBA", "b/a.png"), ("P", "a.gif")]
)
def test_images_are_shrunk_and_keep_their_shape(tmp_path: Path, mode: str, name: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    Image.new("RGB", (1000, 500), (200, 200, 200)).convert(mode).save(path)
    small = decoded(data_uri(tmp_path, name))
    assert small.size == (SIDE, SIDE // 2)
    assert small.getpixel((5, 5)) == pytest.approx(200, abs=3)


def test_small_images_are_not_enlarged(tmp_path: Path) -> None:
    Image.new("L", (30, 20)).save(tmp_path / "a.png")
    assert decoded(data_uri(tmp_path, "a.png")).size == (30, 20)


@pytest.mark.parametrize("name", ["missing.png", "../secret.png", "a/../../secret.png", "", "."])
def test_paths_outside_the_root_are_not_found(tmp_path: Path, name: str) -> None:
    (tmp_path / "data" / "a").mkdir(parents=True)
    Image.new("L", (8, 8)).save(tmp_path / "secret.png")
    with pytest.raises(NoImage, match="not found"):
        data_uri(tmp_path / "data", name)
    with pytest.raises(NoImage, match="not found"):
        data_uri(tmp_path / "data", str(tmp_path / "secret.png"))


def test_a_damaged_file_is_not_readable(tmp_path: Path) -> None:
    stream = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(stream, "PNG")
    (tmp_path / "a.png").write_bytes(stream.getvalue()[:200])
    (tmp_path / "b.png").write_text("<html>")
    for name in ("a.png", "b.png"):
        with pytest.raises(NoImage, match="not readable"):
            data_uri(tmp_path, name)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"data": {"class_path": "X", "init_args": {"root": "data/x"}}}, Path("data/x")),
        ({"data": {"root": "data/x"}}, Path("data/x")),
        ({"data": {"init_args": {"parts": []}}}, None),
        ({"data": {"init_args": {"root": ""}}}, None),
        ({"data": {"init_args": None}}, None),
        ({"data": "VQARAD"}, None),
        ({}, None),
    ],
)
def test_the_root_is_read_from_the_configuration(config: dict[str, Any], expected: Path) -> None:
    assert data_root(config) == expected


def test_the_last_tensorboard_image_of_the_last_file_is_shown(tmp_path: Path) -> None:
    tag = "transport/plans"
    for suffix, shades in ((".a", (10, 20)), (".b", ())):
        writer = SummaryWriter(tmp_path / "run", filename_suffix=suffix)
        for step, shade in enumerate(shades):
            pixels = np.full((4, 6, 3), shade, dtype=np.uint8)
            writer.add_image(tag, pixels, step, dataformats="HWC")
        writer.add_scalar("loss", 1.0, 0)
        writer.close()
    (one,) = sheets([("full", 2, tmp_path / "run"), ("empty", 0, tmp_path / "none")])
    assert (one.name, one.seed, one.title) == ("full", 2, TITLES[tag])
    head, _, body = one.image.partition(",")
    assert head == "data:image/png;base64"
    assert np.asarray(Image.open(io.BytesIO(base64.b64decode(body))))[0, 0, 0] == 20
