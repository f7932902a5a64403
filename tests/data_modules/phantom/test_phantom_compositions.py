"""Questions with composed answers: which are asked, and which answers training never has."""

from __future__ import annotations

import shutil
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest

from amif_lightning.data.preprocessing.normalization import normalise
from amif_lightning.errors import UserError
from data_modules.phantom.compositions import (
    ONE_IN,
    REPEATS,
    SEEN,
    UNSEEN,
    WORDINGS,
    ask,
    composition,
    describe,
    held_out,
)
from data_modules.phantom.module import Phantom
from data_modules.phantom.questions import Candidate, Question
from data_modules.phantom.read import read_phantom, read_studies
from data_modules.phantom.simulator.findings import PROFILES, Finding
from data_modules.phantom.study import Job, draw


def candidate(study: int, answer: str) -> Candidate:
    return Candidate(study, "frontal", SEEN, "", answer)


def answered(questions: list[Question]) -> set[tuple[str, str]]:
    """Answers with the types of their questions."""
    return {(one.candidate.answer, one.candidate.question_type) for one in questions}


EVERY = {describe(profile.findings) for profile in PROFILES if profile.findings}


@pytest.mark.parametrize(
    ("findings", "answer"),
    [
        ([Finding("mass", "left", "upper", "small")], "small left upper mass"),
        ([Finding("nodule", "right", "lower")], "right lower nodule"),
        ([Finding("nodule", "both", count=2)], "two bilateral nodules"),
        ([Finding("effusion", "both", size="large")], "large bilateral effusion"),
        (
            [Finding("cardiomegaly"), Finding("effusion", "left", size="small")],
            "cardiomegaly and small left effusion",
        ),
        ([], ""),
    ],
)
def test_an_answer_is_composed_of_what_is_known(findings: list[Finding], answer: str) -> None:
    assert describe(findings) == answer


def test_answers_are_normalised_and_tell_all_combinations_apart() -> None:
    assert all(normalise(answer) == answer for answer in EVERY)
    assert len(EVERY) == len({p.findings for p in PROFILES if p.findings})


@pytest.mark.parametrize("seed", range(5))
def test_every_word_of_a_held_out_answer_is_known_from_others(seed: int) -> None:
    unseen = held_out(np.random.default_rng(seed))
    assert len(unseen) == len(EVERY) // ONE_IN
    assert unseen < EVERY
    known = {word for answer in EVERY - unseen for word in answer.split()}
    assert {word for answer in unseen for word in answer.split()} <= known
    assert unseen == held_out(np.random.default_rng(seed))
    assert unseen != held_out(np.random.default_rng(seed + 100))


def test_the_frontal_image_decides_every_word() -> None:
    """A study is asked exactly where the frontal image shows all findings with all their words."""
    asked = Counter[bool]()
    for index in range(60):
        findings = PROFILES[index % len(PROFILES)].findings
        _, placed = draw(Job(5, "train", index, index, findings))
        whole = bool(placed)
        for item in placed:
            decided = item.decided["frontal"]
            whole &= "presence" in decided
            for aspect in ("side", "zone", "size"):
                whole &= not getattr(item.finding, aspect) or aspect in decided
            whole &= item.finding.count == 1 or "count" in decided
        found = composition(index, placed)
        assert (found is not None) == whole
        assert found is None or found == candidate(index, describe(findings))
        asked[whole] += 1
    assert asked[True] > 20
    assert asked[False] > 2


def test_training_never_asks_for_a_held_out_answer() -> None:
    found = [candidate(k, answer) for k, answer in enumerate(["a b", "b c", "a b", "c"])]
    unseen = frozenset({"a b"})
    trained = ask(np.random.default_rng(0), found, unseen, train=True)
    tested = ask(np.random.default_rng(0), found, unseen, train=False)
    assert answered(trained) == {("b c", SEEN), ("c", SEEN)}
    assert len(tested) == len(found) * REPEATS
    assert answered(tested) == {("b c", SEEN), ("c", SEEN), ("a b", UNSEEN)}
    # What is left out moves no other wording.
    assert trained == [one for one in tested if one.candidate.answer != "a b"]


def test_wordings_say_nothing_about_answers() -> None:
    found = [candidate(k, "ab"[k % 2]) for k in range(2000)]
    asked = ask(np.random.default_rng(0), found, frozenset(), train=True)
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for one in asked:
        counts[one.text][one.candidate.answer] += 1
    assert set(counts) == set(WORDINGS)
    for by_answer in counts.values():
        assert abs(by_answer["a"] - by_answer["b"]) < 4 * sum(by_answer.values()) ** 0.5
    texts = defaultdict(list)
    for one in asked:
        texts[one.candidate.study].append(one.text)
    assert all(len(set(own)) == REPEATS for own in texts.values())


# ---- files ------------------------------------------------------------------------------------


def test_the_old_questions_do_not_move(phantom_root: Path) -> None:
    plain, more = (read_phantom(phantom_root, compositional=on) for on in (False, True))
    for split, rows in plain.splits.items():
        assert more.splits[split][: len(rows)] == rows
        added = more.splits[split][len(rows) :]
        assert {row.question_type for row in added} <= {SEEN, UNSEEN}
        assert len(added) > 10
        assert all((phantom_root / row.image).is_file() for row in added)
    ids = [row.question_id for rows in more.splits.values() for row in rows]
    assert len(set(ids)) == len(ids)


def test_answers_are_those_of_the_studies(phantom_root: Path) -> None:
    release = read_phantom(phantom_root, compositional=True)
    findings = {s.images["frontal"]: describe(s.findings) for s in read_studies(phantom_root)}
    rows = [
        r for rows in release.splits.values() for r in rows if r.question_type in (SEEN, UNSEEN)
    ]
    assert all(findings[row.image] == row.answer for row in rows)
    trained = {row.answer for row in release.splits["train"]}
    assert {row.question_type for row in release.splits["train"]}.isdisjoint({UNSEEN})
    new = {row.answer for row in rows if row.question_type == UNSEEN}
    assert new.isdisjoint(trained)
    assert {word for answer in new for word in answer.split()} <= {
        word for answer in trained for word in answer.split()
    }


def test_the_module_asks_for_them_on_request(phantom_root: Path) -> None:
    types = [
        {row.question_type for row in data.read_release().splits["test"]}
        for data in (Phantom(str(phantom_root), compositional=on) for on in (False, True))
    ]
    assert types[1] - types[0] == {SEEN, UNSEEN}


def test_a_folder_of_an_earlier_version_is_one_sentence(phantom_root: Path, tmp_path: Path) -> None:
    old = tmp_path / "old"
    shutil.copytree(phantom_root, old)
    (old / "compositions.jsonl").unlink()
    assert read_phantom(old).splits["train"]
    with pytest.raises(UserError, match=r"compositions.jsonl is missing, .*delete that folder"):
        read_phantom(old, compositional=True)
