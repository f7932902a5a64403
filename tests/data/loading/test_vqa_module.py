"""The data module base: contract of its batches, what it refuses and prints, and how it resumes."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from amif_lightning.batch import VQABatch
from amif_lightning.cli.entry import message_of
from amif_lightning.data.loading.samplers import EpochIndexSampler, ShardSampler
from amif_lightning.data.preprocessing.tokenizer import Tokenizer
from amif_lightning.data.schema.questions import Release, SplitName, VQAExample
from amif_lightning.data.schema.subsets import subsets_of
from amif_lightning.errors import UserError
from tests.data.tiny_release import (
    TEST_COUNTS,
    TRAIN_COUNTS,
    VALIDATION_COUNTS,
    Tiny,
    make_rows,
    tiny_release,
    with_answers,
)

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
    test, control = data.test_dataloader()
    for loader, split, own in (
        (data.val_dataloader(), "validation", True),
        (test, "test", True),
        (control, "test", False),
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
    assert len(Tiny(root, release, control=False).test_dataloader()) == 1


def test_an_image_with_many_questions_bounds_the_evaluation_batch(
    root: Path, release: Release
) -> None:
    batches = list(Tiny(root, release, eval_batch_size=1).val_dataloader())
    assert [len(batch) for batch in batches] == [8, 2, 1, 2, 3]


@pytest.mark.parametrize("workers", [0, 1])
def test_cached_images_are_those_that_are_decoded_anew(
    root: Path, release: Release, workers: int
) -> None:
    # Training decodes larger than validation: one shared cache would reduce validation twice.
    plain = Tiny(root, release, augmentation="paper")
    cached = Tiny(root, release, augmentation="paper", cache_images=True, num_workers=workers)
    for name in ("train_dataloader", "val_dataloader"):
        kept = getattr(cached, name)()
        for _ in range(2):  # the second pass reads what the first one stored
            for one, other in zip(getattr(plain, name)(), kept, strict=True):
                assert one.question_ids == other.question_ids
                assert torch.equal(one.images, other.images)


# ---- setup, and what is refused ---------------------------------------------------------------


def test_setup_reads_once_and_may_be_called_again(
    root: Path, release: Release, printed: list[str]
) -> None:
    data = Tiny(root, release)
    data.setup("fit")
    parts, tokenizer, lines = data.splits, data.tokenizer, list(printed)
    for stage in ("fit", "validate", "test", "predict"):
        data.setup(stage)
    assert data.reads == 1
    assert data.splits is parts
    assert data.tokenizer is tokenizer
    assert printed == lines == []  # nothing is dropped or cut here


@pytest.mark.parametrize(
    ("stage", "left", "message"),
    [
        (
            "test",
            ("train", "validation"),
            r"no test questions .*\(the release on disk has no test",
        ),
        ("predict", ("train", "validation"), "no test questions"),
        ("fit", ("validation", "test"), "no usable training rows"),
    ],
)
def test_an_empty_split_says_what_to_do(
    root: Path, release: Release, stage: str, left: tuple[str, ...], message: str
) -> None:
    splits = {name: rows for name, rows in release.splits.items() if name in left}
    data = Tiny(root, dataclasses.replace(release, splits=splits))
    with pytest.raises(UserError, match=message + ".*audit") as caught:
        data.setup(stage)
    assert "\n" not in str(caught.value)


def test_a_training_split_that_is_dropped_whole_is_an_error(root: Path, release: Release) -> None:
    # Every training image is a validation image too, so the clean protocol leaves none.
    train = release.splits["train"]
    validation = tuple(dataclasses.replace(row, split="validation") for row in train)
    splits: dict[SplitName, tuple[VQAExample, ...]] = {"train": train, "validation": validation}
    shared = dataclasses.replace(release, splits=splits)
    with pytest.raises(UserError, match=r"Tiny under .* no train questions .*audit --data Tiny"):
        Tiny(root, shared).setup("fit")


def test_an_absent_split_gives_the_readers_reason(root: Path, release: Release) -> None:
    splits: dict[SplitName, tuple[VQAExample, ...]] = {
        name: rows for name, rows in release.splits.items() if name != "test"
    }
    absent = {"test": "testset.json is not there"}
    with pytest.raises(UserError, match=r"testset\.json is not there"):
        Tiny(root, dataclasses.replace(release, splits=splits, absent=absent)).setup("test")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("validation_fraction", 0.0),
        ("validation_fraction", 1.0),
        ("validation_fraction", float("nan")),
        ("batch_size", 0),
        ("questions_per_image", 0),
        ("eval_batch_size", -1),
        ("num_workers", -1),
        ("image_size", 0),
        ("max_question_tokens", 2),
        ("max_answer_tokens", 2),
        ("vocabulary_size", 0),
        ("validation_questions", 0),
        ("augmentation", "strong"),
        ("protocol", "honest"),
        ("test_split", "train"),
        ("vocabulary", "letters"),
    ],
)
def test_bad_options_are_named(root: Path, release: Release, name: str, value: object) -> None:
    with pytest.raises(UserError, match=rf"{name} is .*{value}.*: give"):
        Tiny(root, release, **{name: value})


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


@pytest.mark.parametrize("cuda", [True, False])
def test_batches_are_pinned_where_there_is_a_gpu(
    root: Path, release: Release, monkeypatch: pytest.MonkeyPatch, cuda: bool
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    data = Tiny(root, release)
    for loader in (data.train_dataloader(), data.val_dataloader(), *data.test_dataloader()):
        assert loader.pin_memory is cuda


# ---- answer space and tokenizer ---------------------------------------------------------------


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


def test_words_adopts_a_checkpoints_table(root: Path, release: Release) -> None:
    data = Tiny(root, release)
    own = data.tokenizer.to_json()
    other = Tokenizer.from_texts(["a quite different corpus"]).to_json()
    data.adopt_tokenizer(own)
    assert data.tokenizer.to_json() == own
    data.adopt_tokenizer(other)
    assert data.tokenizer.to_json() == other
    batch = next(iter(data.train_dataloader()))
    ids = batch.question.ids[0][batch.question.mask[0]].tolist()
    assert ids[1:-1] == Tokenizer.from_json(other).pieces(batch.questions[0])
    assert data.answer_space().tokenizer == other


def test_words_adopts_without_the_texts_of_its_own_table(root: Path, release: Release) -> None:
    # Scoring a checkpoint elsewhere must not ask for the corpora it was built from.
    data = Tiny(root, release, tokenizer_corpora=["no/such/file.txt"])
    data.adopt_tokenizer(Tokenizer.from_texts(["yes"]).to_json())
    assert data.tokenizer.table_size == 4096
    with pytest.raises(UserError, match="which is no file"):
        _ = Tiny(root, release, tokenizer_corpora=["no/such/file.txt"]).tokenizer


def test_a_named_tokenizer_accepts_itself_only(
    root: Path, release: Release, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "yes", "no"]
    (tmp_path / "vocab.txt").write_text("\n".join(words) + "\n")
    data = Tiny(root, release, tokenizer=str(tmp_path))
    same = data.tokenizer.to_json()
    data.adopt_tokenizer(json.dumps(json.loads(same), indent=1))  # written by another version
    assert data.tokenizer.to_json() == same
    with pytest.raises(UserError, match="give the tokenizer it was trained with") as caught:
        data.adopt_tokenizer(Tokenizer.from_texts([]).to_json())
    assert str(tmp_path) in str(caught.value)
    assert data.tokenizer.to_json() == same


# ---- with Lightning ---------------------------------------------------------------------------


class Recorder(L.LightningModule):
    """Learns nothing and writes down which questions it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.trained: list[tuple[int, int, tuple[str, ...], float]] = []
        self.seen: dict[str, list[str]] = {"validate": [], "test": [], "control": [], "predict": []}

    def training_step(self, batch: VQABatch, batch_idx: int) -> Tensor:
        pixels = round(float(batch.images.double().sum()), 2)
        self.trained.append((self.current_epoch, batch_idx, tuple(batch.question_ids), pixels))
        loss: Tensor = self.layer(torch.ones(1, 1)).sum()
        return loss

    def validation_step(self, batch: VQABatch, batch_idx: int) -> None:
        self.seen["validate"] += batch.question_ids

    def test_step(self, batch: VQABatch, batch_idx: int, dataloader_idx: int = 0) -> None:
        self.seen["control" if dataloader_idx else "test"] += batch.question_ids

    def predict_step(self, batch: VQABatch, batch_idx: int) -> None:
        self.seen["predict"] += batch.question_ids

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def trainer(root: Path, *callbacks: Callback, **options: Any) -> L.Trainer:
    defaults: dict[str, Any] = {
        "accelerator": "cpu",
        "max_epochs": 2,
        "num_sanity_val_steps": 0,
        "limit_val_batches": 0,
    }
    return L.Trainer(
        **(defaults | options),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=root,
        callbacks=list(callbacks),
    )


