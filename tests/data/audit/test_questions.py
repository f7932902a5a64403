from __future__ import annotations

import json
import shutil
import struct
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image, ImageOps

from amif_lightning.data.audit.findings import image_check
from amif_lightning.data.audit.questions import audit
from amif_lightning.data.preprocessing.images import decode_image
from amif_lightning.data.schema.answers import Count
from amif_lightning.data.schema.question_splits import split_questions
from amif_lightning.data.schema.questions import VQAExample
from amif_lightning.errors import UserError
from amif_lightning.evaluation import Protocol
from data_modules import SLAKE, VQARAD, VQAMed2019
from tests.fakes import FakeRAD, write_vqa_med_2019, write_vqa_rad
from tests.fakes_slake import write_slake

FACTS = Path(__file__).parents[2] / "facts.yaml"
IMAGES = "VQA_RAD Image Folder"


@pytest.fixture
def fake(tmp_path: Path) -> FakeRAD:
    return write_vqa_rad(tmp_path)


def files_in(root: Path) -> Callable[[VQAExample], Path]:
    return lambda row: root / row.image


def audit_rad(root: Path, protocol: Protocol = "clean", layout: Any = "auto", **kwargs: Any) -> Any:
    release = VQARAD(str(root), layout=layout, protocol=protocol).release
    return audit(split_questions(release, protocol), release, files_in(root), **kwargs)


def test_clean_release_is_clean(tmp_path: Path, fake: FakeRAD) -> None:
    found = audit_rad(tmp_path)
    assert found.clean
    assert not found.failed
    assert found.sizes["released train"].rows == fake.train
    assert found.sizes["released train"].images == fake.train_images
    assert found.sizes["test"].rows == fake.test
    assert found.splits["test"].unseen == 3  # azygos vein, Left, apex
    assert found.splits["test"].ceiling_candidates["overall"] == Count(9, 12)
    assert found.images.checked == fake.train_images + 1
    overlap = next(o for o in found.overlaps if (o.first, o.second) == ("released train", "test"))
    assert (overlap.shared, overlap.images_of_second) == (4, fake.test_images)


def test_text_and_json_hold_the_findings(tmp_path: Path, fake: FakeRAD) -> None:
    found = audit_rad(tmp_path)
    text = found.to_text()
    for expected in (
        "VQARAD, layout osf, protocol: clean",
        "warning: 4 of 5 test images also in released train",
        "clean (question-level): no trained row restates a held-out question, but 4 of 5 test ",
        "dropped: 1 rows, not clean: equal to a held-out question",
        "type/modality",
        "question-only",
        "images: 13 checked",
    ):
        assert expected in text
    # Twelve questions are too few for percentages.
    assert "9/12" in text
    assert "(9/12)" not in text
    fields = json.loads(found.to_json())
    assert fields["clean"] is True
    assert fields["splits"]["test"]["ceiling_candidates"]["overall"] == {"correct": 9, "count": 12}
    assert fields["dropped"].popitem()[1][0] == 1


def test_unusable_rows_are_counted_apart_from_those_an_option_leaves_out(tmp_path: Path) -> None:
    fake = write_slake(tmp_path)
    release = SLAKE(str(tmp_path)).release
    found = audit(split_questions(release, "clean"), release, files_in(tmp_path), max_pixels=None)
    assert found.sizes["released train"].unusable == fake.english_without_answer
    assert found.sizes["test"].unusable == 0
    (row,) = (line for line in found.to_text().splitlines() if line.startswith("released train"))
    assert row.split()[-4::3] == [str(fake.english["train"]), str(fake.english_without_answer)]


def test_literature_is_labelled_and_not_a_failure(tmp_path: Path, fake: FakeRAD) -> None:
    found = audit_rad(tmp_path, "literature", "mevf")
    assert not found.clean
    assert not found.failed
    assert found.splits["test"].ceiling_candidates["overall"] == Count(12, 12)
    text = found.to_text()
    assert "NOT CLEAN (literature (test answers visible))" in text
    assert "candidates are validation or test answers" in text
    assert f"{fake.leaked_test_questions} of {fake.test} test questions have their own" in text


