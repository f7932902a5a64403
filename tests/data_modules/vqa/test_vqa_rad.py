from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from amif_lightning.data.schema.question_splits import restating, split_questions
from amif_lightning.data.schema.questions import Release
from amif_lightning.errors import UserError
from data_modules.vqa import vqa_med_2019
from data_modules.vqa.vqa_med_2019 import VQAMed2019
from data_modules.vqa.vqa_rad import SHARED_NOTE, VQARAD
from tests.data.files import parquet_files
from tests.fakes import FakeRAD, write_vqa_rad

OSF = "VQA_RAD Dataset Public.json"
FACTS = yaml.safe_load((Path(__file__).parents[2] / "facts.yaml").read_text(encoding="utf-8"))


@pytest.fixture
def fake(tmp_path: Path) -> FakeRAD:
    return write_vqa_rad(tmp_path)


def read(root: Path, layout: Any = "auto", protocol: Any = "clean") -> Release:
    return VQARAD(str(root), layout=layout, protocol=protocol).release


def sizes(release: Release) -> dict[str, int]:
    return {name: len(rows) for name, rows in release.splits.items()}


def edit(path: Path, number: int, **changes: Any) -> None:
    rows = json.loads(path.read_text(encoding="utf-8"))
    rows[number].update(changes)
    path.write_text(json.dumps(rows), encoding="utf-8")


def test_osf_rows_and_traps(tmp_path: Path, fake: FakeRAD) -> None:
    release = read(tmp_path)
    train, test = release.splits["train"], release.splits["test"]
    assert (release.layout, len(train), len(test)) == ("osf", fake.train, fake.test)
    assert (release.absent, release.dropped) == ({}, ())
    first = train[0]
    assert first.question == "Is there a fracture?"  # tab and double blank collapsed
    assert first.answer_type == "closed"  # released as 'CLOSED '
    assert first.qid == "0"
    assert all(isinstance(row.qid, str) and row.answer_type for row in (*train, *test))
    where = next(row for row in train if row.question_type == "pos")  # released as 'POS, PRES'
    assert where.references[0] in ("left lower lobe", "right lower lobe")
    count = next(row for row in train if row.question_type == "count")
    assert count.answer.isdigit()  # released as an integer
    assert {row.question_type for row in train} == {"pres", "modality", "pos", "count", "attrib"}
    assert {row.image_key for row in train}.isdisjoint({"synpic35356"})
    items = json.loads((tmp_path / OSF).read_text(encoding="utf-8"))
    for row in (*train, *test):  # ids are rows of the released file
        dataset, split, number = row.question_id.split("/")
        assert (dataset, split) == ("VQARAD", row.split)
        assert items[int(number)]["image_name"].startswith(row.image_key)
        assert " ".join(items[int(number)]["question"].split()) == row.question


def test_variants_are_rephrase_and_frame_without_null(tmp_path: Path, fake: FakeRAD) -> None:
    by_question = {row.question: row.variants for row in read(tmp_path).splits["test"]}
    assert by_question["Is the heart large?"] == (
        "Does the heart look big?",
        "Is/Are the heart enlarged?",
    )
    assert by_question["What is the modality?"] == ()
    # The re-split has no such fields and takes them from the OSF file beside it.
    mevf = read(tmp_path, "mevf")
    assert {row.question: row.variants for row in mevf.splits["test"]} == by_question


@pytest.mark.parametrize(("protocol", "preferred"), [("clean", "osf"), ("literature", "mevf")])
def test_auto_prefers_the_layout_of_the_protocol(
    tmp_path: Path, protocol: str, preferred: str
) -> None:
    write_vqa_rad(tmp_path / "both")
    assert read(tmp_path / "both", "auto", protocol).layout == preferred
    for layout in ("osf", "mevf"):
        write_vqa_rad(tmp_path / layout, layouts=[layout])
        assert read(tmp_path / layout, "auto", protocol).layout == layout


def test_clean_leaves_the_frame_rows_out_and_counts_them(tmp_path: Path, fake: FakeRAD) -> None:
    osf, mevf = read(tmp_path, "osf"), read(tmp_path, "mevf")
    assert len(mevf.splits["train"]) == fake.train
    assert len(mevf.dropped) == fake.frames
    assert len({d.reason for d in mevf.dropped}) == 1

    def content(rows: Any) -> Counter[tuple[str, str, str]]:
        return Counter((r.image_key, r.question, r.references[0]) for r in rows)

    assert content(mevf.splits["train"]) == content(osf.splits["train"])
    # Both layouts hold out the same images, so their results can be compared.
    parts = [split_questions(r, "clean") for r in (osf, mevf)]
    assert content(parts[0].validation) == content(parts[1].validation)


