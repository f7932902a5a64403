"""Every mode becomes 8-bit RGB, damaged files one sentence, and JPEGs are drafted safely."""

from __future__ import annotations

import contextlib
import io
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from amif_lightning.data.preprocessing import images
from amif_lightning.data.preprocessing.images import decode_image, to_rgb
from amif_lightning.data.preprocessing.transforms import DecodedImages, to_square
from amif_lightning.errors import UserError


def smooth(width: int, height: int) -> Image.Image:
    """Broad coloured waves, so that a reduced decode can be compared with a full one."""
    y, x = np.mgrid[0:height, 0:width]
    waves = [
        127 + 100 * np.sin(2 * np.pi * (a * x / width + b * y / height))
        for a, b in ((1, 2), (2, 1), (0, 3))
    ]
    return Image.fromarray(np.stack(waves, -1).astype(np.uint8))


def pixels(image: Image.Image) -> np.ndarray[Any, Any]:
    return np.asarray(image)


def palette(*places: int) -> Image.Image:
    image = Image.new("P", (len(places), 1))
    image.putpalette([10, 20, 30, 250, 240, 230, 90, 80, 70])
    image.putdata(places)
    return image


def layered(mode: str, value: int, alpha: list[int]) -> Image.Image:
    image = Image.new(mode, (len(alpha), 1), (value,) * len(mode))
    image.putalpha(Image.fromarray(np.array([alpha], dtype=np.uint8)))
    return image


@pytest.mark.parametrize(
    ("image", "options", "expected"),
    [
        # Transparent parts are black, half transparent ones half as bright.
        (layered("RGBA", 255, [0, 128, 255]), {}, [0, 128, 255]),
        (layered("LA", 200, [0, 255, 51]), {}, [0, 200, 40]),
        (palette(0, 1, 2), {"transparency": 1}, [(10, 20, 30), (0, 0, 0), (90, 80, 70)]),
        (
            palette(0, 1, 2),
            {"transparency": bytes([255, 0, 255])},
            [(10, 20, 30), (0, 0, 0), (90, 80, 70)],
        ),
        (palette(1, 0), {}, [(250, 240, 230), (10, 20, 30)]),
        (Image.fromarray(np.array([[0, 50, 250]], dtype=np.uint8)), {}, [0, 50, 250]),
        (Image.fromarray(np.array([[True, False]])), {}, [255, 0]),
    ],
)
def test_every_mode_becomes_rgb(
    tmp_path: Path, image: Image.Image, options: dict[str, Any], expected: list[Any]
) -> None:
    image.save(tmp_path / "a.png", **options)
    decoded = pixels(decode_image(tmp_path / "a.png"))[0]
    grey = not isinstance(expected[0], tuple)
    np.testing.assert_array_equal(decoded, [(e,) * 3 for e in expected] if grey else expected)


@pytest.mark.parametrize(
    ("dtype", "mode", "suffix"),
    [("uint16", "I;16", "png"), ("int32", "I", "tif"), ("float32", "F", "tif")],
)
def test_deep_grey_is_scaled_to_its_own_range(
    tmp_path: Path, dtype: str, mode: str, suffix: str
) -> None:
    values = np.array([[1000, 1500], [2000, 3000]], dtype=dtype)
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(values).save(path)
    with Image.open(path) as opened:
        assert opened.mode == mode
    decoded = pixels(decode_image(path))
    for channel in range(3):
        np.testing.assert_array_equal(decoded[..., channel], [[0, 64], [128, 255]])


def test_a_constant_deep_image_and_not_finite_values_are_black() -> None:
    constant = Image.fromarray(np.full((2, 2), 70_000, dtype=np.int32))
    assert not pixels(to_rgb(constant)).any()
    values = np.array([[np.nan, 1.0], [np.inf, 3.0]], dtype=np.float32)
    np.testing.assert_array_equal(
        pixels(to_rgb(Image.fromarray(values)))[..., 0], [[0, 0], [0, 255]]
    )
    assert not pixels(to_rgb(Image.fromarray(np.full((2, 2), np.nan, dtype=np.float32)))).any()


def test_cmyk_jpeg_keeps_its_colours(tmp_path: Path) -> None:
    Image.new("RGB", (32, 32), (220, 40, 60)).convert("CMYK").save(tmp_path / "a.jpg", quality=95)
    with Image.open(tmp_path / "a.jpg") as opened:
        assert opened.mode == "CMYK"
    for least in (None, 8):
        colour = pixels(decode_image(tmp_path / "a.jpg", least))[4, 4].astype(int)
        assert np.abs(colour - [220, 40, 60]).max() <= 6


