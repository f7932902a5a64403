"""Reduced copies: their size, restarts, changed images, and the loaders that use them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from amif_lightning.data.files import reduced_copies
from amif_lightning.data.files.reduced_copies import check_copies, resize_all, resized_path
from amif_lightning.data.preprocessing.images import decode_image
from amif_lightning.errors import UserError
from tests.data.tiny_release import tiny
from tests.data.tiny_studies import TinyStudies, tiny_studies


def smooth(path: Path, width: int, height: int, mode: str = "L") -> Path:
    """An image without sharp edges, which JPEG keeps well."""
    row = np.linspace(0, 200, width)[None] + np.linspace(0, 55, height)[:, None]
    image = Image.fromarray(row.astype(np.uint8)).convert(mode)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
    return path


@pytest.fixture
def images(tmp_path: Path) -> dict[str, Path]:
    folder = tmp_path / "set"
    return {
        "Set/a.jpg": smooth(folder / "a.jpg", 90, 120),
        "Set/sub/b.png": smooth(folder / "sub" / "b.png", 200, 50, "RGB"),
        "Set/c.JPEG": smooth(folder / "c.JPEG", 20, 30),
    }


def state(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        path.relative_to(folder).as_posix(): (path.stat().st_mtime_ns, path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_short_sides_and_names(images: dict[str, Path], tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    result = resize_all(images, cache, short_side=40, workers=0)
    assert (result.made, result.kept, result.failed) == (3, 0, {})
    assert sorted(state(cache)) == ["Set/a.jpg", "Set/c.JPEG", "Set/sub/b.png.jpg"]
    sizes = {}
    for name in images:
        with Image.open(resized_path(cache, name)) as copy:
            sizes[name] = copy.size
            assert (copy.format, copy.mode) == ("JPEG", "L")  # grey images stay grey
    assert sizes == {"Set/a.jpg": (40, 53), "Set/sub/b.png": (160, 40), "Set/c.JPEG": (20, 30)}
    with Image.open(images["Set/a.jpg"]) as original:
        small = np.asarray(original.resize((40, 53), Image.Resampling.BOX), dtype=float)
    reduced = np.asarray(Image.open(resized_path(cache, "Set/a.jpg")), dtype=float)
    assert np.abs(small - reduced).mean() < 2


def test_a_full_disk_leaves_no_part_of_a_copy(
    images: dict[str, Path], tmp_path: Path, limit_files: Callable[[int], None]
) -> None:
    limit_files(300)
    with pytest.raises(UserError, match=r"a\.jpg cannot be written \(File too large; .* MB free"):
        resize_all(images, tmp_path / "cache", short_side=40, workers=0)
    assert state(tmp_path / "cache") == {}


def test_a_second_call_keeps_and_a_stopped_one_goes_on(
    images: dict[str, Path], tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    first = dict(list(images.items())[:2])
    resize_all(first, cache, short_side=40, workers=0)
    before = state(cache)
    result = resize_all(images, cache, short_side=40, workers=2)
    assert (result.made, result.kept) == (1, 2)
    after = state(cache)
    assert {name: after[name] for name in before} == before
    alone = tmp_path / "alone"
    resize_all(images, alone, short_side=40, workers=0)
    assert {n: data for n, (_, data) in state(alone).items()} == {
        n: data for n, (_, data) in after.items()
    }


def test_another_image_or_setting_is_done_again(images: dict[str, Path], tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    resize_all(images, cache, short_side=40, workers=0)
    smooth(images["Set/a.jpg"], 64, 64)
    assert resize_all(images, cache, short_side=40, workers=0).made == 1
    assert resize_all(images, cache, short_side=30, workers=0).made == 3
    assert resize_all(images, cache, short_side=30, quality=80, workers=0).made == 3
    resized_path(cache, "Set/a.jpg").write_bytes(b"half a file")
    assert resize_all(images, cache, short_side=30, quality=80, workers=0).made == 1


def test_what_cannot_be_read_is_named(images: dict[str, Path], tmp_path: Path) -> None:
    images["Set/a.jpg"].write_bytes(b"no image")
    images["Set/c.JPEG"].unlink()
    result = resize_all(images, tmp_path / "cache", short_side=40, workers=0)
    assert result.made == 1
    assert set(result.failed) == {"Set/a.jpg", "Set/c.JPEG"}
    assert "does not exist" in result.failed["Set/c.JPEG"]
    assert len(state(tmp_path / "cache")) == 1


def test_deep_images_become_what_training_sees(tmp_path: Path) -> None:
    deep = np.linspace(1000, 3000, 64 * 64).reshape(64, 64).astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    resize_all({"Set/deep.png": tmp_path / "deep.png"}, tmp_path / "c", short_side=64, workers=0)
    seen = np.asarray(decode_image(tmp_path / "deep.png"), dtype=float)
    copy = np.asarray(decode_image(resized_path(tmp_path / "c", "Set/deep.png")), dtype=float)
    assert np.abs(seen - copy).max() < 8


def test_numbers_out_of_range(tmp_path: Path) -> None:
    for side, quality, workers in ((0, 90, 0), (3, 0, 0), (3, 96, 0), (3, 9, -1)):
        with pytest.raises(UserError, match="short side of at least 1"):
            resize_all({}, tmp_path, short_side=side, quality=quality, workers=workers)


def test_copies_that_cannot_serve_are_refused(images: dict[str, Path], tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    with pytest.raises(UserError, match=r"has no .*a\.jpg: run .*prepare data --data Set"):
        check_copies(cache, ["Set/a.jpg"], 30, "Set")
    resize_all(images, cache, short_side=40, workers=0)
    check_copies(cache, images, 40, "Set")  # one is smaller, since the released image is
    with pytest.raises(UserError, match="short side of 40 pixels and this run needs 41"):
        check_copies(cache, ["Set/a.jpg"], 41, "Set")
    shutil.copy(images["Set/a.jpg"], resized_path(cache, "Set/a.jpg"))
    with pytest.raises(UserError, match="not a reduced copy made by this suite"):
        check_copies(cache, ["Set/a.jpg"], 41, "Set")


def test_a_missing_copy_is_found_before_the_run(tmp_path: Path) -> None:
    data, cache = tiny(tmp_path / "set"), tmp_path / "cache"
    resize_all(data.images(), cache, short_side=16, workers=0)
    again = tiny(tmp_path / "set", resized=str(cache))
    again.setup("fit")
    for row in (again.splits.train[-1], again.splits.validation[-1]):
        lost = resized_path(cache, again.image_id_of(row))
        kept = lost.read_bytes()
        lost.unlink()
        with pytest.raises(UserError, match=rf"has no .*{lost.name}: run .*--resize 16"):
            again.setup("fit")
        again.setup("test")  # which shows neither
        lost.write_bytes(kept)


def test_a_call_for_larger_copies_that_was_stopped_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = smooth(tmp_path / "a.png", 60, 60)
    monkeypatch.setattr(reduced_copies, "_OPENED", 100)
    images, cache = {f"Set/{i:04d}.png": source for i in range(210)}, tmp_path / "cache"
    resize_all({"Set/0000.png": source}, cache, short_side=20, workers=0)
    small = resized_path(cache, "Set/0000.png")
    for name in list(images)[1:]:
        shutil.copy(small, resized_path(cache, name))
    resize_all(dict(list(images.items())[:200]), cache, short_side=40, workers=0)
    with pytest.raises(UserError, match="short side of 20 pixels and this run needs 40"):
        check_copies(cache, images, 40, "Set")
    check_copies(cache, list(images)[:200], 40, "Set")
    check_copies(cache, [], 40, "Set")


@pytest.mark.parametrize("cached", [True, False])
def test_questions_are_asked_of_the_copies(tmp_path: Path, cached: bool) -> None:
    data = tiny(tmp_path / "set")
    released = [batch.images for batch in data.val_dataloader()]
    cache = tmp_path / "cache"
    resize_all(data.images(), cache, short_side=16, quality=95, workers=0)
    again = tiny(tmp_path / "set", resized=str(cache), cache_images=cached)
    with pytest.raises(UserError, match="this run needs 32"):
        tiny(tmp_path / "set", resized=str(cache), image_size=32).setup("fit")
    again.setup("fit")
    shutil.rmtree(tmp_path / "set")  # no released image is opened
    shown = [batch.images for batch in again.val_dataloader()]
    assert len(list(again.train_dataloader())) > 0
    assert [s.shape for s in shown] == [r.shape for r in released]
    difference = torch.cat(shown) - torch.cat(released)
    assert 0 < difference.abs().mean() < 0.5


def test_studies_show_the_copies(tmp_path: Path) -> None:
    release = tiny_studies(tmp_path / "set")
    cache = tmp_path / "cache"
    data = TinyStudies(tmp_path / "set", release, augmentation="none", resized=str(cache))
    with pytest.raises(UserError, match="run `python -m amif_lightning prepare data"):
        data.setup("fit")
    resize_all(data.images(), cache, short_side=32, workers=0)
    data.setup("fit")
    shutil.rmtree(tmp_path / "set")
    assert sum(len(batch) for batch in data.train_dataloader()) == 8
    assert sum(len(batch) for batch in data.val_dataloader()) == 5