def test_literature_names_the_leak_in_numbers(tmp_path: Path, fake: FakeRAD) -> None:
    release = read(tmp_path, "mevf", "literature")
    assert len(release.splits["train"]) == fake.train + fake.frames
    notes = " ".join(release.notes)
    assert f"{fake.leaked_test_questions} of {fake.test} test questions have their own" in notes
    assert f"{fake.leaked_frames} of its {fake.frames} frame rows equal" in notes
    assert f"{fake.leaked_frames_of_train_too} of those also a training row's" in notes


@pytest.mark.parametrize(
    ("protocol", "message"),
    [
        ("literature", f"templated 'frame' rows, many of which .* put '{OSF}' next to it"),
        ("clean", f"'{OSF}' is not next to trainset.json, .* rephrase or frame are not found"),
    ],
)
def test_notes_without_the_osf_file(tmp_path: Path, protocol: str, message: str) -> None:
    write_vqa_rad(tmp_path, layouts=["mevf"])
    shared, note = read(tmp_path, "mevf", protocol).notes
    assert shared == SHARED_NOTE
    assert re.search(message, note)
    write_vqa_rad(tmp_path)
    assert read(tmp_path, "mevf").notes == (SHARED_NOTE,)


def test_clean_drops_the_row_that_restates_a_test_question(tmp_path: Path, fake: FakeRAD) -> None:
    for seed in range(5):
        part = split_questions(read(tmp_path), "clean", split_seed=seed)
        assert len(part.dropped) == fake.restating_train_rows
        assert restating((*part.train, *part.validation), part.test) == ()


@pytest.mark.parametrize("folder", ["images", "VQA_RAD Image Folder"])
@pytest.mark.parametrize("layout", ["osf", "mevf"])
def test_both_names_of_the_image_folder_are_found(tmp_path: Path, folder: Any, layout: Any) -> None:
    write_vqa_rad(tmp_path, image_folder=folder)
    rows = read(tmp_path, layout).splits["test"]
    assert all((tmp_path / row.image).is_file() for row in rows)


def test_missing_images_do_not_drop_rows(tmp_path: Path, fake: FakeRAD) -> None:
    folder = tmp_path / "VQA_RAD Image Folder"
    for path in folder.iterdir():
        path.unlink()
    assert len(read(tmp_path).splits["train"]) == fake.train
    folder.rmdir()
    release = read(tmp_path)
    assert len(release.splits["train"]) == fake.train
    assert "osf.io/89kps" in release.absent["images"]


def test_empty_questions_and_answers_are_dropped_and_counted(tmp_path: Path, fake: FakeRAD) -> None:
    edit(tmp_path / "trainset.json", 3, question="  ?")
    edit(tmp_path / "trainset.json", 4, answer=None)
    release = read(tmp_path, "mevf", "literature")
    assert len(release.splits["train"]) == fake.train + fake.frames - 2
    assert {d.question_id: d.reason for d in release.dropped} == {
        "VQARAD/train/3": "empty question",
        "VQARAD/train/4": "empty answer",
    }


def test_missing_root_and_missing_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere does not exist.*osf\.io/89kps"):
        read(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"neither .* is in .*osf\.io/89kps"):
        read(tmp_path)
    write_vqa_rad(tmp_path / "osf", layouts=["osf"])
    with pytest.raises(UserError, match=r"'mevf' needs .*trainset\.json"):
        read(tmp_path / "osf", "mevf")
    with pytest.raises(UserError, match=r"layout is 'xml': give one of auto, osf, mevf, hf\."):
        read(tmp_path / "osf", "xml")
    write_vqa_rad(tmp_path / "mevf", layouts=["mevf"])
    (tmp_path / "mevf" / "testset.json").unlink()
    release = read(tmp_path / "mevf")
    assert "test" not in release.splits
    assert "testset.json" in release.absent["test"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"phrase_type": "haiku"}, "question 2 has phrase_type 'haiku'"),
        ({"phrase_type": ["para"]}, r"question 2 has phrase_type \['para'\]"),
        ({"answer_type": "ajar"}, "question 2 has answer_type 'ajar'"),
        ({"question": 3}, "image_name or question of question 2 is not text"),
    ],
)
def test_unknown_fields_values_are_refused(
    tmp_path: Path, fake: FakeRAD, changes: dict[str, Any], message: str
) -> None:
    edit(tmp_path / OSF, 2, **changes)
    with pytest.raises(UserError, match=message):
        read(tmp_path)


@pytest.mark.parametrize("layout", ["osf", "mevf"])
@pytest.mark.parametrize("protocol", ["clean", "literature"])
def test_every_record_names_the_images_that_another_set_shows(
    tmp_path: Path, fake: FakeRAD, layout: Any, protocol: Any
) -> None:
    data = VQARAD(str(tmp_path), layout=layout, protocol=protocol)
    assert SHARED_NOTE in data.evaluation_context().warnings