def test_while_fitting_a_fixed_sample_is_validated_and_validate_takes_all(
    root: Path, release: Release
) -> None:
    samples = []
    for seed in (0, 1):
        task, data = Recorder(), Tiny(root, release, validation_questions=6, seed=seed)
        trainer(root, limit_val_batches=1.0, limit_train_batches=1).fit(task, datamodule=data)
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


@pytest.mark.filterwarnings("ignore:predict returned None")
def test_lightning_leaves_the_samplers_alone(root: Path, release: Release) -> None:
    task, data = Recorder(), Tiny(root, release)
    running = trainer(root, limit_val_batches=1.0, max_epochs=1)
    running.fit(task, datamodule=data)
    loaders: Any = running.train_dataloader, running.val_dataloaders
    assert [type(loader.sampler) for loader in loaders] == [EpochIndexSampler, ShardSampler]
    running.test(task, datamodule=data, verbose=False)
    loaders = running.test_dataloaders
    assert [type(loader.sampler) for loader in loaders] == [ShardSampler] * 2
    running.predict(task, datamodule=data)
    rows = sorted(row.question_id for row in release.splits["test"])
    assert sorted(task.seen["test"]) == rows
    assert sorted(task.seen["control"]) == rows
    assert sorted(task.seen["predict"]) == rows


