"""Malformed rows of VQA-RAD and VQA-Med-2019: refused in one sentence or counted, never wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from amif_lightning.data.preprocessing.normalization import collapse, normalise
from amif_lightning.errors import UserError
from data_modules.vqa.vqa_med_2019 import read_vqa_med_2019
from data_modules.vqa.vqa_rad import read_vqa_rad

MANY = settings(
    max_examples=50,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],  # the files are written anew
)
_ANY = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.lists(st.none())
)
_RAD: dict[str, st.SearchStrategy[Any]] = {
    "qid": st.one_of(st.integers(0, 9), st.text(max_size=3)),
    "image_name": st.sampled_from(["synpic1.jpg", " synpic2.jpg"]),
    "question": st.text(max_size=12),
    "answer": st.one_of(st.text(max_size=12), st.integers(0, 9)),
    "answer_type": st.sampled_from(["OPEN", "CLOSED", "CLOSED "]),
    "question_type": st.text(max_size=6),
}


@st.composite
def rad_rows(draw: st.DrawFn, phrases: tuple[str, ...]) -> list[dict[str, Any]]:
    row = st.fixed_dictionaries({**_RAD, "phrase_type": st.sampled_from(phrases)})
    rows = draw(st.lists(row, min_size=1, max_size=4))
    if draw(st.booleans()):
        rows[0][draw(st.sampled_from([*_RAD, "phrase_type", "question_frame"]))] = draw(_ANY)
    if draw(st.integers(0, 4)) == 0:
        del rows[-1][draw(st.sampled_from(sorted(_RAD)))]
    return rows


def check_rad(root: Path, rows: list[dict[str, Any]], layout: Literal["osf", "mevf"]) -> None:
    try:
        release = read_vqa_rad(root, layout, "literature")
    except UserError:
        return
    kept = [row for split in release.splits.values() for row in split]
    assert len(kept) + len(release.dropped) == len(rows)
    for row in kept:
        item = rows[int(row.question_id.rpartition("/")[2])]
        assert row.question == collapse(item["question"])
        assert row.answer == collapse(str(item["answer"]))
        assert row.references == (normalise(str(item["answer"])),)
        assert row.image.endswith(f"/{item['image_name'].strip()}")
        assert row.qid == str(item["qid"])


@MANY
@given(rows=rad_rows(("freeform", "para", "test_freeform", "test_para")))
def test_vqa_rad_osf(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    (tmp_path / "VQA_RAD Dataset Public.json").write_text(json.dumps(rows), encoding="utf-8")
    check_rad(tmp_path, rows, "osf")


@MANY
@given(rows=rad_rows(("freeform", "para", "frame")))
def test_vqa_rad_mevf(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    (tmp_path / "trainset.json").write_text(json.dumps(rows), encoding="utf-8")
    check_rad(tmp_path, rows, "mevf")


@MANY
@given(content=st.one_of(st.binary(max_size=40), st.text('[]{}",:0a\n', max_size=20)))
def test_damaged_json(tmp_path: Path, content: bytes | str) -> None:
    data = content.encode() if isinstance(content, str) else content
    (tmp_path / "trainset.json").write_bytes(data)
    try:
        read_vqa_rad(tmp_path, "mevf")
    except UserError:
        return
    raise AssertionError(f"{content!r} was read as questions")


_WORDS = st.text(st.characters(exclude_characters="\n\r", exclude_categories=["Cs"]), max_size=6)


@MANY
@given(
    lines=st.lists(st.lists(_WORDS, min_size=1, max_size=5).map("|".join), max_size=5),
    test=st.lists(st.lists(_WORDS, min_size=3, max_size=4).map("|".join), max_size=4),
)
def test_vqa_med_2019(tmp_path: Path, lines: list[str], test: list[str]) -> None:
    files = {
        "train": ("ImageClef-2019-VQA-Med-Training/All_QA_Pairs_train.txt", lines),
        "test": ("VQAMed2019Test/VQAMed2019_Test_Questions_w_Ref_Answers.txt", test),
    }
    for name, content in files.values():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("\n".join(content), encoding="utf-8")
    try:
        release = read_vqa_med_2019(tmp_path)
    except UserError:
        return
    used = sum(len(rows) for rows in release.splits.values())
    asked = sum(bool(line.strip()) for _, content in files.values() for line in content)
    assert used + len(release.dropped) == asked
    for split, rows in release.splits.items():
        for row in rows:
            line = files[split][1][int(row.question_id.rpartition("/")[2])]
            fields = [collapse(field) for field in line.split("|")]
            assert (row.image_key, row.question, row.answer) == (fields[0], *fields[-2:])
            assert row.question_id.startswith(f"VQAMed2019/{split}/")