def test_leaks_of_a_clean_protocol_fail(tmp_path: Path, fake: FakeRAD) -> None:
    release = VQARAD(str(tmp_path)).release
    honest = split_questions(release, "clean")
    test_answers = tuple(row.references[0] for row in honest.test)
    shared = "validation images are in the trained rows"
    leaky = VQARAD(str(tmp_path), layout="mevf", protocol="literature").release
    for source, wrong, sentences in (
        # What the reference implementation does: rank the test answers, and call it validation.
        (
            release,
            replace(honest, candidates=honest.candidates + test_answers, answer_rows=honest.test),
            ("candidates are validation or test answers", "vocabulary words"),
        ),
        (release, replace(honest, validation=honest.test), (shared,)),
        (release, replace(honest, train=honest.released_train), (shared,)),
        (
            leaky,
            replace(split_questions(leaky, "literature"), protocol="clean"),
            ("trained rows equal a test question",),
        ),
    ):
        found = audit(wrong, source, files_in(tmp_path), max_pixels=None)
        assert found.failed
        for sentence in sentences:
            assert any(sentence in leak for leak in found.not_clean)


def test_the_copy_baseline_does_not_know_held_out_answers(tmp_path: Path, fake: FakeRAD) -> None:
    validation = audit_rad(tmp_path).splits["validation"]
    # Looking a question up in rows that hold it would give every answer.
    assert validation.same_image_copy["overall"].correct < validation.rows
    assert validation.source.startswith("held out")


def test_missing_and_damaged_images_are_counted_and_named(tmp_path: Path, fake: FakeRAD) -> None:
    images = sorted((tmp_path / IMAGES).iterdir())
    images[0].unlink()
    images[1].write_bytes(b"no image")
    images[2].write_bytes(images[2].read_bytes()[:400])
    found = audit_rad(tmp_path)
    assert found.failed
    assert found.images.missing == (f"{IMAGES}/{images[0].name}",)
    assert found.images.undecodable == tuple(f"{IMAGES}/{p.name}" for p in images[1:3])
    text = found.to_text()
    assert f"1 missing ({IMAGES}/{images[0].name})" in text
    assert "2 undecodable" in text


@pytest.mark.parametrize("fault", [struct.error, IndexError, ValueError])
def test_the_image_check_refuses_what_training_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: type[Exception]
) -> None:
    # Turning and converting an image comes after reading it and can fail by itself.
    def breaks(image: Image.Image, *, in_place: bool) -> None:
        if image.size == (41, 40):
            raise fault("bad tag")

    monkeypatch.setattr(ImageOps, "exif_transpose", breaks)
    for name, width in (("a.png", 41), ("b.png", 40)):
        Image.new("L", (width, 40)).save(tmp_path / name)
    with pytest.raises(UserError, match="bad tag"):
        decode_image(tmp_path / "a.png", 32)
    assert image_check({name: tmp_path / name for name in ("a.png", "b.png")}).undecodable == (
        "a.png",
    )


def test_absent_image_folder_is_named_once(tmp_path: Path, fake: FakeRAD) -> None:
    shutil.rmtree(tmp_path / IMAGES)
    found = audit_rad(tmp_path)
    assert not found.failed
    assert found.images.missing == ()
    assert f"folder {IMAGES} is absent, its 13 images not checked" in found.to_text()
    assert "images: not checked" in audit_rad(tmp_path, max_pixels=None).to_text()


