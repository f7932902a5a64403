"""The generated data set as a question data module, and what both data modules share."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from amif_lightning.errors import UserError
from data_modules.phantom.module import Phantom, PhantomStudies
from data_modules.phantom.read import read_studies
from tests.data_modules.phantom.conftest import SMALL


def _phantom(root: Path, **more: Any) -> Phantom:
    return Phantom(str(root), **(SMALL | {"batch_size": 4} | more))


@pytest.mark.parametrize("kind", [Phantom, PhantomStudies])
@pytest.mark.parametrize(
    ("name", "value"),
    [("phantom_seed", -1), ("train_studies", 0), ("validation_studies", -1), ("test_studies", -1)],
)
def test_bad_options_are_named(
    tmp_path: Path, kind: type[Phantom | PhantomStudies], name: str, value: int
) -> None:
    options: dict[str, Any] = {name: value}
    with pytest.raises(UserError, match=rf"data\.init_args\.{name} is {value}: give at least"):
        kind(str(tmp_path / "set"), **options)


def test_no_patient_is_trained_on_and_validated_on_after_a_hold_out(tmp_path: Path) -> None:
    options = SMALL | {"train_studies": 60, "validation_studies": 0, "validation_fraction": 0.3}
    root = str(tmp_path / "set")
    Phantom(root, **options).prepare_data()
    kinds: tuple[type[Phantom | PhantomStudies], ...] = (Phantom, PhantomStudies)
    for kind, seed in product(kinds, range(3)):
        splits: Any = kind(root, **options, split_seed=seed).splits
        assert splits.held_out_from_train
        trained, held_out = (
            {row.group for row in rows} for rows in (splits.train, splits.validation)
        )
        assert trained
        assert held_out
        assert not trained & held_out


def test_the_training_seed_does_not_change_the_patients(small_root: Path, tmp_path: Path) -> None:
    _phantom(tmp_path / "set", seed=5).prepare_data()
    for name in ("questions.jsonl", "studies.jsonl"):
        assert (tmp_path / "set" / name).read_text() == (small_root / name).read_text()


def test_the_clean_protocol_keeps_the_generated_splits(small_root: Path) -> None:
    data = _phantom(small_root)
    lines = [json.loads(x) for x in (small_root / "questions.jsonl").read_text().splitlines()]
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


def test_its_training_texts_have_the_training_reports_and_no_others(small_root: Path) -> None:
    data = _phantom(small_root)
    texts = data.training_texts()
    studies = read_studies(small_root)
    assert {s.report for s in studies if s.split == "train"} <= set(texts)
    held_out = {s.report for s in studies if s.split != "train"}
    held_out -= {s.report for s in studies if s.split == "train"}
    assert held_out
    assert not held_out & set(texts)


def test_its_audit_is_clean(small_root: Path) -> None:
    audit = _phantom(small_root).audit()
    assert audit.clean, audit.not_clean


def test_too_few_studies_for_a_question_are_one_sentence(tmp_path: Path) -> None:
    data = _phantom(tmp_path / "set", train_studies=1)
    data.prepare_data()
    with pytest.raises(UserError, match=r"give --data\.init_args\.train_studies 24 or more"):
        data.setup("fit")
