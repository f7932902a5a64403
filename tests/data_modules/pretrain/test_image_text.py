"""Any table of images and texts: columns by name, views, groups, and cells of any kind."""

from __future__ import annotations

import csv
import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amif_lightning.data.files.names import OUTSIDE
from amif_lightning.data.files.tables import MALFORMED, NO_FILE
from amif_lightning.data.files.user_tables import BAD_CELL, BAD_SPLIT
from amif_lightning.data.schema.studies import NO_IMAGE, NO_TEXT
from amif_lightning.errors import UserError
from data_modules.pretrain.image_text import (
    BAD_VIEWS,
    DISAGREE,
    ImageText,
)
from tests.fakes_corpora import QUICK, rows_of, write_image_text

OPTIONS = QUICK | {"batch_size": 2}
COLUMNS: dict[str, Any] = {
    "text_column": "report",
    "view_column": "view",
    "study_column": "study",
    "split_column": "split",
    "group_column": "patient",
}


def lines(root: Path, rows: list[Any], **options: Any) -> ImageText:
    root.mkdir(parents=True, exist_ok=True)
    (root / "t.jsonl").write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return ImageText(str(root), table="t.jsonl", **(OPTIONS | options))


def test_rows_of_one_study_are_its_views(tmp_path: Path) -> None:
    write_image_text(tmp_path)
    data = ImageText(str(tmp_path), **COLUMNS, **OPTIONS)
    row = rows_of(data)["s1"]
    assert [(p.image_id, p.view) for p in row.images] == [
        ("ImageText/a/1.png", "PA"),
        ("ImageText/a/2.png", "lateral"),
    ]
    assert (row.text, row.group) == ("Clear lungs, one.", "p1")
    assert [len(data.rows(split)) for split in ("train", "validation", "test")] == [4, 2, 1]
    data.setup("fit")
    assert next(iter(data.train_dataloader())).first.shape == (2, 3, 16, 16)
    assert data.selection()["study_column"] == "study"


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.csv.gz"])
@pytest.mark.parametrize("cell", ["a.png|b.png", '["a.png", "b.png"]'])
def test_one_cell_holds_several_images(tmp_path: Path, name: str, cell: str) -> None:
    comma = "\t" if "tsv" in name else ","
    quoted = '"' + cell.replace('"', '""') + '"'
    text = f"image{comma}text{comma}view\n{quoted}{comma}Text.{comma}PA|LL\n".encode()
    (tmp_path / name).write_bytes(gzip.compress(text) if name.endswith("gz") else text)
    data = ImageText(str(tmp_path), table=name, separator="|", view_column="view", **OPTIONS)
    (row,) = rows_of(data).values()
    assert [(p.image_id, p.view) for p in row.images] == [
        ("ImageText/a.png", "PA"),
        ("ImageText/b.png", "LL"),
    ]


def test_json_lists_and_numbers(tmp_path: Path) -> None:
    rows = [{"image": ["a.png", "b.png"], "text": "Text.", "study": 7, "patient": 3, "v": None}]
    data = lines(tmp_path, rows, study_column="study", group_column="patient", view_column="v")
    row = rows_of(data)["7"]
    assert (len(row.images), row.group, row.images[0].view) == (2, "3", "")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"image": "../a.png", "text": "Text."}, OUTSIDE),
        ({"image": "/a.png", "text": "Text."}, OUTSIDE),
        ({"image": "", "text": "Text."}, NO_IMAGE),
        ({"text": "Text."}, NO_IMAGE),
        ({"image": "a.png"}, NO_TEXT),
        ({"image": "a.png", "text": 3}, BAD_CELL),
        ({"image": 3.5, "text": "Text."}, BAD_CELL),
        ({"image": [1], "text": "Text."}, BAD_CELL),
        ({"image": "a.png", "text": "half \ud800"}, BAD_CELL),
        ({"image": "a.png", "text": "Text.", "split": "eval"}, BAD_SPLIT),
        ({"image": "a.png", "text": "Text.", "view": ["PA", "LL"]}, BAD_VIEWS),
        ({"image": "gone.png", "text": "Text."}, NO_FILE),
        (["a"], MALFORMED),
    ],
)
def test_each_bad_row_has_its_reason(tmp_path: Path, row: Any, reason: str) -> None:
    (tmp_path / "a.png").touch()
    good = {"image": "a.png", "text": "Good.", "split": "", "view": ""}
    data = lines(
        tmp_path,
        [row, *[good] * 2],
        split_column="split",
        view_column="view",
        missing_images="skip",
    )
    assert reason in {dropped.reason for dropped in data.release.dropped} or reason in (
        NO_IMAGE,
        NO_TEXT,
    )
    kept = [study for study in rows_of(data).values() if study.images and study.text]
    assert [study.text for study in kept] == ["Good.", "Good."]


