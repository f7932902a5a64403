from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from amif_lightning.data.audit.questions import evaluation_context
from amif_lightning.data.preprocessing.normalization import normalise
from amif_lightning.data.schema.answers import is_correct
from amif_lightning.data.schema.question_splits import images_of, split_questions
from amif_lightning.data.schema.questions import Release
from amif_lightning.errors import UserError
from amif_lightning.evaluation import Count
from data_modules import SLAKE
from tests.fakes_slake import FakeSlake, write_slake

FACTS = yaml.safe_load((Path(__file__).parents[2] / "facts.yaml").read_text(encoding="utf-8"))


@pytest.fixture
def fake(tmp_path: Path) -> FakeSlake:
    return write_slake(tmp_path)


def read(root: Path, **options: Any) -> Release:
    return SLAKE(str(root), **options).release


def _sizes(release: Any) -> dict[str, int]:
    return {name: len(rows) for name, rows in release.splits.items()}


def _edit(path: Path, number: int, **values: Any) -> None:
    rows = json.loads(path.read_text(encoding="utf-8"))
    rows[number] |= values
    path.write_text(json.dumps(rows), encoding="utf-8")


def test_english_rows_as_released(tmp_path: Path, fake: FakeSlake) -> None:
    release = read(tmp_path)
    assert _sizes(release) == fake.english
    assert not release.absent
    reasons = Counter(row.reason for row in release.dropped)
    assert reasons == {
        "empty answer": fake.english_without_answer,
        "Chinese question, left out by language 'en'": sum(fake.chinese.values()),
    }
    for split, name in (("train", "train"), ("validation", "validate"), ("test", "test")):
        items = json.loads((tmp_path / f"{name}.json").read_text(encoding="utf-8"))
        for row in release.splits[split]:  # type: ignore[index]  # a literal in a loop
            item = items[int(row.question_id.rpartition("/")[2])]
            assert row.question_id.startswith(f"SLAKE/{split}/")
            assert row.qid == str(item["qid"])
            assert row.image == f"imgs/{item['img_name']}"
            assert row.image_key == f"xmlab{item['img_id']}"
            assert row.question == " ".join(item["question"].split())
            assert row.references == (normalise(item["answer"]),)
            assert row.answer_type == item["answer_type"].lower()
            assert row.question_type == item["content_type"].lower()


@pytest.mark.parametrize("language", ["zh", "all"])
def test_other_languages(tmp_path: Path, fake: FakeSlake, language: str) -> None:
    release = read(tmp_path, language=language)
    expected = Counter(fake.chinese)
    if language == "all":
        expected.update(fake.english)
    assert _sizes(release) == expected
    chinese = [row for row in release.splits["test"] if "病变" in row.question]
    assert {row.references for row in chinese} == {("左肺右侧",)}


def test_images_that_one_language_trains_and_the_other_tests_are_left_out(
    tmp_path: Path, fake: FakeSlake
) -> None:
    data = SLAKE(str(tmp_path), language="all")
    assert "split the same images differently" in data.splits.notes[0]
    held_out = images_of(data.splits.test) | images_of(data.splits.validation)
    assert images_of(data.splits.released_train) & images_of(data.splits.test)
    assert not images_of(data.splits.train) & held_out
    assert "not clean: shows a test image" in {row.reason for row in data.splits.dropped}
    assert data.selection().items() >= {"language": "all", "list_answers": "as_released"}.items()
    leaky = SLAKE(str(tmp_path), language="all", protocol="literature")
    assert images_of(leaky.splits.train) & images_of(leaky.splits.test)


def test_the_order_of_a_list_counts_by_option(tmp_path: Path, fake: FakeSlake) -> None:
    strict = split_questions(read(tmp_path), "clean")
    loose = split_questions(read(tmp_path, list_answers="any_order"), "clean")
    assert {"mass atelectasis", "atelectasis mass"} <= set(strict.candidates)
    assert "mass atelectasis" not in loose.candidates
    assert "atelectasis mass" in loose.candidates
    assert len(loose.candidates) == len(strict.candidates) - 1
    rows = [row for row in loose.test if "diseases" in row.question]
    assert rows
    assert all(is_correct(g, r) for r in rows for g in ("Mass, Atelectasis", "atelectasis, mass"))
    assert not any(is_correct("mass", row) for row in rows)
    strict_rows = [row for row in strict.test if "diseases" in row.question]
    assert Counter(is_correct("Mass, Atelectasis", r) for r in strict_rows) == {True: 1, False: 1}


