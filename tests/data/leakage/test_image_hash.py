"""Images that two sets share, told by name and by what they show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from amif_lightning.data.leakage.image_hash import (
    ALIKE,
    BITS,
    SAME,
    Looks,
    content_pairs,
    distances,
    distinctive_names,
    same_names,
    unit,
)
from amif_lightning.data.preprocessing.images import decode_image
from tests.data.leakage.plain_look import look


def draw(path: Path, seed: int, side: int = 160) -> Path:
    """An image with structure at all scales, as photographs have and noise has not."""
    rng = np.random.default_rng(seed)
    pixels = np.zeros((side, side))
    for size in (2, 4, 8, 16):
        layer = Image.fromarray(rng.normal(size=(size, size)).astype(np.float32))
        pixels += np.asarray(layer.resize((side, side), Image.Resampling.BICUBIC)) / size**0.5
    pixels = 255 * (pixels - pixels.min()) / np.ptp(pixels)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.astype(np.uint8)).save(path)
    return path


def seen(paths: Sequence[Path]) -> Looks:
    return look({str(path): path for path in paths})


def same(images: Mapping[str, Path], others: Sequence[Path], **limits: float) -> set[str]:
    return {pair.first for pair in content_pairs(look(images), seen(others), **limits)}  # type: ignore[arg-type]  # typed by the test


def test_the_hash_is_the_sign_of_the_cosine_transform(tmp_path: Path) -> None:
    scipy_fft = pytest.importorskip("scipy.fft")
    path = draw(tmp_path / "a.png", 0, side=64)
    grey = np.asarray(decode_image(path).convert("L"), dtype=float)
    waves = scipy_fft.dctn(grey, type=2)[:16, :16].ravel()[1:]
    # scipy's constant factor is the same for all waves of type 2 without normalisation.
    assert (seen([path]).hashes[0] == (waves > np.median(waves))).all()


def test_a_copy_is_alike_and_another_image_is_not(tmp_path: Path) -> None:
    paths = [draw(tmp_path / f"{i}.png", i) for i in range(12)]
    copies = []
    for path in paths:
        with Image.open(path) as image:
            small = image.resize((93, 93)).filter(ImageFilter.GaussianBlur(0.5))
            brighter = small.point(lambda value: int(20 + 0.8 * value))
            copies.append(path.with_suffix(".jpg"))
            brighter.save(copies[-1], quality=50)
    one, other = seen(paths), seen(copies)
    between = distances(one.hashes, other.hashes)
    assert np.diag(between).max() <= ALIKE
    assert between[~np.eye(12, dtype=bool)].min() > ALIKE
    correlation = unit(one.pixels) @ unit(other.pixels).T
    assert np.diag(correlation).min() >= SAME
    assert correlation[~np.eye(12, dtype=bool)].max() < SAME


def test_the_product_of_small_copies_is_their_correlation(tmp_path: Path) -> None:
    paths = [draw(tmp_path / f"{i}.png", i, side=64) for i in range(2)]
    boxes = []
    for path in paths:
        grey = np.asarray(decode_image(path).convert("L"), dtype=float)
        boxes.append(grey.reshape(32, 2, 32, 2).mean((1, 3)).ravel())
    expected = np.corrcoef(boxes)[0, 1]  # exact means; those of the copy are whole numbers
    first, second = unit(seen(paths).pixels)
    assert first @ second == pytest.approx(expected, abs=0.01)
    assert first @ first == pytest.approx(1)


def test_a_image_of_one_shade_is_like_no_other(tmp_path: Path) -> None:
    train, test = tmp_path / "a.png", tmp_path / "b.png"
    for path in (train, test):
        Image.new("L", (80, 60), 7).save(path)
    assert same({"a.png": train}, [test]) == set()


def test_images_of_one_kind_whose_hashes_are_alike_are_told_apart(tmp_path: Path) -> None:
    # The same large shape in each, as in chest films, and a part of its own.
    base = np.asarray(Image.open(draw(tmp_path / "base.png", 0, side=128)), dtype=float)
    rows, columns = np.mgrid[0:128, 0:128] / 128
    faint, strong = tmp_path / "faint.png", tmp_path / "strong.png"
    for path, height in ((faint, 4.0), (strong, 250.0)):
        spot = height * np.exp(-((rows - 0.7) ** 2 + (columns - 0.3) ** 2) / 0.1)
        Image.fromarray(np.clip(base + spot, 0, 255).astype(np.uint8)).save(path)
    images, held_out = {"faint": faint, "strong": strong}, [tmp_path / "base.png"]
    # Whatever the hashes say: the correlation decides.
    assert same(images, held_out, max_distance=BITS) == {"faint"}
    assert same(images, held_out, max_distance=BITS, min_correlation=-1.0) == {"faint", "strong"}


def test_distances_count_differing_bits() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.random((5, BITS)) > 0.5, rng.random((7, BITS)) > 0.5
    expected = [[int((a != b).sum()) for b in second] for a in first]
    assert distances(first, second).tolist() == expected


def test_a_name_that_several_images_share_says_nothing() -> None:
    paths = ["a/Source.JPG", "b/source.jpg", "a/synpic7.jpg", "b/synpic8.png"]
    assert distinctive_names(paths) == {"a/synpic7.jpg": "synpic7", "b/synpic8.png": "synpic8"}


def test_equal_names_are_found_whatever_folder_case_or_ending() -> None:
    train = ["a/one.png", "a/two.png", "x/source.png", "y/source.png"]
    assert same_names(train, [["test/ONE.jpg", "test/source.png"]]) == {"a/one.png"}
    assert same_names(["x/source.png"], [["test/source.png"]]) == {"x/source.png"}
    assert same_names(train, []) == same_names([], [["one.jpg"]]) == set()


def test_names_are_told_apart_within_their_own_split() -> None:
    assert same_names(["b.png"], [["validation/b.png"], ["test/b.png"]]) == {"b.png"}
    assert same_names(["b.png"], [["x/b.png", "y/b.png"]]) == set()


def test_equal_content_is_found_whatever_its_size_and_name(tmp_path: Path) -> None:
    train = {str(i): draw(tmp_path / f"{i}.png", i) for i in range(4)}
    scored = [draw(tmp_path / "a.png", 1, side=100), draw(tmp_path / "b.png", 50)]
    assert same(train, scored) == {"1"}
    assert same(train, []) == same({}, scored) == set()


def test_damaged_and_missing_images_are_named(tmp_path: Path) -> None:
    path = draw(tmp_path / "a.png", 0)
    path.write_bytes(path.read_bytes()[:100])
    good = draw(tmp_path / "b.png", 1)
    found = look({"a": path, "b": good, "c": tmp_path / "absent.png"})
    assert found.names == ("b",)
    assert "damaged or truncated" in found.damaged["a"]
    assert "does not exist" in found.damaged["c"]


@pytest.mark.real_data
def test_released_copies_are_found_by_content(real_data: Path) -> None:
    from data_modules.vqa.vqa_med_2019 import read_vqa_med_2019
    from data_modules.vqa.vqa_rad import read_vqa_rad

    folders = (real_data / "vqa_rad", real_data / "vqa_med_2019")
    rad, med = (
        sorted({folder / row.image for rows in release.splits.values() for row in rows})
        for folder, release in zip(
            folders, (read_vqa_rad(folders[0]), read_vqa_med_2019(folders[1])), strict=True
        )
    )
    one, other = seen(rad), seen(med)
    found = distances(one.hashes, other.hashes)
    correlation = unit(one.pixels) @ unit(other.pixels).T
    equal = np.array([path.stem for path in rad])[:, None] == [path.stem for path in med]
    assert equal.sum() == 38
    assert found[equal].max() == 28

    def correlations(pairs: NDArray[np.bool_]) -> list[float]:
        return [float(value) for value in correlation[pairs]]

    assert min(correlations(equal)) == pytest.approx(0.9754, abs=0.001)
    others = (found <= ALIKE) & ~equal
    assert others.sum() == 10
    assert min(correlations(others)) == pytest.approx(0.9531, abs=0.001)
    number = [[int(path.stem.removeprefix("synpic")) for path in paths] for paths in (rad, med)]
    apart = [abs(number[0][i] - number[1][j]) for i, j in np.argwhere(others)]
    assert max(apart) == 3  # slices of one patient
    wide = (found <= 60) & ~equal  # where the hash confuses images, the copies do not
    assert wide.sum() == 22
    assert sum(value >= SAME for value in correlations(wide)) == 16