@pytest.mark.ddp
def test_two_processes_share_training_and_score_every_question_once(
    root: Path, release: Release, tmp_path: Path
) -> None:
    class Writes(Callback):
        def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
            assert isinstance(pl_module, Recorder)
            loaders: Any = trainer.test_dataloaders
            found = {**pl_module.seen, "sampler": type(loaders[0].sampler).__name__}
            path = tmp_path / f"test{trainer.global_rank}.json"
            path.write_text(json.dumps(found))

        def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
            assert isinstance(pl_module, Recorder)
            found = {"trained": pl_module.trained, "validate": pl_module.seen["validate"]}
            path = tmp_path / f"fit{trainer.global_rank}.json"
            path.write_text(json.dumps(found))

    options: dict[str, Any] = {"strategy": "ddp_fork", "devices": 2, "limit_val_batches": 1.0}
    # 27 training groups: one is repeated so that both processes take 14; 3 test groups of 5 + 1.
    data = Tiny(root, release, eval_batch_size=1)
    running = trainer(root, Writes(), max_epochs=1, **options)
    running.fit(Recorder(), datamodule=data)
    running.test(Recorder(), datamodule=data, verbose=False)
    fits = [json.loads((tmp_path / f"fit{rank}.json").read_text()) for rank in range(2)]
    tests = [json.loads((tmp_path / f"test{rank}.json").read_text()) for rank in range(2)]
    trained = [[q for _, _, ids, _ in fit["trained"] for q in ids] for fit in fits]
    assert len(trained[0]) == len(trained[1]) == 14
    assert {*trained[0], *trained[1]} == {row.question_id for row in release.splits["train"]}
    for found, split in ((fits, "validate"), (tests, "test"), (tests, "control")):
        rows = release.splits["validation" if split == "validate" else "test"]
        asked = [question for rank in found for question in rank[split]]
        assert sorted(asked) == sorted(row.question_id for row in rows)
        assert all(rank[split] for rank in found)
    assert {rank["sampler"] for rank in tests} == {"ShardSampler"}


def test_overfitting_a_batch_repeats_it(root: Path, release: Release) -> None:
    task, data = Recorder(), Tiny(root, release, augmentation="mild", questions_per_image=2)
    with pytest.warns(UserWarning, match="overfit"):
        trainer(root, overfit_batches=1, max_epochs=3).fit(task, datamodule=data)
    first, *rest = [(ids, pixels) for _, _, ids, pixels in task.trained]
    assert rest == [first, first]


@pytest.mark.parametrize("stage", ["fit", "test"])
@pytest.mark.parametrize("workers", [0, 1])
def test_a_missing_image_reaches_the_user_as_one_sentence(
    tmp_path: Path, workers: int, stage: str
) -> None:
    release = tiny_release(tmp_path)
    gone = tmp_path / ("train" if stage == "fit" else "test") / "00.png"
    gone.unlink()
    data = Tiny(tmp_path, release, num_workers=workers)
    with pytest.raises(UserError) as caught:
        getattr(trainer(tmp_path), stage)(Recorder(), datamodule=data)
    assert message_of(caught.value) == (
        f"The image {gone} does not exist: check the data set's folder with "
        "`python -m amif_lightning audit`."
    )


