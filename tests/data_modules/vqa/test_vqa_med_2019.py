from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from amif_lightning.data.schema.question_splits import split_questions
from amif_lightning.data.schema.questions import Release
from amif_lightning.errors import UserError
from data_modules.vqa.vqa_med_2019 import SHARED_NOTE, VQAMed2019
from tests.fakes import FakeMed2019, write_vqa_med_2019

FACTS = Path(__file__).parents[2] / "facts.yaml"
TRAIN = "ImageClef-2019-VQA-Med-Training"
TEST = "VQAMed2019Test"
TRAIN_FILE = f"{TRAIN}/All_QA_Pairs_train.txt"


@pytest.fixture
def fake(tmp_path: Path) -> FakeMed2019:
    return write_vqa_med_2019(tmp_path)


def read(root: Path, task: Any = "official") -> Release:
    return VQAMed2019(str(root), task=task).release


def sizes(release: Release) -> dict[str, int]:
    return {name: len(rows) for name, rows in release.splits.items()}


def test_rows_categories_and_images(tmp_path: Path, fake: FakeMed2019) -> None:
    release = read(tmp_path)
    assert sizes(release) == {"train": fake.train, "validation": fake.validation, "test": fake.test}
    assert (release.absent, release.dropped) == ({}, ())
    assert release.notes == (SHARED_NOTE,)
    for rows in release.splits.values():
        assert {r.question_type for r in rows} == {"modality", "plane", "organ", "abnormality"}
        assert all((tmp_path / row.image).is_file() for row in rows)
        assert {row.answer_type for row in rows} == {""}
    train = release.splits["train"]
    types = Counter(r.question_type for r in train)
    assert types["abnormality"] == types["plane"] - 1
    lines = (tmp_path / TRAIN_FILE).read_text(encoding="utf-8").split("\n")
    assert [r.question_id for r in train] == [f"VQAMed2019/train/{n}" for n in range(len(lines))]
    assert [row.question for row in train] == [line.split("|")[1] for line in lines]
    answers = {row.answer for row in train}
    assert {"spine, tethered cord", "xr - plain film"} <= answers  # no-break spaces collapsed


def test_alternatives_and_options_in_the_test_file_only(tmp_path: Path, fake: FakeMed2019) -> None:
    path = tmp_path / TRAIN_FILE
    path.write_text(path.read_text(encoding="utf-8") + "\nsynpic20000|q?|a (b)#c", encoding="utf-8")
    release = read(tmp_path)
    test = release.splits["test"]
    assert test[0].references == ("mr t2 weighted", "mri")
    assert test[3].references == ("aneurysm of the aorta", "aneurysm", "aortic aneurysm")
    train = release.splits["train"]
    assert train[-1].references == ("a bc",)
    assert {row.references for row in train if "(iv)" in row.answer} == {("ct with iv contrast",)}
    assert all(len(row.references) == 1 for row in train)


def test_task_without_abnormality(tmp_path: Path, fake: FakeMed2019) -> None:
    release = read(tmp_path, "no_abnormality")
    assert sizes(release) == {
        "train": fake.train_without_abnormality,
        "validation": fake.validation_without_abnormality,
        "test": fake.test_without_abnormality,
    }
    left_out = fake.train + fake.validation + fake.test - sum(sizes(release).values())
    assert len(release.dropped) == left_out
    assert "cannot be compared" in release.notes[-1]


def test_absent_files_are_named(tmp_path: Path, fake: FakeMed2019) -> None:
    shutil.rmtree(tmp_path / TRAIN / "Train_images")
    shutil.rmtree(tmp_path / TEST / "VQAMed2019_Test_Images")
    (tmp_path / TEST / "VQAMed2019_Test_Images.zip").write_bytes(b"PK")
    release = read(tmp_path)
    assert set(release.absent) == {"train images", "test images"}
    assert "zenodo" in release.absent["train images"]
    assert "unzip" in release.absent["test images"]
    assert len(release.splits["train"]) == fake.train
    shutil.rmtree(tmp_path / TEST)
    release = read(tmp_path)
    assert set(release.splits) == {"train", "validation"}
    assert "w_Ref_Answers.txt" in release.absent["test"]
    part = split_questions(release, "clean", test_split="validation")
    assert part.test == release.splits["validation"]


