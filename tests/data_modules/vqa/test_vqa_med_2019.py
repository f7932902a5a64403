from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest
import yaml

from amif_lightning.data.schema.question_splits import split_questions
from amif_lightning.errors import UserError
from data_modules.vqa.vqa_med_2019 import SHARED_NOTE, VQAMed2019, read_vqa_med_2019
from tests.fakes import FakeMed2019, write_vqa_med_2019

FACTS = Path(__file__).parents[2] / "facts.yaml"
TRAIN = "ImageClef-2019-VQA-Med-Training"
TEST = "VQAMed2019Test"
TRAIN_FILE = f"{TRAIN}/All_QA_Pairs_train.txt"


@pytest.fixture
def fake(tmp_path: Path) -> FakeMed2019:
    return write_vqa_med_2019(tmp_path)


def test_rows_categories_and_images(tmp_path: Path, fake: FakeMed2019) -> None:
    release = read_vqa_med_2019(tmp_path)
    sizes = {name: len(rows) for name, rows in release.splits.items()}
    assert sizes == {"train": fake.train, "validation": fake.validation, "test": fake.test}
    assert not release.absent
    assert not release.dropped
    assert release.notes == (SHARED_NOTE,)  # also in VQA-RAD
    for rows in release.splits.values():
        assert {r.question_type for r in rows} == {"modality", "plane", "organ", "abnormality"}
        assert all((tmp_path / row.image).is_file() for row in rows)
        assert {row.answer_type for row in rows} == {""}
    types = Counter(r.question_type for r in release.splits["train"])
    assert types["abnormality"] == types["plane"] - 1


def test_rows_keep_the_released_order(tmp_path: Path, fake: FakeMed2019) -> None:
    lines = (tmp_path / TRAIN_FILE).read_text(encoding="utf-8").split("\n")
    rows = read_vqa_med_2019(tmp_path).splits["train"]
    assert [row.question_id for row in rows] == [f"VQAMed2019/train/{n}" for n in range(len(lines))]
    assert [row.question for row in rows] == [line.split("|")[1] for line in lines]


def test_alternatives_and_options_in_the_test_file_only(tmp_path: Path, fake: FakeMed2019) -> None:
    path = tmp_path / TRAIN_FILE
    path.write_text(path.read_text(encoding="utf-8") + "\nsynpic20000|q?|a (b)#c", encoding="utf-8")
    release = read_vqa_med_2019(tmp_path)
    test = release.splits["test"]
    assert test[0].references == ("mr t2 weighted", "mri")
    assert test[3].references == ("aneurysm of the aorta", "aneurysm", "aortic aneurysm")
    train = release.splits["train"]
    assert train[-1].references == ("a bc",)
    assert {row.references for row in train if "(iv)" in row.answer} == {("ct with iv contrast",)}
    assert all(len(row.references) == 1 for row in train)


def test_no_break_spaces_and_quotes(tmp_path: Path, fake: FakeMed2019) -> None:
    answers = {row.answer for row in read_vqa_med_2019(tmp_path).splits["train"]}
    assert {"spine, tethered cord"} <= answers
    assert "xr - plain film" in answers


def test_task_without_abnormality(tmp_path: Path, fake: FakeMed2019) -> None:
    release = read_vqa_med_2019(tmp_path, "no_abnormality")
    assert {name: len(rows) for name, rows in release.splits.items()} == {
        "train": fake.train_without_abnormality,
        "validation": fake.validation_without_abnormality,
        "test": fake.test_without_abnormality,
    }
    left_out = fake.train + fake.validation + fake.test - sum(map(len, release.splits.values()))
    assert len(release.dropped) == left_out
    assert "cannot be compared" in release.notes[-1]


def test_absent_test_set_is_named(tmp_path: Path) -> None:
    write_vqa_med_2019(tmp_path, splits=["train", "validation"])
    release = read_vqa_med_2019(tmp_path)
    assert set(release.splits) == {"train", "validation"}
    assert "w_Ref_Answers.txt" in release.absent["test"]
    part = split_questions(release, "clean", test_split="validation")
    assert part.test == release.splits["validation"]


