"""The generated data set as a data module."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from amif_lightning.errors import UserError
from data_modules.phantom.module import Phantom
from data_modules.phantom.read import read_studies

SIZES = {"train_studies": 24, "validation_studies": 8, "test_studies": 8}
OPTIONS: dict[str, Any] = {
    "tokenizer": "words",
    "image_size": 32,
    "num_workers": 0,
    "batch_size": 4,
    "augmentation": "none",
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("module") / "set"
    _phantom(folder).prepare_data()
    return folder


def _phantom(root: Path, **more: Any) -> Phantom:
    return Phantom(str(root), **(SIZES | OPTIONS | more))


def test_the_split_sizes_are_those_asked_for(root: Path) -> None:
    studies = read_studies(root)
    counts = {
        name: sum(s.split == name for s in studies) for name in ("train", "validation", "test")
    }
    assert counts == {"train": 24, "validation": 8, "test": 8}


def test_preparing_again_keeps_the_files(root: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*.*")}
    _phantom(root).prepare_data()
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*.*")} == before


@pytest.mark.parametrize(
    ("name", "value"),
    [("phantom_seed", -1), ("train_studies", 0), ("validation_studies", -1), ("test_studies", -1)],
)
def test_bad_options_are_named(tmp_path: Path, name: str, value: int) -> None:
    with pytest.raises(UserError, match=rf"data\.init_args\.{name} is {value}: give at least"):
        _phantom(tmp_path / "set", **{name: value})


def test_no_patient_is_trained_on_and_validated_on_after_a_hold_out(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    sizes = {"train_studies": 60, "validation_studies": 0, "test_studies": 8}
    _phantom(folder, **sizes).prepare_data()
    of_study = {study.study_id: study.patient_id for study in read_studies(folder)}
    for seed in range(5):
        parts = _phantom(folder, **sizes, split_seed=seed, validation_fraction=0.3).splits
        assert parts.held_out_from_train
        trained, held_out = (
            {of_study[Path(row.image).name.rsplit("_", 1)[0]] for row in rows}
            for rows in (parts.train, parts.validation)
        )
        assert trained
        assert held_out
        assert not trained & held_out


def test_other_settings_in_the_same_folder_are_refused(root: Path) -> None:
    with pytest.raises(UserError, match="made with other settings"):
        _phantom(root, phantom_seed=1).prepare_data()


def test_the_training_seed_does_not_change_the_patients(root: Path, tmp_path: Path) -> None:
    other = _phantom(tmp_path / "set", seed=5)
    other.prepare_data()
    files = ("questions.jsonl", "studies.jsonl")
    assert [(tmp_path / "set" / f).read_text() for f in files] == [
        (root / f).read_text() for f in files
    ]
    another = _phantom(tmp_path / "patients", phantom_seed=1)
    another.prepare_data()
    assert (tmp_path / "patients" / "studies.jsonl").read_text() != (
        root / "studies.jsonl"
    ).read_text()


def test_the_clean_protocol_keeps_the_generated_splits(root: Path) -> None:
    data = _phantom(root)
    lines = [json.loads(x) for x in (root / "questions.jsonl").read_text().splitlines()]
    for split, rows in (
        ("train", data.splits.train),
        ("validation", data.splits.validation),
        ("test", data.splits.test),
    ):
        asked = [(x["image"], x["question"]) for x in lines if x["split"] == split]
        assert [(row.image, row.question) for row in rows] == asked
    assert not data.splits.dropped
    assert not data.splits.held_out_from_train
    assert set(data.splits.candidates) == {x["answer"] for x in lines if x["split"] == "train"}


def test_its_word_table_knows_the_training_reports_and_no_others(root: Path) -> None:
    data = _phantom(root)
    texts = data.training_texts()
    studies = read_studies(root)
    assert {s.report for s in studies if s.split == "train"} <= set(texts)
    held_out = {s.report for s in studies if s.split != "train"}
    held_out -= {s.report for s in studies if s.split == "train"}
    assert held_out
    assert not held_out & set(texts)


def test_its_audit_is_clean(root: Path) -> None:
    audit = _phantom(root).audit()
    assert audit.clean, audit.not_clean


def test_its_batches_hold_images_and_questions(root: Path) -> None:
    data = _phantom(root, questions_per_image=2)
    data.prepare_data()
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    assert batch.images.shape == (4, 3, 32, 32)
    assert 4 <= len(batch) <= 8
    assert batch.strata[:, data.strata.index("overall")].all()
    by_id = {row.question_id: row for row in data.splits.train}
    for question_id, question, image in zip(
        batch.question_ids, batch.questions, batch.image_keys, strict=True
    ):
        assert (by_id[question_id].question, by_id[question_id].image_key) == (question, image)


def test_too_few_studies_for_a_question_are_one_sentence(tmp_path: Path) -> None:
    data = _phantom(tmp_path / "set", train_studies=1)
    data.prepare_data()
    with pytest.raises(UserError, match=r"give --data\.init_args\.train_studies 24 or more"):
        data.setup("fit")
