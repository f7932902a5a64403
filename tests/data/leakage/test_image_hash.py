"""Images that two sets share, found by name and by content."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.fft
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from amif_lightning.data.leakage import image_hash
from amif_lightning.data.leakage.image_hash import (
    BITS,
    MAX_DISTANCE,
    MIN_CORRELATION,
    Looks,
    content_pairs,
    name_pairs,
    unit,
)
from amif_lightning.data.preprocessing.images import decode_image
from tests.data.leakage.plain_look import content_pairs as plain_pairs
from tests.data.leakage.plain_look import distances, generated, look


def draw(path: Path, seed: int, side: int = 160) -> Path:
    """An image with structure at all scales, unlike noise."""
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
    path = draw(tmp_path / "a.png", 0, side=64)
    grey = np.asarray(decode_image(path).convert("L"), dtype=float)
    waves = scipy.fft.dctn(grey, type=2)[:16, :16].ravel()[1:]
    # scipy's constant factor is the same for all waves of type 2 without normalisation.
    assert (seen([path]).hashes[0] == (waves > np.median(waves))).all()


def test_a_copy_is_a_near_duplicate_and_another_image_is_not(tmp_path: Path) -> None:
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
    assert np.diag(between).max() <= MAX_DISTANCE
    assert between[~np.eye(12, dtype=bool)].min() > MAX_DISTANCE
    correlation = unit(one.pixels) @ unit(other.pixels).T
    assert np.diag(correlation).min() >= MIN_CORRELATION
    assert correlation[~np.eye(12, dtype=bool)].max() < MIN_CORRELATION


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


def test_the_correlation_separates_images_with_similar_hashes(tmp_path: Path) -> None:
    # The same large shape in each, as in chest films, and a part that differs.
    base = np.asarray(Image.open(draw(tmp_path / "base.png", 0, side=128)), dtype=float)
    rows, columns = np.mgrid[0:128, 0:128] / 128
    faint, strong = tmp_path / "faint.png", tmp_path / "strong.png"
    for path, height in ((faint, 4.0), (strong, 250.0)):
        spot = height * np.exp(-((rows - 0.7) ** 2 + (columns - 0.3) ** 2) / 0.1)
        Image.fromarray(np.clip(base + spot, 0, 255).astype(np.uint8)).save(path)
    images, held_out = {"faint": faint, "strong": strong}, [tmp_path / "base.png"]
    # Any hash distance is allowed here: the correlation decides.
    assert same(images, held_out, max_distance=BITS) == {"faint"}
    assert same(images, held_out, max_distance=BITS, min_correlation=-1.0) == {"faint", "strong"}


@pytest.mark.parametrize("limits", [{}, {"max_distance": 0}, {"max_distance": 130}])
def test_pairs_equal_those_of_a_table_of_all(
    limits: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_hash, "_TILE", 50)  # the sets end inside a tile and a block
    first = generated(70, 1)
    second = generated(120, 2, first, 90)
    expected = plain_pairs(first, second, min_correlation=0.5, **limits)
    assert len(expected) > 1
    assert content_pairs(first, second, min_correlation=0.5, **limits) == expected
    some = set(first.names[::3]), set(second.names[5:])
    assert content_pairs(first, second, *some, min_correlation=0.5, **limits) == [
        pair for pair in expected if pair.first in some[0] and pair.second in some[1]
    ]


@pytest.mark.slow
def test_two_large_corpora_need_less_than_2_gib() -> None:
    program = (
        "import resource, time\n"
        "from amif_lightning.data.leakage.image_hash import Looks, content_pairs\n"
        "from tests.data.leakage.plain_look import content_pairs as plain, generated\n"
        "first = generated(377_000, 1)\n"
        "second = generated(377_000, 2, first, 300)\n"
        "start = time.monotonic()\n"
        "found = content_pairs(first, second)\n"
        "taken = time.monotonic() - start\n"
        "some, others = slice(0, 300 * 37, 37), slice(0, 300)\n"
        "few = Looks(first.names[some], first.hashes[some], first.pixels[some], {})\n"
        "copies = Looks(second.names[others], second.hashes[others], second.pixels[others], {})\n"
        "print(len(found), found == plain(few, copies), f'{taken:.0f} s')\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    pairs, peak = done.stdout.splitlines()
    number, equal, *_ = pairs.split()
    assert (int(number) > 30, equal) == (True, "True")
    assert int(peak) < 2048  # MiB


@pytest.mark.parametrize(
    ("train", "held_out", "found"),
    [
        (["a/one.png", "a/two.png"], [["test/ONE.jpg"]], {"a/one.png"}),
        (["x/source.png", "y/source.png"], [["test/source.png"]], set()),  # identifies none
        (["x/source.png"], [["test/source.png"]], {"x/source.png"}),
        (["b.png"], [["validation/b.png"], ["test/b.png"]], {"b.png"}),  # once in each split
        (["b.png"], [["x/b.png", "y/b.png"]], set()),
        (["b.png"], [], set()),
        ([], [["b.png"]], set()),
    ],
)
def test_distinctive_names_are_found_whatever_folder_case_or_ending(
    train: list[str], held_out: list[list[str]], found: set[str]
) -> None:
    assert {path for path, _ in name_pairs(train, held_out)} == found


def test_equal_content_is_found_whatever_its_size_and_name(tmp_path: Path) -> None:
    train = {str(i): draw(tmp_path / f"{i}.png", i) for i in range(4)}
    scored = [draw(tmp_path / "a.png", 1, side=100), draw(tmp_path / "b.png", 50)]
    for path in (tmp_path / "shade.png", tmp_path / "other.png"):  # a single shade matches nothing
        Image.new("L", (80, 60), 7).save(path)
    train["shade"] = tmp_path / "shade.png"
    scored.append(tmp_path / "other.png")
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
    from data_modules import VQARAD, VQAMed2019

    modules = VQARAD(str(real_data / "vqa_rad")), VQAMed2019(str(real_data / "vqa_med_2019"))
    rad, med = (sorted(module.images().values()) for module in modules)
    one, other = seen(rad), seen(med)
    found = distances(one.hashes, other.hashes)
    correlation = unit(one.pixels) @ unit(other.pixels).T
    equal = np.array([path.stem for path in rad])[:, None] == [path.stem for path in med]
    assert equal.sum() == 38
    assert found[equal].max() == 28

    def correlations(pairs: NDArray[np.bool_]) -> list[float]:
        return [float(value) for value in correlation[pairs]]

    assert min(correlations(equal)) == pytest.approx(0.9754, abs=0.001)
    others = (found <= MAX_DISTANCE) & ~equal
    assert others.sum() == 10
    assert min(correlations(others)) == pytest.approx(0.9531, abs=0.001)
    number = [[int(path.stem.removeprefix("synpic")) for path in paths] for paths in (rad, med)]
    apart = [abs(number[0][i] - number[1][j]) for i, j in np.argwhere(others)]
    assert max(apart) == 3  # slices of one patient
    wide = (found <= 60) & ~equal  # where the hash confuses images, the copies do not
    assert wide.sum() == 22
    assert sum(value >= MIN_CORRELATION for value in correlations(wide)) == 16
