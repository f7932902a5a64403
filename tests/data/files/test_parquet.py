"""Parquet files: streamed, unpacked once, every image once, and damaged rows are counted."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amif_lightning.data.files import parquet
from amif_lightning.data.files.parquet import (
    DAMAGED,
    NO_IMAGE,
    NO_TEXT,
    ParquetQuestions,
    find_parquet,
)
from amif_lightning.data.preprocessing.images import decode_image
from amif_lightning.errors import UserError
from tests.data.files.parquet_files import SCHEMA, image, row, write_parquet


def questions(root: Path) -> ParquetQuestions:
    return ParquetQuestions("Set", find_parquet(root), root / "unpacked")


def test_rows_and_images_are_those_of_the_files(tmp_path: Path) -> None:
    other = image(1, compress_level=0)  # the same pixels in another file
    assert other != image(1)
    rows = [row(1, "Is it\tred?", " Yes "), row(2, "Where?", "liver"), row(1, "Why?", "no", other)]
    write_parquet(tmp_path, {"train": rows, "test": [row(3, "What?", "cell")]})
    made = questions(tmp_path)
    made.prepare()
    splits, dropped = made.read()
    assert not dropped
    assert [r.question_id for r in splits["train"]] == [f"Set/train/{i}" for i in range(3)]
    first, second, third = splits["train"]
    assert (first.question, first.answer, first.references) == ("Is it red?", "Yes", ("yes",))
    assert first.image_key == third.image_key != second.image_key
    assert made.file_of(first).read_bytes() == image(1)  # the bytes as they were stored
    seen = decode_image(made.file_of(first))
    pixels = hashlib.sha256(f"{seen.size} ".encode() + seen.tobytes()).hexdigest()
    assert first.image_key == pixels
    assert len(list((made.folder / "pictures").iterdir())) == 3


def test_unusable_rows_are_counted_and_keep_their_number(tmp_path: Path) -> None:
    rows = [
        row(1, None, "a"),
        row(1, "?", "a"),
        row(1, "A?", " . "),
        row(None, "A?", "a"),
        row(None, "A?", "a", b"no image"),
        row(None, "A?", "a", image(1, "JPEG")[:150]),
        row(1, "Good?", "yes"),
    ]
    write_parquet(tmp_path, {"train": rows})
    made = questions(tmp_path)
    made.prepare()
    splits, dropped = made.read()
    assert [r.question_id for r in splits["train"]] == ["Set/train/6"]
    assert Counter(d.reason for d in dropped) == {NO_TEXT: 3, NO_IMAGE: 1, DAMAGED: 2}


def test_an_interrupted_unpacking_ends_as_an_uninterrupted_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_parquet(tmp_path, {"train": [row(i, f"{i} A?", "a") for i in range(6)]})
    made = questions(tmp_path)
    real = parquet._rows

    def breaks(*arguments: Any) -> Any:
        for number, values in enumerate(real(*arguments)):
            if number == 4:
                raise KeyboardInterrupt
            yield values

    monkeypatch.setattr(parquet, "_rows", breaks)
    with pytest.raises(KeyboardInterrupt):
        made.prepare()
    with pytest.raises(UserError, match="are not unpacked in"):
        made.read()
    monkeypatch.undo()
    written = {p.name: p.stat().st_mtime_ns for p in (made.folder / "pictures").iterdir()}
    assert len(written) == 4
    made.prepare()
    again = {p.name: p.stat().st_mtime_ns for p in (made.folder / "pictures").iterdir()}
    assert len(again) == 6
    assert written.items() <= again.items()  # images that were there are kept
    assert len(made.read()[0]["train"]) == 6


@pytest.mark.parametrize("written", [{"row_group_size": 64}, {"write_batch_size": 8}])
def test_a_file_is_never_whole_in_memory(tmp_path: Path, written: dict[str, int]) -> None:
    """Many row groups, or one of small pages: Arrow's own defaults read both whole."""
    noise = np.random.default_rng(0)
    rows = [row(None, "A?", "a", noise.bytes(2**15)) for _ in range(1024)]
    path = tmp_path / "train.parquet"
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), path, **written)
    before, most, count = pa.total_allocated_bytes(), 0, 0
    for values in parquet._rows([path], "Set"):
        assert values["image"]["bytes"] == rows[count]["image"]["bytes"]
        count += 1
        most = max(most, pa.total_allocated_bytes() - before)
    assert count == len(rows)
    assert most < path.stat().st_size / 3


def test_a_run_keeps_its_images_when_a_file_is_changed_or_moved(tmp_path: Path) -> None:
    write_parquet(tmp_path, {"train": [row(1, "A?", "a")]})
    made = questions(tmp_path)
    made.prepare()
    (first,) = made.read()[0]["train"]
    (path,) = (tmp_path / "data").iterdir()
    os.utime(path, (0, 0))
    assert questions(tmp_path).folder != made.folder  # a later run unpacks anew
    assert made.file_of(first).is_file()
    path.rename(tmp_path / "elsewhere")
    assert made.file_of(first).is_file()


@pytest.mark.parametrize(
    "content",
    [
        *(b'{"split": "tra', b'{"split": "train"}\n', b"3\n", b'{"split": []}\n', b"\xff"),
        b'{"split": "train", "row": 0, "picture": "a.png", "question": "A?", "answer": 1.5}\n',
    ],
)
def test_a_damaged_index_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    write_parquet(tmp_path, {"train": [row(1, "A?", "a")]})
    made = questions(tmp_path)
    made.prepare()
    made.index.write_bytes(content)
    with pytest.raises(UserError, match=r"Set: .*index\.jsonl cannot be read .* delete"):
        made.read()
    shutil.rmtree(made.folder)
    made.prepare()
    assert len(made.read()[0]["train"]) == 1