def test_the_hubs_parquet_files_are_read_where_no_json_is(tmp_path: Path) -> None:
    root, unpacked = tmp_path / "rad", str(tmp_path / "unpacked")
    rows = [parquet_files.row(i // 2, f"is it {i}?", ("yes", "no")[i % 2]) for i in range(12)]
    parquet_files.write_parquet(
        root, {"train": rows, "test": [parquet_files.row(50, "where is it?", "lung")]}
    )
    data = VQARAD(str(root), unpacked=unpacked)
    with pytest.raises(UserError, match="are not unpacked in"):
        _ = data.release
    data.prepare_data()
    release = data.release
    assert release.layout == "hf"
    assert sizes(release) == {"train": 12, "test": 1}
    assert len({r.image_key for r in release.splits["train"]}) == 6
    assert {r.answer_type for r in release.splits["train"]} == {""}
    assert any("no answer_type" in note for note in release.notes)
    assert all(file.is_file() for file in data.images().values())
    assert not data.audit().failed
    write_vqa_rad(root)
    assert read(root).layout == "osf"
    lacking = "this is the hub's copy, which lacks the templated 'frame' rows"
    protocols: dict[Any, bool] = {"clean": False, "literature": True}
    for protocol, noted in protocols.items():
        again = VQARAD(str(root), layout="hf", unpacked=unpacked, protocol=protocol)
        assert again.release.layout == "hf"
        assert any(lacking in note for note in again.release.notes) == noted


@pytest.mark.real_data
def test_real_images_shared_with_vqa_med_2019(real_data: Path) -> None:
    rad = read(real_data / "vqa_rad", "osf")
    other = VQAMed2019(str(real_data / "vqa_med_2019")).release
    ours = {r.image_key for rows in rad.splits.values() for r in rows}
    found = {}
    for split in ("train", "validation"):
        shared = ours & {r.image_key for r in other.splits[split]}
        asked = [r for r in rad.splits["test"] if r.image_key in shared]
        found[split] = {
            "images": len(shared),
            "test_images": len({r.image_key for r in asked}),
            "test_questions": len(asked),
        }
    assert found == FACTS["VQARAD"]["shared_with_vqa_med_2019"]
    train, validation = found["train"], found["validation"]
    for words in (
        f"{train['images']} images of VQA-RAD, {train['test_images']} of them test images",
        f"with {train['test_questions']} test questions",
        f"and {validation['images']} ({validation['test_images']} test images) in its validation",
    ):
        assert words in SHARED_NOTE
    words = f"{train['images']} training and {validation['images']} validation images"
    assert words in vqa_med_2019.SHARED_NOTE


@pytest.mark.real_data
def test_real_osf_counts(real_data: Path) -> None:
    facts = FACTS["VQARAD"]["osf"]
    release = read(real_data / "vqa_rad", "osf")
    train, test = release.splits["train"], release.splits["test"]
    assert sizes(release) == facts["rows"]
    assert {n: len({r.image_key for r in s}) for n, s in release.splits.items()} == facts["images"]
    assert release.dropped == ()
    assert not release.absent
    closed = [r.references[0] for r in test if r.answer_type == "closed"]
    assert (len(closed), len(test) - len(closed)) == (272, 179)
    others = sum(answer not in ("yes", "no") for answer in closed)
    assert others == facts["test"]["closed_not_yes_no"]
    assert not {r.question_type for r in train} & {"atrib", "prse", ""}
    triplets = Counter((r.image_key, r.question, r.answer) for r in train)
    assert sum(n > 1 for n in triplets.values()) == 3
    assert not any("\t" in r.question + r.answer for r in (*train, *test))
    part = split_questions(release, "clean")
    assert len(part.dropped) == facts["restating_train_rows"] == 1
    assert len(part.train) + len(part.validation) == 1796
    assert len(part.candidates) == facts["answers"]
    assert len(part.validation) == facts["held_out"]["rows"]
    assert len({row.image_key for row in part.validation}) == facts["held_out"]["images"]


@pytest.mark.real_data
def test_real_mevf_without_frames_is_the_osf_release(real_data: Path) -> None:
    osf, mevf = (read(real_data / "vqa_rad", layout) for layout in ("osf", "mevf"))
    assert len(mevf.dropped) == FACTS["VQARAD"]["mevf"]["frames"]
    for split in ("train", "test"):
        pairs = [
            [(r.image_key, r.question, r.answer, r.answer_type) for r in release.splits[split]]
            for release in (osf, mevf)
        ]
        assert pairs[0] == pairs[1]


@pytest.mark.real_data
def test_real_mevf_literature_leak(real_data: Path) -> None:
    facts = FACTS["VQARAD"]["mevf"]
    release = read(real_data / "vqa_rad", "auto", "literature")
    assert sizes(release) == facts["rows"]
    leak, notes = facts["leak"], " ".join(release.notes)
    assert f"{leak['test_questions_with_own_frame_and_answer']} of 451 test questions" in notes
    assert f"{leak['frames_equal_to_a_test_frame']} of its 1267 frame rows equal" in notes
    assert f"{leak['of_those_also_a_training_frame']} of those also a training row's" in notes
    assert len(split_questions(release, "literature").candidates) == facts["literature_candidates"]
