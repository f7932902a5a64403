from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from amif_lightning.data.preprocessing.normalization import normalise
from amif_lightning.data.schema.questions import VQAExample
from data_modules.phantom.questions import QUESTION_TYPES, wordings
from data_modules.phantom.read import read_phantom, read_studies


@pytest.fixture(scope="module")
def splits(phantom_root: Path) -> dict[str, tuple[VQAExample, ...]]:
    return {str(name): rows for name, rows in read_phantom(phantom_root).splits.items()}


def lookup(train: Sequence[VQAExample], rows: Sequence[VQAExample]) -> dict[str, tuple[int, int]]:
    """Question-only lookup: same question, else first three words, else first word, else all."""
    keys: list[Callable[[VQAExample], str]] = [
        lambda row: normalise(row.question),
        lambda row: " ".join(normalise(row.question).split()[:3]),
        lambda row: normalise(row.question).split()[0],
        lambda row: "",
    ]
    tables: list[dict[str, Counter[str]]] = []
    for key in keys:
        table: dict[str, Counter[str]] = defaultdict(Counter)
        for row in train:
            table[key(row)][row.answer] += 1
        tables.append(table)
    right: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for row in rows:
        hit = next(t[k(row)] for k, t in zip(keys, tables, strict=True) if k(row) in t)
        guess = hit.most_common(1)[0][0]
        for name in ("overall", row.question_type):
            right[name][0] += guess == row.answer
            right[name][1] += 1
    return {name: (correct, count) for name, (correct, count) in right.items()}


@pytest.mark.parametrize("split", ["validation", "test"])
def test_question_only_baseline_is_at_most_45_percent(
    splits: dict[str, tuple[VQAExample, ...]], split: str
) -> None:
    scores = lookup(splits["train"], splits[split])
    correct, count = scores["overall"]
    assert correct / count <= 0.45
    for name in QUESTION_TYPES:
        assert scores[name][0] / scores[name][1] <= 0.56, name


def test_types_have_equal_shares(splits: dict[str, tuple[VQAExample, ...]]) -> None:
    for name, rows in splits.items():
        counts = Counter(row.question_type for row in rows)
        assert set(counts) == set(QUESTION_TYPES)
        slack = 0.06 if name == "train" else 0.25  # whole rounds of answers only
        assert max(counts.values()) - min(counts.values()) <= slack * max(counts.values())
    assert len(splits["train"]) >= 6 * 160


def test_answers_are_balanced_for_each_wording(splits: dict[str, tuple[VQAExample, ...]]) -> None:
    per_text: dict[str, Counter[str]] = defaultdict(Counter)
    for row in splits["train"]:
        per_text[row.question][row.answer] += 1
    for text, answers in per_text.items():
        assert len(answers) > 1, text
        if text.startswith(("How many", "What is the number", "Count")):
            continue  # which counts there are depends on the view
        assert max(answers.values()) - min(answers.values()) <= 3, (text, answers)


def test_side_is_asked_on_frontal_images_only(splits: dict[str, tuple[VQAExample, ...]]) -> None:
    rows = [row for found in splits.values() for row in found if row.question_type == "side"]
    assert rows
    assert all(row.image.endswith("_frontal.png") for row in rows)


def test_no_question_is_asked_twice_and_every_wording_belongs_to_one_topic(
    splits: dict[str, tuple[VQAExample, ...]],
) -> None:
    rows = [row for found in splits.values() for row in found]
    assert len({(row.image, normalise(row.question)) for row in rows}) == len(rows)
    owner: dict[str, tuple[str, str]] = {}
    for kind in QUESTION_TYPES:
        for topic in ("nodule", "mass", "effusion", "nodules", "abnormality"):
            for text in wordings(kind, topic):
                assert owner.setdefault(normalise(text), (kind, text))[0] == kind


def test_answers_are_short_and_already_normalised(
    splits: dict[str, tuple[VQAExample, ...]],
) -> None:
    for rows in splits.values():
        for row in rows:
            assert row.references == (normalise(row.answer),) == (row.answer,)
            assert len(row.answer.split()) <= 2
            assert (row.answer_type == "closed") == (row.answer in ("yes", "no"))
    kinds = {(row.question_type, row.answer) for row in splits["train"]}
    assert {answer for kind, answer in kinds if kind == "zone"} == {
        "upper zone",
        "middle zone",
        "lower zone",
    }
    assert {answer for kind, answer in kinds if kind == "plane"} == {"frontal", "lateral"}


def test_answers_follow_from_the_study_and_the_image_decides_them(phantom_root: Path) -> None:
    studies = {study.study_id: study for study in read_studies(phantom_root)}
    contrasts: dict[tuple[str, str, int], float] = {}
    for line in (phantom_root / "footprints.jsonl").read_text().splitlines():
        row = json.loads(line)
        contrasts[row["study_id"], row["view"], row["finding"]] = row["contrast"]
    checked: Counter[str] = Counter()
    for line in (phantom_root / "questions.jsonl").read_text().splitlines():
        row = json.loads(line)
        study = studies[row["study_id"]]
        assert row["image"] == f"images/{row['split']}/{row['study_id']}_{row['view']}.png"
        kind, topic, answer = row["question_type"], row["topic"], row["answer"]
        if kind == "plane":
            assert answer == row["view"]
            continue
        about = [
            (index, finding)
            for index, finding in enumerate(study.findings)
            if topic in (finding.kind, "nodules" if finding.kind == "nodule" else "")
            or topic in ("", "abnormality", "kinds of abnormality")
        ]
        for index, _ in about:  # what the question is about shows on the image it is asked of
            assert contrasts[row["study_id"], row["view"], index] >= 3.0
            assert row["view"] in study.shown_on[index]
        found = [finding for _, finding in about]
        if kind == "presence":
            assert answer == ("yes" if found else "no")
        elif kind == "abnormality":
            assert answer == (found[0].kind if found else "none")
            assert len(found) <= 1
        elif topic == "kinds of abnormality":
            assert answer == ("none", "one", "two")[len(found)]
        elif kind == "count":
            assert answer == ("none", "one", "two", "three")[found[0].count]
        else:
            assert len(found) == 1
            value = {"side": found[0].side, "zone": f"{found[0].zone} zone", "size": found[0].size}
            assert answer == value[kind]
        checked[kind] += 1
    assert min(checked.values()) > 100
