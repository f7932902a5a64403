from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from amif_lightning.data.audit.evaluation_context import evaluation_context
from amif_lightning.data.preprocessing.normalization import collapse, normalise
from amif_lightning.data.schema.answers import is_correct, list_references
from amif_lightning.data.schema.question_splits import images_of, split_questions
from amif_lightning.errors import UserError
from amif_lightning.evaluation import Count
from data_modules.vqa.slake import SLAKE, read_slake
from tests.fakes_slake import FakeSlake, write_slake

FACTS = Path(__file__).parents[2] / "facts.yaml"


@pytest.fixture
def fake(tmp_path: Path) -> FakeSlake:
    return write_slake(tmp_path)


def _sizes(release: Any) -> dict[str, int]:
    return {name: len(rows) for name, rows in release.splits.items()}


def _edit(path: Path, number: int, **values: Any) -> None:
    rows = json.loads(path.read_text(encoding="utf-8"))
    rows[number] |= values
    path.write_text(json.dumps(rows), encoding="utf-8")


def test_english_rows_as_released(tmp_path: Path, fake: FakeSlake) -> None:
    release = read_slake(tmp_path)
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
    release = SLAKE(str(tmp_path), language=language).release  # type: ignore[arg-type]  # a parameter
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
    leaky = SLAKE(str(tmp_path), language="all", protocol="literature")
    assert images_of(leaky.splits.train) & images_of(leaky.splits.test)


def test_the_order_of_a_list_counts_by_option(tmp_path: Path, fake: FakeSlake) -> None:
    strict = split_questions(read_slake(tmp_path), "clean")
    loose = split_questions(read_slake(tmp_path, list_answers="any_order"), "clean")
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


@pytest.mark.parametrize(
    ("answer", "references"),
    [
        ("Mass", ("mass",)),
        (" , ", ()),
        ("b， a", ("a b", "b a")),
        ("b,a", ("a b", "b a", "ba")),
        ("a, a", ("a a",)),
        ("f, e, d, c, b, a", ("a b c d e f", "f e d c b a")),
    ],
)
def test_references_in_any_order(answer: str, references: tuple[str, ...]) -> None:
    assert list_references(answer, "any_order") == references


@pytest.mark.parametrize("ending", ["source.jpg", "source.jpg.jpg"])
def test_mirrors(tmp_path: Path, ending: str) -> None:
    fake = write_slake(tmp_path, validation="validation.json", ending=ending)
    data = SLAKE(str(tmp_path))
    assert _sizes(data.release) == fake.english
    assert all(data.file_of(r).is_file() for rows in data.release.splits.values() for r in rows)
    assert not data.audit().failed


def test_an_ending_that_is_doubled_in_the_file_only(tmp_path: Path, fake: FakeSlake) -> None:
    _edit(tmp_path / "train.json", 0, img_name="xmlab0/source.jpg.jpg")
    data = SLAKE(str(tmp_path))
    row = data.release.splits["train"][0]
    assert row.image_key == "xmlab0"
    assert data.file_of(row) == tmp_path / "imgs/xmlab0/source.jpg"


def test_absent_files_are_named(tmp_path: Path) -> None:
    write_slake(tmp_path, drawn=False)
    (tmp_path / "validate.json").unlink()
    (tmp_path / "test.json").unlink()
    release = read_slake(tmp_path)
    assert "validate.json or validation.json" in release.absent["validation"]
    assert "test.json" in release.absent["test"]
    assert "fetch the images" in release.absent["images"]
    (tmp_path / "imgs.zip").write_bytes(b"PK")
    assert "prepare data --data SLAKE" in read_slake(tmp_path).absent["images"]
    found = SLAKE(str(tmp_path)).audit().images
    assert found is not None
    assert list(found.absent_folders) == ["imgs"]


def test_a_image_folder_that_is_missing_is_a_missing_image(tmp_path: Path, fake: FakeSlake) -> None:
    shutil.rmtree(tmp_path / "imgs/xmlab1")
    report = SLAKE(str(tmp_path)).audit()
    assert report.failed
    assert report.images is not None
    assert report.images.missing == ("imgs/xmlab1/source.jpg",)


def test_a_split_without_the_language_is_absent(tmp_path: Path, fake: FakeSlake) -> None:
    rows = json.loads((tmp_path / "test.json").read_text(encoding="utf-8"))
    english = [row for row in rows if row["q_lang"] == "en"]
    (tmp_path / "test.json").write_text(json.dumps(english), encoding="utf-8")
    assert "no question of language 'zh'" in read_slake(tmp_path, "zh").absent["test"]


def test_the_selection_says_what_decides_the_rows(tmp_path: Path, fake: FakeSlake) -> None:
    kept = SLAKE(str(tmp_path), language="all", list_answers="any_order").selection()
    assert (kept["language"], kept["list_answers"]) == ("all", "any_order")


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
        read_slake(tmp_path)


def test_bad_inputs(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        read_slake(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"train\.json is not there"):
        read_slake(tmp_path)
    for option in ("language", "list_answers"):
        wrong: dict[str, Any] = {option: "half"}
        with pytest.raises(UserError, match=f"{option} is 'half'"):
            SLAKE(str(tmp_path), **wrong)


_ANY = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.lists(st.none())
)
_GOOD: dict[str, st.SearchStrategy[Any]] = {
    "img_name": st.sampled_from(["xmlab1/source.jpg", "xmlab2/source.jpg.jpg"]),
    "question": st.text(max_size=12),
    "answer": st.text(max_size=12),
    "q_lang": st.sampled_from(["en", "zh"]),
    "answer_type": st.sampled_from(["OPEN", "CLOSED"]),
    "content_type": st.text(max_size=5),
}


@st.composite
def _rows(draw: st.DrawFn) -> list[dict[str, Any]]:
    rows = draw(st.lists(st.fixed_dictionaries(_GOOD), min_size=1, max_size=4))
    if draw(st.booleans()):
        rows[0][draw(st.sampled_from([*_GOOD, "qid"]))] = draw(_ANY)
    if draw(st.integers(0, 4)) == 0:
        del rows[-1][draw(st.sampled_from(sorted(_GOOD)))]
    return rows


@settings(
    max_examples=50,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],  # the file is written anew
)
@given(rows=_rows(), language=st.sampled_from(["en", "zh", "all"]), any_order=st.booleans())
def test_malformed_rows_are_counted_or_refused(
    tmp_path: Path, rows: list[dict[str, Any]], language: Any, any_order: bool
) -> None:
    (tmp_path / "train.json").write_text(json.dumps(rows), encoding="utf-8")
    try:
        release = read_slake(tmp_path, language, "any_order" if any_order else "as_released")
    except UserError:
        return
    assert len(release.splits["train"]) + len(release.dropped) == len(rows)
    for row in release.splits["train"]:
        item = rows[int(row.question_id.rpartition("/")[2])]
        assert (row.question, row.answer) == (collapse(item["question"]), collapse(item["answer"]))
        assert row.image == f"imgs/{item['img_name']}"
        assert normalise(item["answer"]) in row.references
        assert language in ("all", item["q_lang"])


@pytest.mark.real_data
def test_real_counts(real_data: Path) -> None:
    facts = yaml.safe_load(FACTS.read_text(encoding="utf-8"))["SLAKE"]
    root = real_data / "slake"
    english = facts["english"]
    release = read_slake(root)
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
    for floor in ("majority", "question_only"):
        for stratum, counts in english["test"][floor].items():
            assert found.baselines[floor][stratum] == Count(*counts)
    chinese = read_slake(root, "zh")
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