@pytest.mark.parametrize("ending", ["source.jpg", "source.jpg.jpg"])
def test_mirrors(tmp_path: Path, ending: str) -> None:
    fake = write_slake(tmp_path, validation="validation.json", ending=ending)
    data = SLAKE(str(tmp_path))
    assert _sizes(data.release) == fake.english
    assert all(data.file_of(r).is_file() for rows in data.release.splits.values() for r in rows)
    assert not data.audit().failed
    _edit(tmp_path / "train.json", 0, img_name="xmlab0/source.jpg.jpg")  # doubled in the table only
    row = read(tmp_path).splits["train"][0]
    assert row.image_key == "xmlab0"
    assert data.file_of(row) == tmp_path / "imgs/xmlab0" / ending


def test_absent_files_are_named(tmp_path: Path) -> None:
    write_slake(tmp_path, drawn=False)
    (tmp_path / "validate.json").unlink()
    (tmp_path / "test.json").unlink()
    release = read(tmp_path)
    assert "validate.json or validation.json" in release.absent["validation"]
    assert "test.json" in release.absent["test"]
    assert "fetch the images" in release.absent["images"]
    (tmp_path / "imgs.zip").write_bytes(b"PK")
    assert "prepare data --data SLAKE" in read(tmp_path).absent["images"]
    found = SLAKE(str(tmp_path)).audit().images
    assert found is not None
    assert list(found.absent_folders) == ["imgs"]
    rows = json.loads((tmp_path / "train.json").read_text(encoding="utf-8"))
    english = [row for row in rows if row["q_lang"] == "en"]
    (tmp_path / "test.json").write_text(json.dumps(english), encoding="utf-8")
    assert "no question of language 'zh'" in read(tmp_path, language="zh").absent["test"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"img_name": "../secret.jpg"}, "img_name"),
        ({"img_name": "xmlab1/../source.jpg"}, "img_name"),
        ({"img_name": 3}, "img_name of question 1 is not text"),
        ({"q_lang": "fr"}, "q_lang 'fr'"),
        ({"answer_type": "MAYBE"}, "answer_type 'MAYBE'"),
    ],
)
def test_another_release_is_refused(
    tmp_path: Path, fake: FakeSlake, values: dict[str, Any], message: str
) -> None:
    _edit(tmp_path / "train.json", 1, **values)
    with pytest.raises(UserError, match=message):
        read(tmp_path)


def test_bad_inputs(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        read(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"train\.json cannot be read \(No such file"):
        read(tmp_path)
    for option in ("language", "list_answers"):
        with pytest.raises(UserError, match=f"{option} is 'half'"):
            read(tmp_path, **{option: "half"})


@pytest.mark.real_data
def test_real_counts(real_data: Path) -> None:
    facts = FACTS["SLAKE"]
    root = real_data / "slake"
    english = facts["english"]
    release = read(root)
    for name, rows in release.splits.items():
        assert len(rows) + english["without_answer"][name] == english["rows"][name]
        assert len(images_of(rows)) == english["images"][name]
    assert sum(r.reason == "empty answer" for r in release.dropped) == 1
    parts = split_questions(release, "clean")
    assert parts.train == parts.released_train
    assert len(parts.candidates) == english["answers"]
    found = evaluation_context(parts, lambda row: row.image)
    overall = found.ceiling["overall"]
    assert overall.count - overall.correct == english["test"]["unseen"]
    closed = [row for row in parts.test if row.answer_type == "closed"]
    others = sum(row.references[0] not in ("yes", "no") for row in closed)
    assert others == english["test"]["closed_not_yes_no"]
    assert found.majority == english["majority_answer"]
    for baseline in ("majority", "question_only"):
        for stratum, counts in english["test"][baseline].items():
            assert found.baselines[baseline][stratum] == Count(*counts)
    chinese = read(root, language="zh")
    for name, rows in chinese.splits.items():
        assert len(rows) == facts["chinese"]["rows"][name]
        assert len(images_of(rows)) == facts["chinese"]["images"][name]
    both = SLAKE(str(root), language="all").splits
    assert not images_of(both.train) & images_of(both.test)
    assert len(both.released_train) + 1 == facts["all_languages"]["rows"]["train"]
    assert len(both.validation) == facts["all_languages"]["rows"]["validation"]
    assert len(both.test) == facts["all_languages"]["rows"]["test"]
    shared = facts["all_languages"]["shared_images"]
    pairs = (
        (release.splits["test"], chinese.splits["train"], "english_test_in_chinese_train"),
        (chinese.splits["test"], release.splits["train"], "chinese_test_in_english_train"),
    )
    for test, train, key in pairs:
        assert len(images_of(test) & images_of(train)) == shared[key]
