"""The last TensorBoard images of a run come to the page."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
from PIL import Image
from torch.utils.tensorboard import SummaryWriter

from amif_lightning.reports.page.sheets import TITLES, last_images, sheets

TAG = "transport/plans"


def write_events(folder: Path, shades: list[int], suffix: str = "") -> None:
    writer = SummaryWriter(folder, filename_suffix=suffix)
    for step, shade in enumerate(shades):
        writer.add_image(TAG, np.full((4, 6, 3), shade, dtype=np.uint8), step, dataformats="HWC")
        writer.add_scalar("loss", 1.0, step)
    writer.close()


def shade_of(encoded: bytes) -> int:
    return int(np.asarray(Image.open(io.BytesIO(encoded)))[0, 0, 0])


def test_the_last_image_of_the_last_file_is_shown(tmp_path: Path) -> None:
    write_events(tmp_path, [10, 20], ".a")
    found = last_images(tmp_path, [TAG, "negatives/hardest"])
    assert list(found) == [TAG]
    assert shade_of(found[TAG]) == 20


def test_a_sheet_says_whose_it_is(tmp_path: Path) -> None:
    write_events(tmp_path / "run", [30])
    (one,) = sheets([("full", 2, tmp_path / "run"), ("empty", 0, tmp_path / "none")])
    assert (one.name, one.seed, one.title) == ("full", 2, TITLES[TAG])
    head, _, body = one.image.partition(",")
    assert head == "data:image/png;base64"
    assert shade_of(base64.b64decode(body)) == 30
