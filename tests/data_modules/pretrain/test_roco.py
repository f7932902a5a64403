"""ROCO: both versions, vanished images, and malformed lines."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from amif_lightning.data.files.tables import MALFORMED, NO_FILE
from amif_lightning.data.preprocessing.normalization import collapse
from amif_lightning.errors import UserError
from data_modules.pretrain.roco import ROCO, TWICE
from tests.fakes_corpora import QUICK, ROCO_V1, reasons, write_roco_v1, write_roco_v2

OPTIONS = QUICK | {"batch_size": 2}


def texts(data: ROCO) -> dict[str, str]:
    rows = (row for split in data.release.splits.values() for row in split)
    return {row.study_id: row.text for row in rows}


@pytest.mark.parametrize("subsets", ["radiology", "all"])
@pytest.mark.parametrize("inner", ["", "data"])
def test_v1_less_vanished_images(tmp_path: Path, subsets: Any, inner: str) -> None:
    write_roco_v1(tmp_path)
    data = ROCO(str(tmp_path / inner), subsets=subsets, **OPTIONS)
    wanted = [row for row in ROCO_V1 if subsets == "all" or row[1] == "radiology"]
    assert texts(data) == {f"ROCO/{row[2]}": collapse(row[3]) for row in wanted if row[4]}
    assert reasons(data) == {NO_FILE: sum(not row[4] for row in wanted)}
    for split in ("train", "validation", "test"):
        there = [row for row in wanted if row[0] == split and row[4]]
        assert len(data.rows(split)) == len(there)
    assert all(p.file.is_file() for row in data.splits.train for p in row.images)
    assert data.splits.held_out_from_train is False
    assert texts(data)["ROCO/ROCO_00003"] == "Radiograph of the chest, caf\u00e9-au-lait."


@pytest.mark.parametrize("folders", ["{}", "{}_images"])
def test_v2(tmp_path: Path, folders: str) -> None:
    write_roco_v2(tmp_path)
    for name in ("train", "valid", "test"):
        (tmp_path / name).rename(tmp_path / folders.format(name))
    data = ROCO(str(tmp_path), version="v2", **OPTIONS)
    assert [len(data.rows(split)) for split in ("train", "validation", "test")] == [3, 2, 2]
    row = data.splits.validation[0]
    assert row.study_id == "ROCO/ROCOv2_2023_valid_000001"
    assert row.text == 'CT, "axial", of valid case 1. Arrow: cyst.'
    assert row.images[0].file.is_file()
    assert reasons(data) == {NO_FILE: 1}
    assert data.selection()["version"] == "v2"


def test_no_image_is_opened_before_the_first_batch(tmp_path: Path) -> None:
    write_roco_v1(tmp_path)
    data = ROCO(str(tmp_path), **OPTIONS)
    data.setup("fit")
    assert next(iter(data.train_dataloader())).first.shape == (2, 3, 16, 16)
    for image in tmp_path.rglob("*.jpg"):
        image.write_bytes(b"")
    assert len(ROCO(str(tmp_path), **OPTIONS).splits.train) == 3


def test_what_is_missing_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"does not exist.*download the data set from https://github"
    ):
        ROCO(str(tmp_path / "none"), **OPTIONS).read_release()
    with pytest.raises(UserError, match=r"captions\.txt is not there.*init_args\.version"):
        ROCO(str(tmp_path), **OPTIONS).read_release()
    with pytest.raises(UserError, match=r"train_captions\.csv is not there.*zenodo"):
        ROCO(str(tmp_path), version="v2", **OPTIONS).read_release()
    with pytest.raises(UserError, match="ROCO v2 only has radiology"):
        ROCO(version="v2", subsets="all", **OPTIONS)
    write_roco_v1(tmp_path)
    (tmp_path / "data" / "test" / "radiology" / "captions.txt").unlink()
    with pytest.raises(UserError, match="no caption of the test split has its image"):
        ROCO(str(tmp_path), **OPTIONS).setup("test")
    shutil.rmtree(tmp_path / "data" / "train" / "radiology" / "images")
    with pytest.raises(UserError, match=r"does not exist, so run its scripts/fetch\.py"):
        ROCO(str(tmp_path), **OPTIONS).read_release()


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"ROCO_00002\t Again.", TWICE),
        (b"ROCO_00099\tGone.", NO_FILE),
        (b"ROCO_00004\t", TWICE),
        (b"ROCO_00005", MALFORMED),
        (b"../x\tA.", MALFORMED),
        (b"\t", ""),
        (b"a\tb\0", MALFORMED),
        (b"a\t\xff", MALFORMED),
    ],
)
def test_each_bad_line_has_its_reason(tmp_path: Path, line: bytes, reason: str) -> None:
    write_roco_v1(tmp_path)
    good = texts(ROCO(str(tmp_path), **OPTIONS))
    with (tmp_path / "data" / "train" / "radiology" / "captions.txt").open("ab") as stream:
        stream.write(line)
    data = ROCO(str(tmp_path), **OPTIONS)
    assert texts(data) == good
    assert reasons(data) == Counter([NO_FILE, *([reason] if reason else [])])