def test_files_that_are_no_parquet_are_one_sentence(tmp_path: Path) -> None:
    write_parquet(tmp_path, {"train": [row(1, "A?", "a")]})
    path = next((tmp_path / "data").iterdir())
    whole = path.read_bytes()
    for content in (b"", b"<html>", whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"cannot be read .* fetch it again"):
            questions(tmp_path).prepare()
    pq.write_table(pa.table({"question": ["A?"], "text": ["a"]}), path)
    with pytest.raises(UserError, match="has no column image and no column answer"):
        questions(tmp_path).prepare()


@pytest.mark.parametrize("missing", [0, 1])
def test_a_missing_file_of_a_split_is_named(tmp_path: Path, missing: int) -> None:
    """Else the data set would be smaller, and nobody would know."""
    write_parquet(tmp_path, {"train": [row(1, "A?", "a"), row(2, "B?", "b")]})
    next((tmp_path / "data").glob(f"train-{missing:05d}-*")).unlink()
    with pytest.raises(UserError, match=rf"Set: the 1 train files .*number {missing} is missing"):
        questions(tmp_path).prepare()


@pytest.mark.parametrize("name", ["train-{}-of-00002-fedcba98.parquet", "train-{}-more.parquet"])
def test_files_of_two_releases_are_not_read_twice(tmp_path: Path, name: str) -> None:
    write_parquet(tmp_path, {"train": [row(1, "A?", "a"), row(2, "B?", "b")]})
    first = next((tmp_path / "data").glob("train-00000-*"))
    shutil.copy(first, first.with_name(name.format("00000")))
    with pytest.raises(UserError, match=r"the 3 train files .*some belong to another release"):
        questions(tmp_path).prepare()


def test_text_that_is_no_utf8_is_one_row_less(tmp_path: Path) -> None:
    """Arrow takes the bytes as they are; the good rows of the same batch stay."""
    stored = pa.array([b"caf\xe9?", b"why?"], pa.binary()).buffers()
    text = pa.Array.from_buffers(pa.string(), 2, stored)
    images = pa.array([{"bytes": image(1), "path": None}] * 2, SCHEMA.field("image").type)
    table = pa.table({"image": images, "question": text, "answer": pa.array(["yes", "no"])})
    pq.write_table(table, tmp_path / "train.parquet")
    made = questions(tmp_path)
    made.prepare()
    splits, dropped = made.read()
    assert [(r.question_id, r.question) for r in splits["train"]] == [("Set/train/1", "why?")]
    assert [(d.question_id, d.reason) for d in dropped] == [("Set/train/0", NO_TEXT)]


@pytest.mark.parametrize(
    "images", [["a.jpg"], [7], [{"bytes": "text"}], [{"bytes": [1]}], [{"path": "a.jpg"}], [[1]]]
)
def test_columns_without_encoded_images_are_refused(tmp_path: Path, images: list[Any]) -> None:
    table = pa.table({"image": images, "question": ["A?"], "answer": ["a"]})
    pq.write_table(table, tmp_path / "train.parquet")
    with pytest.raises(UserError, match="holds no encoded images in its column image"):
        questions(tmp_path).prepare()


def test_a_folder_that_cannot_be_written_is_named_by_its_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_parquet(tmp_path, {"train": [row(1, "A?", "a")]})
    (tmp_path / "unpacked").write_text("a file")
    with pytest.raises(UserError, match=r"give another folder as --data\.init_args\.unpacked\."):
        questions(tmp_path).prepare()
    (tmp_path / "unpacked").unlink()

    def full(path: Path, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UserError, match=r"No space left.*--data\.init_args\.unpacked\."):
        questions(tmp_path).prepare()


def test_a_finished_folder_is_used_without_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be shared and read-only."""
    write_parquet(tmp_path, {"train": [row(1, "A?", "a")]})
    made = questions(tmp_path)
    made.prepare()
    monkeypatch.setattr(parquet, "locked", lambda *_: pytest.fail("a lock file is written"))
    made.prepare()


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_parquet(tmp_path, {"train": [row(1, "A?", "a")]})
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UserError, match=r"pip install 'amif-lightning\[data\]'"):
        questions(tmp_path).prepare()


TEXT = st.none() | st.text(max_size=12)
IMAGE = st.none() | st.binary(max_size=40) | st.sampled_from([image(1), image(2, "JPEG")])


@settings(max_examples=50, deadline=None, derandomize=True)
@given(rows=st.lists(st.tuples(IMAGE, TEXT, TEXT), min_size=1, max_size=5))
def test_any_row_is_read_rightly_or_counted(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[bytes | None, Any, Any]]
) -> None:
    root = tmp_path_factory.mktemp("any")
    given_rows = [row(None, question, answer, data) for data, question, answer in rows]
    table = pa.Table.from_pylist(given_rows, schema=SCHEMA)
    pq.write_table(table, root / "train.parquet")
    made = questions(root)
    made.prepare()
    splits, dropped = made.read()
    assert len(splits["train"]) + len(dropped) == len(rows)
    for found in splits["train"]:
        data, question, answer = rows[int(found.question_id.rpartition("/")[2])]
        assert found.question == " ".join(question.split())
        assert found.answer == " ".join(answer.split())
        assert data in (image(1), image(2, "JPEG"))
        assert os.path.getsize(made.file_of(found)) == len(data)
