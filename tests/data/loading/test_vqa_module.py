"""Data modules of questions: the contract of their batches, warnings and the answer space."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from amif_lightning.batch import VQABatch
from amif_lightning.data.preprocessing.tokenizer import Tokenizer
from amif_lightning.data.schema.answers import subsets_of
from amif_lightning.data.schema.questions import Release, SplitName, VQAExample
from amif_lightning.errors import UserError
from tests.data.loading.recorder import Recorder, trainer
from tests.data.tiny_release import TRAIN_COUNTS, Tiny, with_answers

# ---- batches ----------------------------------------------------------------------------------


@pytest.mark.parametrize("per_image", [1, 2, 3])
def test_train_batches_keep_the_contract(root: Path, release: Release, per_image: int) -> None:
    data = Tiny(root, release, questions_per_image=per_image, augmentation="paper")
    data.setup("fit")
    loader = data.train_dataloader()
    rows = {row.question_id: row for row in release.splits["train"]}
    asked: list[str] = []
    for batch in loader:
        check_contract(batch, data, rows)
        assert len(batch.images) <= 4
        assert len(batch) <= 4 * per_image
        asked += batch.question_ids
    assert sorted(asked) == sorted(rows)
    assert len(loader) == -(-sum(-(-c // per_image) for c in TRAIN_COUNTS) // 4)


def check_contract(batch: VQABatch, data: Tiny, rows: dict[str, VQAExample]) -> None:
    """Shapes and types of :class:`VQABatch`, and that columns belong to their rows."""
    count, images = len(batch), len(batch.images)
    assert batch.images.shape == (images, 3, 16, 16)
    assert batch.images.dtype == torch.float32
    assert batch.image_index.shape == (count,)
    assert batch.image_index.dtype == torch.long
    assert sorted(set(batch.image_index.tolist())) == list(range(images))
    for tokens, limit in ((batch.question, 30), (batch.answer, 64)):
        assert tokens.ids.shape == tokens.mask.shape
        assert tokens.ids.shape[0] == count
        assert tokens.ids.shape[1] <= limit
        assert tokens.ids.dtype == torch.long
        assert tokens.mask.dtype == torch.bool
        assert tokens.mask[:, 0].all()
        assert (tokens.ids[:, 0] == data.tokenizer.cls_id).all()
    assert batch.strata.shape == (count, len(data.strata))
    assert batch.strata.dtype == torch.bool
    assert batch.strata[:, data.strata.index("overall")].all()
    for i, question_id in enumerate(batch.question_ids):
        row = rows[question_id]
        assert batch.references[i] == row.references
        assert batch.questions[i] == row.question
        named = {n for n, flag in zip(data.strata, batch.strata[i].tolist(), strict=True) if flag}
        assert named == set(subsets_of(row))


def test_evaluation_loaders_hold_every_question_once(root: Path, release: Release) -> None:
    data = Tiny(root, release)
    test, control, blank = data.test_dataloader()
    for loader, split, own in (
        (data.val_dataloader(), "validation", True),
        (test, "test", True),
        (control, "test", False),
        (blank, "test", False),
        (data.predict_dataloader(), "test", True),
    ):
        rows = {row.question_id: row for row in release.splits[split]}  # type: ignore[index]  # a plain str
        batches = list(loader)
        for batch in batches:
            check_contract(batch, data, rows)
            for question_id, shown in zip(batch.question_ids, batch.image_keys, strict=True):
                assert (rows[question_id].image_key == shown) == own
        asked = [q for batch in batches for q in batch.question_ids]
        assert sorted(asked) == sorted(rows)
    assert len({tuple(image.unique().tolist()) for b in blank for image in b.images}) == 1
    assert len(Tiny(root, release, control=False).test_dataloader()) == 1


def test_an_image_with_many_questions_bounds_the_evaluation_batch(
    root: Path, release: Release
) -> None:
    batches = list(Tiny(root, release, eval_batch_size=1).val_dataloader())
    assert [len(batch) for batch in batches] == [8, 2, 1, 2, 3]


# ---- setup ------------------------------------------------------------------------------------


def test_a_training_split_that_is_dropped_whole_is_an_error(root: Path, release: Release) -> None:
    # Every training image is a validation image too, so the clean protocol leaves none.
    train = release.splits["train"]
    validation = tuple(dataclasses.replace(row, split="validation") for row in train)
    splits: dict[SplitName, tuple[VQAExample, ...]] = {"train": train, "validation": validation}
    shared = dataclasses.replace(release, splits=splits)
    with pytest.raises(UserError, match=r"Tiny under .* no train questions .*audit --data Tiny"):
        Tiny(root, shared).setup("fit")


def test_dropped_rows_are_counted(root: Path, release: Release, printed: list[str]) -> None:
    test = release.splits["test"][0]
    leaks = [
        dataclasses.replace(test, split="train", question_id=f"Tiny/train/{100 + i}", question=text)
        for i, text in enumerate((test.question, test.question.upper()))
    ]
    splits = {**release.splits, "train": (*release.splits["train"], *leaks)}
    data = Tiny(root, dataclasses.replace(release, splits=splits))
    data.setup("fit")
    assert len(printed) == 2  # the leaks show a test image too
    assert printed[1].startswith("Tiny: 2 rows dropped: not clean")
    assert any(w.startswith("2 rows dropped") for w in data.evaluation_context().warnings)


@pytest.mark.parametrize("stage", ["fit", "validate", "test", "predict"])
def test_the_label_of_the_literature_protocol_stands_before_every_score(
    root: Path, release: Release, printed: list[str], stage: str
) -> None:
    Tiny(root, release, protocol="literature").setup(stage)
    assert printed[0].startswith("Tiny: literature (test answers visible): ")


# ---- answer space -----------------------------------------------------------------------------


def test_the_clean_answer_space_holds_no_test_answer(root: Path, release: Release) -> None:
    space = Tiny(root, release).answer_space()
    trained = {row.references[0] for row in release.splits["train"]}
    assert set(space.candidates) == trained
    assert set(space.vocabulary) == {word for answer in trained for word in answer.split()}
    held_out = [r.references[0] for s in ("validation", "test") for r in release.splits[s]]
    assert set(space.candidates) & set(held_out) == {"yes", "no"}  # those that training gives too
    assert not {"test", "validation"} & set(space.vocabulary)
    texts = Tiny(root, release).training_texts()
    assert any("train zone" in text for text in texts)
    assert not any("test" in text or "validation" in text for text in texts)


def test_the_literature_answer_space_holds_all(root: Path, release: Release) -> None:
    space = Tiny(root, release, protocol="literature").answer_space()
    assert {"test zone 0", "validation zone 0", "train zone 0"} <= set(space.candidates)
    assert space.protocol == "literature"


def test_ids_of_the_answer_space_spell_its_strings(root: Path, release: Release) -> None:
    data = Tiny(root, release)
    space = data.answer_space()
    for text, ids in zip(space.candidates, space.candidate_ids, strict=True):
        assert data.tokenizer.decode(ids) == text
    for text, ids in zip(space.vocabulary, space.vocabulary_ids, strict=True):
        assert data.tokenizer.decode(ids) == text
    assert Tokenizer.from_json(space.tokenizer).pieces("yes") == data.tokenizer.pieces("yes")
    assert space.table_size == 4096


def test_the_answer_space_says_which_rows_trained_and_chose(root: Path, release: Release) -> None:
    data = Tiny(root, release, test_split="validation", split_seed=7, validation_fraction=0.25)
    assert data.answer_space().selection == {
        "dataset": "Tiny",
        "layout": "made",
        "test_split": "validation",
        "split_seed": 7,
        "validation_fraction": 0.25,
    }


def test_whole_answers_as_vocabulary(root: Path, release: Release) -> None:
    space = Tiny(root, release, vocabulary="answers", vocabulary_size=2).answer_space()
    assert space.vocabulary == space.candidates[:2]


def test_a_vocabulary_entry_without_tokens_is_left_out_and_printed(
    root: Path, release: Release, printed: list[str]
) -> None:
    data = Tiny(root, with_answers(release, ["yes", "no \u0301"]))
    space = data.answer_space()
    assert set(space.vocabulary) == {"yes", "no"}
    assert all(space.vocabulary_ids)
    assert printed == [
        "Tiny: 1 of 3 vocabulary entries have no token and are left out (first: '\u0301')"
    ]


# ---- with Lightning ---------------------------------------------------------------------------


def test_while_fitting_a_fixed_sample_is_validated_and_validate_takes_all(
    root: Path, release: Release
) -> None:
    samples = []
    for seed in (0, 1):
        task, data = Recorder(), Tiny(root, release, validation_questions=6, seed=seed)
        running = trainer(root, max_epochs=2, limit_val_batches=1.0, limit_train_batches=1)
        running.fit(task, datamodule=data)
        first, second = task.seen["validate"][:6], task.seen["validate"][6:]
        assert len(set(first)) == 6
        assert first == second  # two epochs
        samples.append(first)
    assert samples[0] == samples[1]  # runs of several seeds choose on the same questions
    rows = [row.question_id for row in release.splits["validation"]]
    assert samples[0] != rows[:6]
    task = Recorder()
    data = Tiny(root, release, validation_questions=6)
    trainer(root, limit_val_batches=1.0).validate(task, datamodule=data, verbose=False)
    assert sorted(task.seen["validate"]) == sorted(rows)


@pytest.mark.parametrize(("size", "accumulated", "steps"), [(1, 1, 0), (1, 3, 9), (4, 1, 7)])
def test_an_epoch_of_few_steps_is_a_warning(
    tmp_path: Path,
    root: Path,
    release: Release,
    printed: list[str],
    size: int,
    accumulated: int,
    steps: int,
) -> None:
    data = Tiny(root, release, batch_size=size)
    fit = trainer(tmp_path, max_epochs=2, accumulate_grad_batches=accumulated).fit
    fit(Recorder(), data)
    found = [line.split(" (")[0] for line in printed if "training steps" in line]
    assert found == [f"Tiny: an epoch has only {steps} training steps"] * bool(steps)