def test_absent_test_split_is_named_and_its_checks_left_out(tmp_path: Path) -> None:
    write_vqa_med_2019(tmp_path, splits=["train", "validation"])
    release = VQAMed2019(str(tmp_path)).release
    found = audit(split_questions(release, "clean"), release, files_in(tmp_path))
    assert set(found.splits) == {"validation"}
    assert "absent: test: VQAMed2019Test/" in found.to_text()
    assert "closed/field" not in found.splits["validation"].question_only


def check_facts(split: Any, facts: dict[str, Any]) -> None:
    assert split.unseen == facts["unseen"]
    for name, expected in facts["ceiling"].items():
        assert split.ceiling_training[name] == Count(*expected)
    for baseline in ("same_image_copy", "question_only"):
        for name, expected in facts[baseline].items():
            assert getattr(split, baseline)[name] == Count(*expected)


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("protocol", "layout", "ceiling", "copy", "lookup"),
    [
        ("clean", "osf", [74.7, 97.8, 39.7], [23.9, 39.3, 0.6], [37.0, 53.7, 11.7]),
        ("literature", "mevf", [89.8, 97.8, 77.7], [60.5, 70.2, 45.8], [38.6, 55.1, 13.4]),
    ],
)
def test_real_vqa_rad(
    real_data: Path,
    protocol: Protocol,
    layout: str,
    ceiling: list[float],
    copy: list[float],
    lookup: list[float],
) -> None:
    facts = yaml.safe_load(FACTS.read_text(encoding="utf-8"))["VQARAD"][layout]
    found = audit_rad(real_data / "vqa_rad", protocol)
    assert found.layout == layout
    assert found.sizes["released train"].answers == facts["answers"]
    assert found.sizes["released train"].images == facts["images"]["train"]
    assert found.majority_answer == facts["majority_answer"]
    test = found.splits["test"]
    check_facts(test, facts["test"])
    names = ("overall", "closed/field", "open/field")
    assert [test.ceiling_training[n].percent for n in names] == ceiling
    assert [test.same_image_copy[n].percent for n in names] == copy
    assert [test.question_only[n].percent for n in names] == lookup
    assert found.clean == (protocol == "clean")
    assert not found.failed
    assert not found.images.missing
    assert not found.images.undecodable


@pytest.mark.real_data
def test_real_vqa_rad_overlap_and_time(real_data: Path) -> None:
    start = time.process_time()
    found = audit_rad(real_data / "vqa_rad")
    assert time.process_time() - start < 4
    facts = yaml.safe_load(FACTS.read_text(encoding="utf-8"))["VQARAD"]["osf"]
    shared = {(o.first, o.second): o.shared for o in found.overlaps}
    assert shared["released train", "test"] == facts["shared_train_test_images"]
    assert shared["trained", "validation"] == 0


@pytest.mark.real_data
def test_real_vqa_med_2019_validation(real_data: Path) -> None:
    facts = yaml.safe_load(FACTS.read_text(encoding="utf-8"))["VQAMed2019"]["official"]
    root = real_data / "vqa_med_2019"
    release = VQAMed2019(str(root)).release
    found = audit(split_questions(release, "clean"), release, files_in(root), max_pixels=None)
    assert found.clean
    assert found.majority_answer == facts["majority_answer"]
    assert found.sizes["released train"].answers == facts["answers"]
    check_facts(found.splits["validation"], facts["validation"])


@pytest.mark.real_data
def test_real_slake_prints_the_released_counts(real_data: Path) -> None:
    facts = yaml.safe_load(FACTS.read_text(encoding="utf-8"))["SLAKE"]["english"]
    root = real_data / "slake"
    release = SLAKE(str(root)).release
    found = audit(split_questions(release, "clean"), release, files_in(root), max_pixels=None)
    for name, split in (("released train", "train"), ("validation",) * 2, ("test",) * 2):
        assert found.sizes[name].rows + found.sizes[name].unusable == facts["rows"][split]
        assert found.sizes[name].unusable == facts["without_answer"][split]
        assert found.sizes[name].images == facts["images"][split]
