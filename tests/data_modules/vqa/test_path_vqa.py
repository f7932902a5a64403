"""PathVQA in both layouts: rows, duplicates, types, and errors."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amif_lightning.data.files.parquet import NO_IMAGE, NO_TEXT
from amif_lightning.errors import UserError
from data_modules.vqa.path_vqa import DUPLICATE, UNUSABLE, PathVQA
from tests.fakes_path_vqa import IMAGES, ROWS, write_path_vqa


def module(root: Path, **options: Any) -> PathVQA:
    given: dict[str, Any] = {
        "unpacked": str(root / "unpacked"),
        "tokenizer": "words",
        "num_workers": 0,
        "image_size": 16,
        "augmentation": "none",
    }
    made = PathVQA(str(root), **(given | options))
    made.prepare_data()
    return made


@pytest.mark.parametrize(
    ("layout", "dropped"),
    [("hf", {DUPLICATE: 1, NO_IMAGE: 1, NO_TEXT: 1}), ("lxmert", {DUPLICATE: 1, UNUSABLE: 3})],
)
def test_every_layout_gives_the_same_questions(
    tmp_path: Path, layout: Any, dropped: dict[str, int]
) -> None:
    write_path_vqa(tmp_path, layout)
    data = module(tmp_path)
    release = data.release
    assert release.layout == layout
    counts = {split: len(rows) for split, rows in release.splits.items()}
    assert counts == {"train": ROWS["train"], "validation": ROWS["val"], "test": ROWS["test"]}
    assert Counter(row.reason for row in release.dropped) == dropped
    images = {split: len({r.image_key for r in rows}) for split, rows in release.splits.items()}
    assert list(images.values()) == list(IMAGES.values())
    assert all(file.is_file() for file in data.images().values())
    first, second = release.splits["train"][:2]
    assert (first.question, first.answer) == ("is part 0 seen?", "yes")
    assert second.question_id == "PathVQA/train/1"
    if layout != "hf":
        assert (first.answer_type, second.answer_type) == ("closed", "open")
        assert (second.question_type, second.qid) == ("where", "1001")
    assert not data.audit().failed
    data.setup("fit")
    assert sum(len(batch) for batch in data.train_dataloader()) == ROWS["train"]


def test_auto_takes_the_first_layout_that_is_there(tmp_path: Path) -> None:
    (tmp_path / "qas").mkdir()
    (tmp_path / "qas" / "train_vqa.pkl").write_bytes(b"")  # pickles are not read
    with pytest.raises(UserError, match=r"neither 'data/train-\*\.parquet' nor 'train\.json'"):
        module(tmp_path)
    write_path_vqa(tmp_path, "lxmert")
    assert PathVQA(str(tmp_path)).chosen_layout == "lxmert"
    write_path_vqa(tmp_path, "hf")
    assert PathVQA(str(tmp_path)).chosen_layout == "hf"
    assert PathVQA(str(tmp_path), "lxmert").chosen_layout == "lxmert"


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        module(tmp_path / "nowhere")
    write_path_vqa(tmp_path, "lxmert")
    with pytest.raises(UserError, match=r"layout 'hf' needs .*data/train-\*\.parquet"):
        module(tmp_path, layout="hf")
    with pytest.raises(UserError, match="layout is 'csv'"):
        module(tmp_path, layout="csv")
    (tmp_path / "test.json").unlink()
    assert set(module(tmp_path).release.absent) == {"test"}
    (tmp_path / "train.json").write_text("{}")
    with pytest.raises(UserError, match="contains no list with a readable question"):
        _ = module(tmp_path).release
    (tmp_path / "train.json").write_text("[]")
    with pytest.raises(UserError, match="contains no list with a readable question"):
        _ = module(tmp_path).release


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)
KEYS = st.sampled_from(["img_id", "sent", "label", "answer_type", "question_type", "question_id"])


@settings(max_examples=80, deadline=None, derandomize=True)
@given(items=st.lists(st.dictionaries(KEYS, VALUES) | VALUES, max_size=4))
def test_any_list_is_read_rightly_or_counted(
    tmp_path_factory: pytest.TempPathFactory, items: list[Any]
) -> None:
    root = tmp_path_factory.mktemp("any")
    good = {"img_id": "train_0000", "sent": "is it?", "label": {"yes": 1}}
    (root / "train.json").write_text(json.dumps([good, *items]), encoding="utf-8")
    release = module(root).release
    assert len(release.splits["train"]) + len(release.dropped) == 1 + len(items)
    for found in release.splits["train"]:
        number = int(found.question_id.rpartition("/")[2])
        item = [good, *items][number]
        assert found.question == " ".join(item["sent"].split())
        assert found.image.startswith("images/train/")
        assert ".." not in found.image