def test_a_damaged_image_reaches_the_user_as_one_sentence(tmp_path: Path) -> None:
    release = tiny_release(tmp_path)
    broken = tmp_path / "train" / "00.png"
    broken.write_bytes(broken.read_bytes()[:80])
    data = Tiny(tmp_path, release, num_workers=1)
    with pytest.raises(UserError) as caught:
        trainer(tmp_path).fit(Recorder(), datamodule=data)
    message = message_of(caught.value)
    assert message.startswith(f"The image {broken} is damaged or truncated (")
    assert message.endswith("): copy or download it again.")
    assert "\n" not in message


# ---- resume -----------------------------------------------------------------------------------


class SaveAt(Callback):
    """Saves one checkpoint in a hook after a number of optimizer steps, and stops there."""

    def __init__(self, hook: str, step: int, path: Path) -> None:
        self.hook, self.step, self.path, self.saved = hook, step, path, False

    def _at(self, hook: str, trainer: L.Trainer) -> None:
        if hook == self.hook and trainer.global_step == self.step and not self.saved:
            self.saved = True
            trainer.save_checkpoint(self.path)

    def on_train_batch_start(self, trainer: L.Trainer, *rest: Any) -> None:
        self._at("batch start", trainer)

    def on_train_batch_end(self, trainer: L.Trainer, *rest: Any) -> None:
        self._at("batch end", trainer)

    def on_validation_end(self, trainer: L.Trainer, *rest: Any) -> None:
        self._at("validation end", trainer)

    def on_train_epoch_end(self, trainer: L.Trainer, *rest: Any) -> None:
        self._at("epoch end", trainer)


def fit(
    root: Path,
    release: Release,
    workers: int,
    *callbacks: Callback,
    start: Path | None = None,
    **options: Any,
) -> list[tuple[int, int, tuple[str, ...], float]]:
    # Two questions an image: 16 groups, 4 steps of an epoch.
    data = Tiny(root, release, num_workers=workers, questions_per_image=2, augmentation="mild")
    task = Recorder()
    running = trainer(root, *callbacks, **({"max_epochs": 3, "limit_val_batches": 1} | options))
    running.fit(task, datamodule=data, ckpt_path=start)
    return task.trained


@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before")
@pytest.mark.parametrize(
    ("workers", "hook", "step", "options"),
    [
        (0, "batch end", 1, {}),
        (1, "batch end", 3, {}),
        (0, "batch start", 2, {}),  # as a run that is interrupted within a step
        (1, "batch start", 6, {}),
        (0, "batch end", 4, {}),  # the last step of an epoch, before and after it is counted
        (1, "batch end", 4, {}),
        (0, "epoch end", 4, {}),
        (1, "epoch end", 8, {}),
        (0, "validation end", 4, {}),
        (1, "validation end", 6, {"val_check_interval": 2}),
        (0, "batch end", 5, {"accumulate_grad_batches": 2}),
        # An epoch that is shorter than the loader.
        (0, "epoch end", 3, {"limit_train_batches": 3}),
        (1, "batch end", 3, {"limit_train_batches": 3}),
        (0, "batch end", 4, {"limit_train_batches": 0.8}),
        (1, "epoch end", 4, {"reload_dataloaders_every_n_epochs": 1}),
    ],
)
def test_a_resumed_run_trains_on_exactly_what_was_left(
    root: Path,
    release: Release,
    tmp_path: Path,
    workers: int,
    hook: str,
    step: int,
    options: dict[str, Any],
) -> None:
    path = tmp_path / "stopped.ckpt"
    whole = fit(root, release, 0, **options)
    save = SaveAt(hook, step, path)
    steps = options.get("accumulate_grad_batches", 1)
    fit(root, release, workers, save, **options, max_steps=step + 1)
    assert save.saved
    rest = fit(root, release, workers, start=path, **options)
    # Epoch, number in the epoch, questions and augmented pixels, in order.
    assert rest == whole[step * steps :]
    if not options:
        every = Counter(question for _, _, ids, _ in whole for question in ids)
        assert set(every.values()) == {3}
        assert len(every) == sum(TRAIN_COUNTS)


def test_workers_do_not_change_a_run(root: Path, release: Release) -> None:
    assert fit(root, release, 1) == fit(root, release, 0)


def test_the_fake_release_is_what_its_comments_say(release: Release, tmp_path: Path) -> None:
    for split, counts in (
        ("train", TRAIN_COUNTS),
        ("validation", VALIDATION_COUNTS),
        ("test", TEST_COUNTS),
    ):
        assert len(release.splits[split]) == sum(counts)  # type: ignore[index]  # a plain str
    assert make_rows(tmp_path, "train", [1])[0].question_id == "Tiny/train/0"