def test_malformed_lines_are_dropped_with_their_number(tmp_path: Path, fake: FakeMed2019) -> None:
    path = tmp_path / TRAIN_FILE
    lines = path.read_text(encoding="utf-8").split("\n")
    lines[2:2] = ["synpic1|what?", "synpic1|what?|a|b", "", "synpic1||no", "synpic1|?|no"]
    path.write_text("\n".join(lines), encoding="utf-8")
    release = read(tmp_path)
    assert len(release.splits["train"]) == fake.train
    assert [(d.reason.split(" (")[0], d.detail) for d in release.dropped] == [
        ("malformed line", f"{TRAIN_FILE}, line 3"),
        ("malformed line", f"{TRAIN_FILE}, line 4"),
        ("malformed line", f"{TRAIN_FILE}, line 6"),
        ("empty question", f"{TRAIN_FILE}, line 7"),
    ]
    # Ids keep counting the released lines.
    assert release.splits["train"][2].question_id == "VQAMed2019/train/7"


def test_missing_categories_are_noted_or_refused(tmp_path: Path, fake: FakeMed2019) -> None:
    shutil.rmtree(tmp_path / TRAIN / "QAPairsByCategory")
    expected = f"{fake.train} of {fake.train} train questions have no category."
    assert expected in read(tmp_path).notes
    with pytest.raises(UserError, match=r"train questions have none.*QAPairsByCategory"):
        read(tmp_path, "no_abnormality")


def test_bad_inputs(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"does not exist.*zenodo"):
        read(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"All_QA_Pairs_train\.txt is not there.*zenodo"):
        read(tmp_path)
    write_vqa_med_2019(tmp_path)
    with pytest.raises(UserError, match=r"task is 'half': give one of official, no_abnormality\."):
        read(tmp_path, "half")
    (tmp_path / TRAIN_FILE).write_bytes(b"synpic1|q|caf\xe9\n")
    with pytest.raises(UserError, match="is not UTF-8 text"):
        read(tmp_path)
    (tmp_path / TRAIN_FILE).write_text("just prose\n", encoding="utf-8")
    with pytest.raises(UserError, match="holds no line of 3 fields"):
        read(tmp_path)


def test_the_answer_space_names_its_task(tmp_path: Path, fake: FakeMed2019) -> None:
    data = VQAMed2019(str(tmp_path), task="no_abnormality", tokenizer="words")
    assert data.answer_space().selection == {
        "dataset": "VQAMed2019",
        "layout": "zenodo",
        "split_seed": 0,
        "validation_fraction": 0.1,
        "test_split": "test",
        "task": "no_abnormality",
    }


@pytest.mark.real_data
def test_real_counts(real_data: Path) -> None:
    facts = yaml.safe_load(FACTS.read_text(encoding="utf-8"))["VQAMed2019"]
    root = real_data / "vqa_med_2019"
    release = read(root)
    for name, rows in release.splits.items():
        assert len(rows) == facts["official"]["rows"][name]
        assert len({r.image_key for r in rows}) == facts["official"]["images"][name]
    assert not release.dropped
    types = Counter(r.question_type for r in release.splits["train"])
    assert types == facts["official"]["train_types"]
    assert len(split_questions(release, "clean").candidates) == facts["official"]["answers"]
    variant = read(root, "no_abnormality")
    assert sizes(variant).items() <= facts["no_abnormality"]["rows"].items()
    assert len(split_questions(variant, "clean").candidates) == facts["no_abnormality"]["answers"]
