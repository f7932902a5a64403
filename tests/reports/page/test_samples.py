"""Sample answers: drawn by the stated rule, with pictures where these can be had."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from amif_lightning.reports.groups import Group, collect
from amif_lightning.reports.page.samples import EACH, SIDE, Samples, draw_samples
from amif_lightning.reports.predictions import read_predictions, write_predictions

Writer = Callable[..., Path]


@pytest.fixture
def runs(write_run: Writer, tmp_path: Path) -> Path:
    """Two configurations and the pictures of their data set; one of them is damaged."""
    root = tmp_path / "data"
    (root / "images").mkdir(parents=True)
    for number in range(60):
        Image.new("L", (300, 600), number).save(root / "images" / f"image{number}.png")
    config = {"data": {"init_args": {"root": str(root)}}}
    for name in ("vqa-rad", "other"):
        path = write_run(0, experiment=name, config=config)
        file = path.with_name("predictions-test.jsonl")
        lines = [
            replace(line, image_file=f"images/{line.image}.png") for line in read_predictions(file)
        ]
        write_predictions(file, lines)
    return tmp_path / "runs"


def drawn(groups: list[Group], images: Path | None = None, *, pictures: bool = True) -> Samples:
    samples = draw_samples(groups, images, pictures=pictures)
    assert samples is not None
    return samples


def test_right_ones_and_wrong_ones_of_the_first_configuration(runs: Path) -> None:
    groups = collect(runs)
    samples = drawn(groups)
    assert [one.given[0].correct for one in samples.samples] == [True] * EACH + [False] * EACH
    assert {one.given[0].name for one in samples.samples} == {groups[0].name}
    assert all(len(one.given) == 2 for one in samples.samples)
    assert f"{groups[0].name}, seed 0" in samples.rule
    assert samples == drawn(collect(runs))  # the same again


def test_answers_are_those_of_the_prediction_files(runs: Path) -> None:
    for one in drawn(collect(runs)).samples:
        for given in one.given:
            assert (given.answer, given.shuffled) == ("yes", "no")
            assert given.probability == pytest.approx(0.6065, abs=1e-4)  # exp(-0.5)


def test_pictures_are_small_and_inside(runs: Path) -> None:
    samples = drawn(collect(runs))
    assert not samples.missing
    for one in samples.samples:
        assert one.picture is not None
        kind, data = one.picture.split(",")
        assert kind == "data:image/jpeg;base64"
        with Image.open(io.BytesIO(base64.b64decode(data))) as picture:
            assert picture.size == (SIDE // 2, SIDE)


def test_missing_and_damaged_pictures_are_counted(runs: Path, tmp_path: Path) -> None:
    for file in (tmp_path / "data" / "images").iterdir():
        file.write_bytes(b"no picture")
    samples = drawn(collect(runs))
    assert all(one.picture is None for one in samples.samples)
    assert samples.missing.startswith(f"{2 * EACH} of {2 * EACH} pictures are not shown")
    assert str(tmp_path / "data") in samples.missing


def test_a_moved_data_set_is_found_where_it_is_now(runs: Path, tmp_path: Path) -> None:
    (tmp_path / "data").rename(tmp_path / "moved")
    assert drawn(collect(runs)).missing
    assert not drawn(collect(runs), tmp_path / "moved").missing


def test_pictures_can_be_left_out(runs: Path) -> None:
    samples = drawn(collect(runs), pictures=False)
    assert all(one.picture is None for one in samples.samples)
    assert samples.missing == "The pictures were left out on request."


def test_records_from_before_picture_files_were_stored(write_run: Writer, tmp_path: Path) -> None:
    write_run(0)
    assert "test again where the records are from before" in drawn(collect(tmp_path)).missing


def test_without_predictions_there_are_none(write_run: Writer, tmp_path: Path) -> None:
    write_run(0, predictions=False)
    assert draw_samples(collect(tmp_path)) is None