def test_absent_image_folders_are_named(tmp_path: Path, fake: FakeMed2019) -> None:
    shutil.rmtree(tmp_path / TRAIN / "Train_images")
    shutil.rmtree(tmp_path / TEST / "VQAMed2019_Test_Images")
    (tmp_path / TEST / "VQAMed2019_Test_Images.zip").write_bytes(b"PK")
    release = read_vqa_med_2019(tmp_path)
    assert set(release.absent) == {"train images", "test images"}
    assert "zenodo" in release.absent["train images"]
    assert "unzip" in release.absent["test images"]
    assert len(release.splits["train"]) == fake.train


def test_malformed_lines_are_dropped_with_their_number(tmp_path: Path, fake: FakeMed2019) -> None:
    path = tmp_path / TRAIN_FILE
    lines = path.read_text(encoding="utf-8").split("\n")
    lines[2:2] = ["synpic1|what?", "synpic1|what?|a|b", "", "synpic1||no", "synpic1|?|no"]
    path.write_text("\n".join(lines), encoding="utf-8")
    release = read_vqa_med_2019(tmp_path)
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
    release = read_vqa_med_2019(tmp_path)
    expected = f"{fake.train} of {fake.train} train questions have no category."
    assert expected in release.notes
    with pytest.raises(UserError, match=r"train questions have none.*QAPairsByCategory"):
        read_vqa_med_2019(tmp_path, "no_abnormality")


def test_bad_inputs(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"does not exist.*zenodo"):
        read_vqa_med_2019(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"All_QA_Pairs_train\.txt is not there.*zenodo"):
        read_vqa_med_2019(tmp_path)
    write_vqa_med_2019(tmp_path)
    with pytest.raises(UserError, match="task is 'half'"):
        read_vqa_med_2019(tmp_path, "half")  # type: ignore[arg-type]  # the point of the test
    (tmp_path / TRAIN_FILE).write_bytes(b"synpic1|q|caf\xe9\n")
    with pytest.raises(UserError, match="is not UTF-8 text"):
        read_vqa_med_2019(tmp_path)
    (tmp_path / TRAIN_FILE).write_text("just prose\n", encoding="utf-8")
    with pytest.raises(UserError, match="holds no line of 3 fields"):
        read_vqa_med_2019(tmp_path)


def test_an_unknown_task_is_named_at_construction(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"task is 'half': give one of official, no_abnormality\."):
        VQAMed2019(str(tmp_path), task="half")  # type: ignore[arg-type]  # the point of the test


def test_data_module_reads_its_task(tmp_path: Path, fake: FakeMed2019) -> None:
    module = VQAMed2019(str(tmp_path), task="no_abnormality")
    assert module.release == read_vqa_med_2019(tmp_path, "no_abnormality")


def test_the_answer_space_says_which_task_it_is_of(tmp_path: Path, fake: FakeMed2019) -> None:
    for task in ("official", "no_abnormality"):
        data = VQAMed2019(str(tmp_path), task=task, tokenizer="words")
        kept = data.answer_space().selection
        assert kept["task"] == task
        assert (kept["dataset"], kept["layout"]) == ("VQAMed2019", "zenodo")
        assert kept["test_split"] == "test"


@pytest.mark.real_data
def test_real_counts(real_data: Path) -> None:
    facts = yaml.safe_load(FACTS.read_text(encoding="utf-8"))["VQAMed2019"]
    root = real_data / "vqa_med_2019"
    release = read_vqa_med_2019(root)
    for name, rows in release.splits.items():
        assert len(rows) == facts["official"]["rows"][name]
        assert len({r.image_key for r in rows}) == facts["official"]["images"][name]
    assert not release.dropped
    types = Counter(r.question_type for r in release.splits["train"])
    assert types == facts["official"]["train_types"]
    assert len(split_questions(release, "clean").candidates) == facts["official"]["answers"]
    variant = read_vqa_med_2019(root, "no_abnormality")
    for name, rows in variant.splits.items():
        assert len(rows) == facts["no_abnormality"]["rows"][name]
    assert len(split_questions(variant, "clean").candidates) == facts["no_abnormality"]["answers"]
