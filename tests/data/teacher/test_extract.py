"""Running a teacher in parts: order, interruption, and only what is missing is computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from amif_lightning.data.teacher import extract as teacher_parts
from amif_lightning.data.teacher.extract import compute
from amif_lightning.data.teacher.networks import FrozenTeacher
from amif_lightning.errors import UserError


def shade(image: Image.Image) -> Tensor:
    """A prepared image: its red value alone."""
    red = image.getpixel((0, 0))
    assert isinstance(red, tuple)
    return torch.tensor([float(red[0])])


class Toy(FrozenTeacher):
    """A teacher whose vectors encode its input and, slightly, the rest of the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.scale, self.image_size, self.max_tokens = 1.0, 8, 3
        self.prepare = shade
        self.seen: list[float] = []

    def _rows(self, values: Tensor) -> Tensor:
        self.seen += values.tolist()
        angles = values / 100 + values.sum() * 1e-6  # as the last bits of a matrix product
        return torch.stack([angles.cos(), angles.sin()], dim=1)

    def image(self, pixels: Tensor) -> Tensor:
        return self._rows(pixels[:, 0])

    def text(self, texts: Sequence[str]) -> Tensor:
        return self._rows(torch.tensor([float(len(text)) for text in texts]))

    def cut(self, texts: Sequence[str]) -> int:
        return sum(len(text.split()) > self.max_tokens for text in texts)


class Stops(Toy):
    """Is interrupted before its n-th batch."""

    def __init__(self, batches: int) -> None:
        super().__init__()
        self.left = batches

    def _rows(self, values: Tensor) -> Tensor:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return super()._rows(values)


IMAGES, TEXTS = 23, 9


Data = tuple[Mapping[str, Path], Mapping[str, str]]


@pytest.fixture
def data(tmp_path: Path) -> Data:
    """Images and texts."""
    (tmp_path / "images").mkdir()
    images = {f"d/{n:02d}.png": tmp_path / "images" / f"{n}.png" for n in range(IMAGES)}
    for number, path in enumerate(images.values()):
        Image.new("RGB", (4, 4), (number, 0, 0)).save(path)
    return images, {f"d/{number}": "x " * number for number in range(TEXTS)}


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teacher_parts, "BATCH", 2)
    monkeypatch.setattr(teacher_parts, "PART", 5)  # batches of 2, 2 and 1


def test_rows_are_those_of_their_ids(data: Data, tmp_path: Path) -> None:
    image, text = compute(Toy(), *data, tmp_path / "parts", 0)
    angles = torch.atan2(image[:, 1], image[:, 0])
    torch.testing.assert_close(angles, torch.arange(IMAGES) / 100, atol=2e-4, rtol=0)
    assert text.shape == (TEXTS, 2)
    assert image.dtype == text.dtype == torch.float32


def test_large_jpegs_are_decoded_at_full_size(data: Data, tmp_path: Path) -> None:
    """Decoded at reduced size they would give other labels."""
    Image.effect_noise((900, 700), 50).save(tmp_path / "large.jpg")
    sizes: list[tuple[int, int]] = []

    def prepare(image: Image.Image) -> Tensor:
        sizes.append(image.size)
        return torch.zeros(1)

    teacher = Toy()
    teacher.prepare = prepare
    compute(teacher, {"d/large.jpg": tmp_path / "large.jpg"}, data[1], tmp_path / "parts", 0)
    assert sizes == [(900, 700)]


def test_workers_change_nothing(data: Data, tmp_path: Path) -> None:
    alone = compute(Toy(), *data, tmp_path / "one", 0)
    helped = compute(Toy(), *data, tmp_path / "two", 2)
    assert all(torch.equal(a, b) for a, b in zip(alone, helped, strict=True))


@pytest.mark.parametrize("batches", [1, 3, 9, 16])  # amid a part, after one, among the images
def test_what_was_done_before_an_interruption_is_not_done_again(
    batches: int, data: Data, tmp_path: Path
) -> None:
    whole = compute(Toy(), *data, tmp_path / "whole", 0)
    parts, first, second = tmp_path / "parts", Stops(batches), Toy()
    with pytest.raises(KeyboardInterrupt):
        compute(first, *data, parts, 0)
    resumed = compute(second, *data, parts, 0)
    assert all(torch.equal(a, b) for a, b in zip(whole, resumed, strict=True))
    repeated = len(first.seen) + len(second.seen) - IMAGES - TEXTS
    assert 0 <= repeated < 5  # less than one part


def test_a_damaged_part_is_made_again(data: Data, tmp_path: Path) -> None:
    whole = compute(Toy(), *data, tmp_path, 0)
    files = sorted(tmp_path.glob("*.npy"))
    assert len(files) == 5 + 2
    files[1].write_bytes(files[1].read_bytes()[:-1])
    files[2].write_bytes(b"")
    files[3].write_bytes(files[4].read_bytes())  # of the last, shorter part
    again = Toy()
    assert torch.equal(compute(again, *data, tmp_path, 0)[0], whole[0])
    assert again.seen == [float(number) for number in range(5, 20)]


def test_a_run_draws_the_same_numbers_with_and_without(data: Data, tmp_path: Path) -> None:
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    compute(Toy(), *data, tmp_path / "parts", 0)
    assert torch.equal(torch.rand(1), expected)


def test_cut_texts_are_counted(
    data: Data, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    compute(Toy(), *data, tmp_path / "parts", 0)
    assert "limit is 3 tokens: 5 of 9 texts are cut" in capsys.readouterr().out


class TwoWidths(Toy):
    """Text vectors are wider than image vectors."""

    def text(self, texts: Sequence[str]) -> Tensor:
        return torch.nn.functional.pad(super().text(texts), (0, 1))


def test_a_teacher_of_two_widths_is_found_before_it_reads_all_images(
    data: Data, tmp_path: Path
) -> None:
    teacher = TwoWidths()
    with pytest.raises(UserError, match="images of width 2 and texts of width 3"):
        compute(teacher, *data, tmp_path / "parts", 0)
    assert len(teacher.seen) == TEXTS + 2  # one batch of images


class Broken(Toy):
    """Returns a vector that is not finite for one image."""

    def image(self, pixels: Tensor) -> Tensor:
        rows = super().image(pixels)
        rows[pixels[:, 0] == 7] = torch.nan
        return rows


def test_a_vector_that_is_not_finite_names_its_image(data: Data, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"d/07\.png"):
        compute(Broken(), *data, tmp_path / "parts", 0)


def test_a_damaged_image_is_named(data: Data, tmp_path: Path) -> None:
    data[0]["d/07.png"].write_bytes(b"\x89PNG")
    with pytest.raises(UserError, match=r"7\.png is damaged"):
        compute(Toy(), *data, tmp_path / "parts", 0)
