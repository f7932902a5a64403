"""Malformed rows of VQA-RAD, SLAKE and VQA-Med-2019: refused or counted, never read wrongly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from amif_lightning.data.files.names import NO_TEXT
from amif_lightning.data.loading.vqa_module import VQADataModule
from amif_lightning.data.preprocessing.normalization import collapse, normalise
from amif_lightning.errors import UserError
from data_modules import SLAKE, VQARAD, VQAMed2019
from tests.fakes import write_vqa_rad
from tests.fakes_slake import write_slake

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
_SLAKE: dict[str, st.SearchStrategy[Any]] = {
    "img_name": st.sampled_from(["xmlab1/source.jpg", "xmlab2/source.jpg.jpg"]),
    "question": st.text(max_size=12),
    "answer": st.text(max_size=12),
    "q_lang": st.sampled_from(["en", "zh"]),
    "answer_type": st.sampled_from(["OPEN", "CLOSED"]),
    "content_type": st.text(max_size=5),
}


@st.composite
def damaged(
    draw: st.DrawFn, good: dict[str, st.SearchStrategy[Any]], optional: str
) -> list[dict[str, Any]]:
    """Rows of good fields, sometimes with one field replaced and sometimes with one removed."""
    rows = draw(st.lists(st.fixed_dictionaries(good), min_size=1, max_size=4))
    if draw(st.booleans()):
        rows[0][draw(st.sampled_from([*good, optional]))] = draw(_ANY)
    if draw(st.integers(0, 4)) == 0:
        del rows[-1][draw(st.sampled_from(sorted(good)))]
    return rows


def check(data: VQADataModule, file: str, rows: list[dict[str, Any]], image: str) -> None:
    (data.root / file).write_text(json.dumps(rows), encoding="utf-8")
    try:
        release = data.release
    except UserError:
        return
    kept = [row for split in release.splits.values() for row in split]
    assert len(kept) + len(release.dropped) == len(rows)
    for row in kept:
        item = rows[int(row.question_id.rpartition("/")[2])]
        assert row.question == collapse(item["question"])
        assert row.answer == collapse(str(item["answer"]))
        assert normalise(str(item["answer"])) in row.references
        assert row.image.endswith(f"/{item[image].strip()}")
        assert row.qid == str(item.get("qid", ""))
        assert getattr(data, "language", "all") in ("all", item.get("q_lang"))


@pytest.mark.parametrize(
    ("layout", "file", "phrases"),
    [
        ("osf", "VQA_RAD Dataset Public.json", ("freeform", "para", "test_freeform", "test_para")),
        ("mevf", "trainset.json", ("freeform", "para", "frame")),
    ],
)
@MANY
@given(draw=st.data())
def test_vqa_rad(
    tmp_path: Path, layout: Any, file: str, phrases: tuple[str, ...], draw: st.DataObject
) -> None:
    good = {**_RAD, "phrase_type": st.sampled_from(phrases)}
    data = VQARAD(str(tmp_path), layout=layout, protocol="literature")
    check(data, file, draw.draw(damaged(good, "question_frame")), "image_name")


@MANY
@given(
    rows=damaged(_SLAKE, "qid"),
    language=st.sampled_from(["en", "zh", "all"]),
    how=st.sampled_from(["any_order", "as_released"]),
)
def test_slake(tmp_path: Path, rows: list[dict[str, Any]], language: Any, how: Any) -> None:
    data = SLAKE(str(tmp_path), language=language, list_answers=how)
    check(data, "train.json", rows, "img_name")


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
        release = VQAMed2019(str(tmp_path)).release
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


@pytest.mark.parametrize("text", ["is \\ud800 it", "is \\u0000 it", "is \ud800 it"])
@pytest.mark.parametrize("field", ["question", "answer", "content_type", "qid"])
def test_halves_of_characters_and_nul_are_dropped_and_counted(
    tmp_path: Path, field: str, text: str
) -> None:
    write_slake(tmp_path, drawn=False)
    path = tmp_path / "train.json"
    rows = json.loads(path.read_text(encoding="utf-8"))
    rows[1][field] = json.loads(f'"{text}"')
    path.write_text(json.dumps(rows), encoding="utf-8")
    data = SLAKE(str(tmp_path), tokenizer="words")
    assert [row.question_id for row in data.release.dropped if row.reason == NO_TEXT] == [
        "SLAKE/train/1"
    ]
    assert f"1 rows dropped: {NO_TEXT}" in data.warnings()
    data.audit(check_images=False).to_text().encode()


def test_a_row_that_the_protocol_leaves_out_is_printed_escaped(tmp_path: Path) -> None:
    write_vqa_rad(tmp_path)
    path = tmp_path / "trainset.json"
    rows = json.loads(path.read_text(encoding="utf-8"))
    next(row for row in rows if row["phrase_type"] == "frame")["question"] = (
        "\x1b[31m is \ud800 it?"
    )
    path.write_text(json.dumps(rows), encoding="utf-8")
    found = VQARAD(str(tmp_path), layout="mevf", tokenizer="words").audit(check_images=False)
    assert r"\u001b[31m is \ud800 it?" in found.to_text()
    found.to_json().encode()