@pytest.mark.parametrize("min_side", [None, 20])
def test_exif_orientation_is_applied(tmp_path: Path, min_side: int | None) -> None:
    # Orientation 6: the camera was turned, so the stored left edge is shown at the top.
    stored = np.zeros((40, 80, 3), dtype=np.uint8)
    stored[:, :20] = 250
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(stored).save(tmp_path / "a.jpg", exif=exif, quality=95)
    shown = pixels(decode_image(tmp_path / "a.jpg", min_side)).astype(int)
    height, width = shown.shape[:2]
    assert height == 2 * width
    assert shown[: height // 5].mean() > 200
    assert shown[height // 2 :].mean() < 20


def damaged(kind: str, folder: Path) -> Path:
    """A file that is no readable image."""
    path = folder / f"{kind}.jpg"
    whole = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(whole, "PNG" if kind == "cut_png" else "JPEG")
    data = whole.getvalue()
    if kind.startswith("cut"):
        path.write_bytes(data[: len(data) // 2])
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("404: Not Found\n")
    elif kind == "folder":
        path.mkdir()
    return path


@pytest.mark.parametrize("kind", ["cut_jpg", "cut_png", "empty", "text", "folder"])
def test_a_damaged_file_is_one_sentence_with_its_name_and_what_to_do(
    tmp_path: Path, kind: str
) -> None:
    path = damaged(kind, tmp_path)
    with pytest.raises(UserError, match="copy or download it again") as caught:
        decode_image(path, 32)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_names_the_file_and_the_audit(tmp_path: Path) -> None:
    path = tmp_path / "no.png"
    message = f"The image {re.escape(str(path))} does not exist: .*amif_lightning audit"
    with pytest.raises(UserError, match=message):
        decode_image(path)


def test_more_pixels_than_allowed_are_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.png", "a.jpg"):  # a draft has fewer, but not in the memory of its decoder
        Image.new("L", (50, 50)).save(tmp_path / name)
        decode_image(tmp_path / name, 8, max_pixels=2500)
        match = rf"{name} has 2500 pixels, more than the 2499 that max_image_pixels allows: reduce"
        with pytest.raises(UserError, match=match):
            decode_image(tmp_path / name, 8, max_pixels=2499)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(UserError, match=r"a\.png is too large for Pillow .*2500 pixels.*: reduce"):
        decode_image(tmp_path / "a.png")


MEMORY = """
import resource, sys
from pathlib import Path
from amif_lightning.data.preprocessing.images import decode_image

small, large = (Path(name) for name in sys.argv[1:])
decode_image(small, 32)  # loads Pillow's plugins
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
decode_image(large, 32)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


@pytest.mark.parametrize("kind", ["uint16", "float32", "RGBA", "RGB"])
def test_an_image_takes_eight_bytes_a_pixel_at_most(tmp_path: Path, kind: str) -> None:
    """RGB with its copy; deep grey values had five copies of 8 bytes each."""
    suffix, side = "tif" if kind == "float32" else "png", 3000
    for name, pixels in (("small", 8), ("large", side)):
        if kind.startswith("RGB"):
            image = Image.new(kind, (pixels, pixels), (1, 2, 3, 4)[: len(kind)])
        else:
            image = Image.fromarray(np.arange(pixels * pixels).reshape(pixels, -1).astype(kind))
        image.save(tmp_path / f"{name}.{suffix}")
    files = [str(tmp_path / f"{name}.{suffix}") for name in ("small", "large")]
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, *files], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 8 * side * side + 40 * 2**20  # and one block of doubles


@pytest.mark.parametrize("rows", [1, 7, 600])
def test_deep_values_of_many_blocks_are_scaled_as_a_whole(
    monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    values = np.random.default_rng(0).integers(0, 60_000, (600, 50), dtype=np.uint16)
    for deep in (values, values.astype(np.int32) - 30_000, values.astype(np.float32) / 7):
        low, high = float(deep.min()), float(deep.max())
        expected = ((deep.astype(np.float64) - low) * (255.0 / (high - low))).round()
        monkeypatch.setattr(images, "_BLOCK", rows * 50)
        np.testing.assert_array_equal(pixels(to_rgb(Image.fromarray(deep)))[..., 0], expected)


def test_transparent_parts_are_blended_with_black_as_by_pillow() -> None:
    value, alpha = np.meshgrid(*[np.arange(256, dtype=np.uint8)] * 2)
    image = Image.fromarray(np.stack([value, value[::-1], value[:, ::-1], alpha], axis=-1))
    black = Image.new("RGBA", image.size, (0, 0, 0, 255))
    expected = np.asarray(Image.alpha_composite(black, image).convert("RGB"))
    np.testing.assert_array_equal(pixels(to_rgb(image)), expected)


@pytest.mark.filterwarnings("ignore")  # Pillow remarks on odd tags of files it can still read
@pytest.mark.parametrize("form", ["AVIF", "DDS", "WEBP", "JPEG2000"])
def test_any_error_of_a_decoder_is_one_sentence(tmp_path: Path, form: str) -> None:
    whole = io.BytesIO()
    smooth(24, 20).convert("RGB").save(whole, form)
    data, refused = whole.getvalue(), 0
    for place in range(0, min(len(data), 160)):
        broken = bytearray(data)
        broken[place] ^= 0xFF
        (tmp_path / "a.img").write_bytes(broken)
        try:
            decode_image(tmp_path / "a.img", 8)
        except UserError as error:
            assert "\n" not in str(error)  # noqa: PT017 (a change may also be harmless)
            refused += 1
    assert refused > 10


@pytest.mark.filterwarnings("ignore")  # Pillow remarks on odd tags of files it can still read
@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "TIFF", "BMP"])
def test_no_corruption_raises_anything_but_a_sentence(
    tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10_000)  # a broken header may ask for gigabytes
    whole = io.BytesIO()
    smooth(24, 20).convert("P" if form == "GIF" else "RGB").save(whole, form)
    data = whole.getvalue()
    rng = np.random.default_rng(1)
    path = tmp_path / "a.img"
    for trial in range(150):
        broken = bytearray(data[: rng.integers(1, len(data))] if trial % 3 == 0 else data)
        # Headers and tables are at the beginning (TIFF: at the end), pixels in between.
        for _ in range(4):
            place = int(rng.integers(min(len(broken), 120))) * (1 if trial % 2 else -1)
            broken[place % len(broken)] = rng.integers(256)
        path.write_bytes(broken)
        with contextlib.suppress(UserError):  # a changed pixel is no damage that could be seen
            assert decode_image(path, 8).mode == "RGB"


@pytest.mark.parametrize("size", [(1600, 1200), (1000, 1999), (801, 3000), (372, 500), (120, 90)])
@pytest.mark.parametrize("min_side", [100, 372])
def test_a_drafted_jpeg_is_never_smaller_than_asked(
    tmp_path: Path, size: tuple[int, int], min_side: int
) -> None:
    smooth(*size).save(tmp_path / "a.jpg", quality=92)
    decoded = decode_image(tmp_path / "a.jpg", min_side)
    assert min(decoded.size) >= min(min_side, *size)
    # The next smaller of libjpeg's scales (1, 2, 4, 8) would be too small or does not exist.
    factor = round(size[0] / decoded.width)
    assert factor in (1, 2, 4, 8)
    assert factor == 8 or min(size) / (2 * factor) < min_side


def test_large_jpegs_are_drafted_and_other_files_decoded_whole(tmp_path: Path) -> None:
    smooth(1600, 1200).save(tmp_path / "a.jpg")
    smooth(1600, 1200).save(tmp_path / "a.png")
    assert decode_image(tmp_path / "a.jpg", 290).size == (400, 300)
    assert decode_image(tmp_path / "a.jpg").size == (1600, 1200)
    assert decode_image(tmp_path / "a.png", 290).size == (1600, 1200)


@pytest.mark.parametrize(
    # 1100 is no multiple of 8: the drafted image ends up to half a reduced pixel later.
    ("size", "mean"),
    [((1600, 1200), 0.5), ((1500, 1100), 2.5)],
)
def test_a_drafted_image_looks_like_the_whole_one(
    tmp_path: Path, size: tuple[int, int], mean: float
) -> None:
    smooth(*size).save(tmp_path / "a.jpg", quality=92)
    drafted = decode_image(tmp_path / "a.jpg", 96)
    assert min(drafted.size) < 200
    whole = to_square(decode_image(tmp_path / "a.jpg"), 96).int()
    difference = (whole - to_square(drafted, 96).int()).abs().float()
    assert difference.mean() < mean
    assert difference.max() < 12


def test_to_square_takes_the_whole_image_in_rgb_order() -> None:
    wide = np.zeros((10, 40, 3), dtype=np.uint8)
    wide[:, :20] = (200, 100, 50)
    square = to_square(Image.fromarray(wide), 8)
    assert square.shape == (3, 8, 8)
    assert square.dtype == torch.uint8
    assert square[:, 4, 1].tolist() == [200, 100, 50]
    assert square[:, 4, 6].tolist() == [0, 0, 0]


def test_kept_images_equal_decoded_ones_and_are_read_once(tmp_path: Path) -> None:
    paths = [tmp_path / f"{i}.jpg" for i in range(3)]
    for i, path in enumerate(paths):
        smooth(200 + 30 * i, 150).save(path)
    fresh = [to_square(decode_image(path, 40), 40) for path in paths]
    kept = DecodedImages(paths, 40)
    for i in (2, 0, 1):
        assert torch.equal(kept.get(paths[i]), fresh[i])
    for path in paths:
        path.unlink()
    assert all(torch.equal(kept.get(path), one) for path, one in zip(paths, fresh, strict=True))


def test_a_cache_that_does_not_fit_says_how_to_do_without(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("unable to allocate shared memory(shm): No space left on device (28)")

    monkeypatch.setattr(torch.Tensor, "share_memory_", full)
    with pytest.raises(UserError, match=r"cache_images needs 0\.0 GiB .*\.cache_images false"):
        DecodedImages([Path("a"), Path("b")], 16)
