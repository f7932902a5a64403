"""The protocol `disjoint`: rows that share an image or patient with scored ones do not train."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from amif_lightning.data.leakage.held_out import CONTENT, PATIENT, SAME
from amif_lightning.data.loading.vqa_module import VQADataModule
from amif_lightning.data.schema.question_splits import images_of, patients_of
from amif_lightning.data.schema.questions import SplitName, VQAExample
from amif_lightning.errors import UserError
from data_modules import (
    SLAKE,
    VQARAD,
    CaptionsFromQA,
    PathVQA,
    Phantom,
    QuestionMixture,
    VQAMed2019,
)
from tests.data.leakage import plain_look
from tests.data.tiny_parts import named_tiny
from tests.data.tiny_release import Tiny, tiny_release
from tests.small_sets import QUICK, SETS


def changed(root: Path, **options: Any) -> Tiny:
    """:func:`tiny_release` with one trap of each kind, under the protocol ``disjoint``."""
    made = tiny_release(root)
    splits = {split: list(rows) for split, rows in made.splits.items()}
    train, test = splits["train"], splits["test"]

    def mark(split: SplitName, image: int, **fields: str) -> None:
        key = f"{split}{image:02d}"
        splits[split] = [replace(r, **fields) if r.image_key == key else r for r in splits[split]]

    # One more question on a test image, with an answer that no other row has.
    asked = replace(test[0], split="train", question_id="Tiny/train/99", question="Which side?")
    train.append(replace(asked, answer="leaked answer", references=("leaked answer",)))
    with Image.open(root / "validation/00.png") as image:  # a copy of another size
        image.resize((64, 64), Image.Resampling.NEAREST).save(root / "train/02.png")
    mark("train", 4, group="one")
    mark("test", 1, group="one")
    mark("train", 5, group="two")
    mark("train", 6, group="two")  # train/05.png, of the same patient, is a copy
    shutil.copy(root / "test/03.png", root / "train/05.png")
    kept = {split: tuple(rows) for split, rows in splits.items()}
    options = {"protocol": "disjoint", "hashes": str(root / "hashes")} | options
    return Tiny(root, replace(made, splits=kept), **options)


def test_rows_that_share_an_image_or_a_patient_do_not_train(tmp_path: Path) -> None:
    data = changed(tmp_path)
    parts = data.splits
    reasons = {row.detail: row.reason for row in parts.dropped}
    assert reasons == {
        "test/00.png": SAME,
        "train/02.png": CONTENT,
        "train/04.png": PATIENT,
        "train/05.png": CONTENT,
        "train/06.png": PATIENT,
    }
    # Images 2, 4, 5 and 6 have 4 + 5 + 1 + 3 questions.
    assert len(parts.train) == 28 - 1 - 13
    assert parts.validation == data.release.splits["validation"]
    sentences = data.warnings()
    assert any(one.startswith("disjoint: 14 of 28 training rows share no") for one in sentences)
    assert f"8 rows dropped: {PATIENT}" in sentences
    assert data.evaluation_context().warnings == tuple(sentences)


def test_candidates_and_baselines_come_from_the_trained_rows(tmp_path: Path) -> None:
    data = changed(tmp_path)
    clean = changed(tmp_path, protocol="clean")
    assert "leaked answer" in clean.splits.candidates
    space = data.answer_space()
    assert space.protocol == "disjoint"
    assert space.answers_from == "train"
    assert set(space.candidates) == {row.references[0] for row in data.splits.train}
    assert "leaked" not in space.vocabulary
    assert not any("leaked" in text for text in data.training_texts())
    facts = data.evaluation_context()
    assert facts.protocol == "disjoint"
    # No trained row shows a test image, so the copy answers "no" everywhere.
    says_no = sum("no" in row.references for row in data.splits.test)
    assert facts.baselines["same_image_copy"]["overall"].correct == says_no
    assert facts.ceiling == data.audit(check_images=False).splits["test"].ceiling_training


def test_the_audit_judges_each_protocol_by_its_own_rule(tmp_path: Path) -> None:
    clean = changed(tmp_path, protocol="clean").audit(check_images=False)
    assert clean.clean
    assert (
        "clean (question-level): no trained row restates a held-out question, but 1 of 5 test "
        "images are also in the trained rows" in clean.to_text()
    )
    data = changed(tmp_path)
    found = data.audit(check_images=False)
    assert not found.failed
    text = found.to_text()
    assert "protocol: disjoint" in text
    assert "disjoint: no trained row shares an image or patient" in text
    data.splits = replace(data.splits, train=changed(tmp_path, protocol="clean").splits.train)
    leaky = data.audit(check_images=False)
    assert leaky.failed
    assert "NOT CLEAN (disjoint): 6 trained rows share an image or a patient with test" in (
        leaky.to_text()
    )


def shares(one: VQADataModule, rows: tuple[VQAExample, ...], other: list[VQAExample]) -> bool:
    """Whether rows share an image, by key or content, or a patient with others; slow."""
    if images_of(rows) & images_of(other) or patients_of(rows) & patients_of(other):
        return True
    mine, theirs = (plain_look.look(one.images_in(some).files) for some in (rows, other))
    return one.compares_content and bool(plain_look.content_pairs(mine, theirs))


CLASSES: dict[str, Callable[..., VQADataModule]] = {
    "VQARAD osf": VQARAD,
    "VQARAD mevf": VQARAD,
    "SLAKE": SLAKE,
    "VQAMed2019": VQAMed2019,
    "PathVQA": PathVQA,
    "Phantom": Phantom,
}


@pytest.mark.parametrize("name", CLASSES)
def test_every_question_set_can_be_disjoint(tmp_path: Path, name: str) -> None:
    root = tmp_path / "set"
    SETS[name].write(root)
    sizes = {"train_studies": 24, "validation_studies": 1, "test_studies": 1}
    options = QUICK | (sizes if name == "Phantom" else {})
    kept = str(tmp_path / "hashes")
    data = CLASSES[name](str(root), protocol="disjoint", hashes=kept, **options)
    data.prepare_data()
    data.setup("fit")
    parts = data.splits
    held_out = [*parts.validation, *parts.test]
    assert parts.train
    assert not shares(data, parts.train, held_out)
    clean = CLASSES[name](str(root), protocol="clean", **options).splits
    assert parts.validation == clean.validation
    lost = [row for row in clean.train if row not in set(parts.train)]
    known = {row.question_id for row in clean.dropped}
    assert len(lost) == len([row for row in parts.dropped if row.question_id not in known])
    assert all(shares(data, (row,), held_out) or row.group for row in lost)


def test_a_mixture_of_disjoint_parts_is_disjoint(tmp_path: Path) -> None:
    first = changed(tmp_path / "Tiny")
    second = named_tiny(tmp_path, "Second", seed=1, protocol="disjoint", hashes=str(tmp_path / "h"))
    data = QuestionMixture([first, second], hashes=str(tmp_path / "hashes"), **QUICK)
    assert Counter(row.source for row in data.splits.train) == {"Tiny": 14, "Second": 27}
    assert data.splits.answer_rows == data.splits.train
    assert data.answer_space().protocol == "disjoint"
    captions = CaptionsFromQA(first, hashes=str(tmp_path / "hashes"), **QUICK)
    assert len(captions.release.splits["train"]) == 6


def test_nothing_left_to_train_on_is_one_sentence(tmp_path: Path) -> None:
    made = tiny_release(tmp_path)
    rows = tuple(replace(r, group="one") for r in made.splits["train"])
    test = tuple(replace(r, group="one") for r in made.splits["test"])
    splits = {**made.splits, "train": rows, "test": test}
    data = Tiny(tmp_path, replace(made, splits=splits), protocol="disjoint", hashes=str(tmp_path))
    with pytest.raises(UserError, match=r"leaves nothing to train on: use 'clean'\.$"):
        data.setup("fit")


@pytest.mark.real_data
def test_real_vqa_rad_keeps_675_rows(real_data: Path, tmp_path: Path) -> None:
    kept = str(tmp_path / "hashes")
    data = VQARAD(str(real_data / "vqa_rad"), layout="osf", protocol="disjoint", hashes=kept)
    parts = data.splits
    assert (len(parts.train), len(images_of(parts.train)), len(parts.validation)) == (675, 102, 167)
    assert any(note.startswith("disjoint: 675 of 1629 training rows") for note in parts.notes)
    assert Counter(row.reason for row in parts.dropped)[SAME] == 1629 - 675
    assert not data.audit(check_images=False).failed
