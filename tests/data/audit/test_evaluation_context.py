"""The facts of a record against a recount with plain loops."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from amif_lightning.data.preprocessing.normalization import normalise
from amif_lightning.data.schema.answers import subsets_of
from amif_lightning.data.schema.questions import Release, SplitName, VQAExample
from amif_lightning.evaluation import EvaluationContext
from tests.data.tiny_release import Tiny


def recount(
    train: Sequence[VQAExample], test: Sequence[VQAExample]
) -> dict[str, dict[str, list[int]]]:
    """Ceiling and baselines per stratum, with a loop per question over the training rows."""

    def best(rows: list[VQAExample]) -> str:
        counted = Counter(row.references[0] for row in rows)
        top = max(counted.values())
        return next(row.references[0] for row in rows if counted[row.references[0]] == top)

    def words(row: VQAExample) -> list[str]:
        return normalise(row.question).split()

    majority = best(list(train))
    made: dict[str, dict[str, list[int]]] = {}
    for row in test:
        like = [r for r in train if words(r) == words(row)]
        like = like or [r for r in train if words(r)[:3] == words(row)[:3]]
        like = like or [r for r in train if words(r)[:1] == words(row)[:1]]
        copy, overlap = "no", -1.0
        for r in train:
            a, b = set(words(r)), set(words(row))
            if r.image_key == row.image_key and len(a & b) / len(a | b) > overlap:
                copy, overlap = r.references[0], len(a & b) / len(a | b)
        right = {
            "ceiling": any(r.references[0] in row.references for r in train),
            "majority": majority in row.references,
            "question_only": (best(like) if like else majority) in row.references,
            "same_image_copy": copy in row.references,
        }
        for kind, flag in right.items():
            for stratum in subsets_of(row):
                entry = made.setdefault(kind, {}).setdefault(stratum, [0, 0])
                entry[0] += flag
                entry[1] += 1
    return made


def check_facts(
    facts: EvaluationContext, train: Sequence[VQAExample], test: Sequence[VQAExample]
) -> None:
    expected = recount(train, test)
    assert {k: [v.correct, v.count] for k, v in facts.ceiling.items()} == expected.pop("ceiling")
    assert {
        n: {k: [v.correct, v.count] for k, v in c.items()} for n, c in facts.baselines.items()
    } == expected
    assert list(facts.rows) == list(facts.baseline_correct) == [row.question_id for row in test]
    right = sum(facts.baseline_correct.values())
    assert [right, len(test)] == expected["question_only"]["overall"]
    for row in test:
        assert facts.rows[row.question_id]["references"] == row.references
        assert facts.rows[row.question_id]["strata"] == list(subsets_of(row))


def test_facts_equal_a_slow_recount(root: Path, release: Release) -> None:
    # Half of the test questions are asked of training images, so the copy baseline has work to do.
    train = release.splits["train"]
    test = tuple(
        replace(row, image_key=train[i].image_key, image=train[i].image)
        if i % 2 and row.question != train[i].question
        else row
        for i, row in enumerate(release.splits["test"])
    )
    made = replace(release, splits={**release.splits, "test": test})
    facts = Tiny(root, made).evaluation_context()
    check_facts(facts, train, test)
    assert facts.candidates == 5
    assert facts.answers_from == "train"
    assert (facts.dataset, facts.layout, facts.protocol, facts.split) == (
        "Tiny",
        "made",
        "clean",
        "test",
    )


def test_facts_of_a_validation_set_in_the_role_of_the_test_set(
    root: Path, release: Release
) -> None:
    data = Tiny(root, release, test_split="validation")
    facts = data.evaluation_context()
    assert facts.split == "validation"
    check_facts(facts, release.splits["train"], release.splits["validation"])
    # Checkpoints are selected on held-out images; baselines still use all training rows.
    assert {row.split for row in data.splits.validation} == {"train"}


class Elsewhere(Tiny):
    """A release whose images were unpacked outside its folder."""

    def file_of(self, row: VQAExample) -> Path:
        return self.root.parent / "unpacked" / row.image


def test_a_image_is_named_below_the_root_or_in_full(root: Path, release: Release) -> None:
    below, beside = (
        Tiny(root, release).evaluation_context(),
        Elsewhere(root, release).evaluation_context(),
    )
    test = release.splits["test"]
    assert {row.question_id: row.image for row in test} == {
        name: row["image_file"] for name, row in below.rows.items()
    }
    for row in test:
        assert beside.rows[row.question_id]["image_file"] == str(
            root.parent / "unpacked" / row.image
        )


@pytest.mark.parametrize("role", ["test", "validation"])
def test_images_shared_with_training_are_printed_and_in_every_record(
    root: Path, release: Release, printed: list[str], role: SplitName
) -> None:
    shown = release.splits["train"][0]
    rows = [
        replace(row, image_key=shown.image_key, image=shown.image, question="Asked anew?")
        if row.image_key in (f"{role}00", f"{role}02")
        else row
        for row in release.splits[role]
    ]
    splits = {**release.splits, role: tuple(rows)}
    data = Tiny(root, replace(release, splits=splits), test_split=role)
    images = len({row.image_key for row in rows})
    sentence = f"1 of {images} {role} images are also in the released training split"
    data.setup("test")
    assert printed == [f"Tiny: {sentence}"]
    assert sentence in data.evaluation_context().warnings
    (counted,) = [
        o for o in data.audit().overlaps if (o.first, o.second) == ("released train", "test")
    ]
    assert (counted.shared, counted.images_of_second) == (1, images)
    plain = Tiny(root, release, test_split=role).evaluation_context().warnings
    assert not any("images are also" in warning for warning in plain)