def test_rows_that_contradict_each_other_spoil_their_study(tmp_path: Path) -> None:
    rows = [
        {"image": "a.png", "text": "One.", "study": "a"},
        {"image": "b.png", "text": "Two.", "study": "a"},
        {"image": "c.png", "text": "Three.", "study": "b", "split": ""},
        {"image": "d.png", "text": "", "study": "b", "split": "test"},
        {"image": "e.png", "text": "Four.", "study": ""},
    ]
    data = lines(tmp_path, rows, study_column="study", split_column="split")
    (row,) = rows_of(data).values()
    assert (row.split, row.text, len(row.images)) == ("test", "Three.", 2)
    counts = Counter(dropped.reason for dropped in data.release.dropped)
    assert counts == {DISAGREE: 1, BAD_CELL: 1}


def test_a_shared_image_never_trains_and_validates(tmp_path: Path) -> None:
    rows = [{"image": f"{number // 2}.png", "text": f"Text {number}."} for number in range(12)]
    for seed in range(5):
        data = lines(tmp_path, rows, split_seed=seed)
        train, validation = (
            {p.image_id for row in data.rows(split) for p in row.images}
            for split in ("train", "validation")
        )
        assert validation
        assert not train & validation
        assert len(data.rows("train")) + len(data.rows("validation")) == 12


def test_missing_columns_tables_and_names(tmp_path: Path) -> None:
    write_image_text(tmp_path)
    with pytest.raises(UserError, match="has no column 'text'"):
        ImageText(str(tmp_path), **OPTIONS).read_release()
    with pytest.raises(UserError, match=r"other\.csv is not there.*init_args\.table"):
        ImageText(str(tmp_path), table="other.csv", **OPTIONS).read_release()
    with pytest.raises(UserError, match=r"init_args\.text_column is empty"):
        ImageText(str(tmp_path), text_column="", **OPTIONS)
    with pytest.raises(UserError, match="column 'image' is given twice"):
        ImageText(str(tmp_path), view_column="image", **OPTIONS)
    with pytest.raises(UserError, match=r"init_args\.table is 'a\.xlsx'"):
        ImageText(str(tmp_path), table="a.xlsx", **OPTIONS)
    with pytest.raises(UserError, match=r"has no column 'caption' \(it has image, text\)"):
        lines(tmp_path, [{"image": "a.png", "text": "b"}], text_column="caption").read_release()


def test_a_parquet_table_is_read_as_its_csv(tmp_path: Path) -> None:
    write_image_text(tmp_path)
    names, *rows = csv.reader((tmp_path / "table.csv").read_text().splitlines())
    columns = dict(zip(names, zip(*rows, strict=True), strict=True))
    pq.write_table(pa.table(columns), tmp_path / "table.parquet")
    read = [
        ImageText(str(tmp_path), table=name, **COLUMNS, **OPTIONS).release.splits
        for name in ("table.csv", "table.parquet")
    ]
    assert read[0] == read[1]


leaf = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=6),
    st.sampled_from(["a.png", "../a", "train", "[", '["x"]', "\ud800"]),
)
value = st.one_of(leaf, st.lists(leaf, max_size=3), st.dictionaries(st.text(max_size=2), leaf))
names = st.sampled_from(["image", "report", "view", "study", "split", "patient", "other"])


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("table")


@settings(max_examples=50, deadline=None, derandomize=True)
@given(bad=st.lists(st.dictionaries(names, value, max_size=6), max_size=4))
def test_any_object_is_a_study_or_counted(shared: Path, bad: list[dict[str, Any]]) -> None:
    good = [
        {"image": f"g{n}.png", "report": f"Good {n}.", "study": f"good {n}", "split": "train"}
        | dict.fromkeys(("view", "patient"))
        for n in range(3)
    ]
    data = lines(shared, [good[0], *bad, *good[1:]], **COLUMNS)
    rows = rows_of(data)
    for n in range(3):
        row = rows[f"good {n}"]
        assert (row.text, [p.image_id for p in row.images]) == (
            f"Good {n}.",
            [f"ImageText/g{n}.png"],
        )
    for name, row in rows.items():
        if not name.startswith("good"):
            studies = [part.get("study") for part in bad]
            whole = [int(s) for s in studies if isinstance(s, float) and s.is_integer()]
            assert any(str(s).split() == name.split() for s in (*studies, *whole))
            row.text.encode()
            assert all(p.file.is_relative_to(shared) for p in row.images)
            assert all(".." not in p.file.parts for p in row.images)
    named = {" ".join(str(part["study"]).split()) for part in bad if part.get("study") is not None}
    assert len(rows) - 3 <= len(named)
    # Every row is in a study or counted.
    if not bad:
        assert not data.release.dropped
    elif len(rows) == 3:
        assert data.release.dropped
