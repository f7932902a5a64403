"""The base of the study data modules: batches, what it prints and refuses, and how it resumes."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from amif_lightning.answer_space import AnswerSpace
from amif_lightning.batch import StudyBatch
from amif_lightning.data.loading.samplers import EpochIndexSampler, ShardSampler
from amif_lightning.data.schema.questions import SplitName
from amif_lightning.data.schema.studies import StudyRelease, StudyRow
from amif_lightning.data.teacher import cache as embeddings
from amif_lightning.errors import UserError
from tests.data.tiny_studies import TinyStudies, tiny_studies


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> StudyRelease:
    return tiny_studies(tmp_path_factory.mktemp("studies"))


def with_train(release: StudyRelease, rows: Sequence[StudyRow]) -> StudyRelease:
    return dataclasses.replace(release, splits={**release.splits, "train": tuple(rows)})


# ---- batches ----------------------------------------------------------------------------------


def test_train_batches_are_full_and_keep_the_contract(
    tmp_path: Path, studies: StudyRelease
) -> None:
    data = TinyStudies(tmp_path, studies)
    data.setup("fit")
    rows = {row.study_id: row for row in studies.splits["train"]}
    loader = data.train_dataloader()
    batches = list(loader)
    assert [len(batch) for batch in batches] == [4, 4]  # ten studies: the last two wait
    assert len(loader) == 2
    assert len({name for batch in batches for name in batch.study_ids}) == 8
    for batch in batches:
        check_contract(batch, data, rows)


def check_contract(batch: StudyBatch, data: TinyStudies, rows: Mapping[str, StudyRow]) -> None:
    """Shapes and types of :class:`StudyBatch`, and that columns belong to their rows."""
    count = len(batch)
    for view in (batch.first, batch.second):
        assert view.shape == (count, 3, 16, 16)
        assert view.dtype == torch.float32
    assert batch.text.ids.shape == batch.text.mask.shape
    assert (batch.text.ids[:, 0] == data.tokenizer.cls_id).all()
    for column in (batch.study, batch.text_id, batch.relevance, batch.position):
        assert column.shape == (count,)
        assert column.dtype == torch.long
    for i, study_id in enumerate(batch.study_ids):
        row = rows[study_id]
        assert batch.texts[i] == row.text
        assert {batch.first_ids[i], batch.second_ids[i]} <= {p.image_id for p in row.images}
        assert data.rows(row.split)[int(batch.position[i])] == row


def test_evaluation_loaders_hold_every_study_once_with_its_fixed_views(
    tmp_path: Path, studies: StudyRelease
) -> None:
    data = TinyStudies(tmp_path, studies)
    loaders: dict[SplitName, Any] = {
        "validation": data.val_dataloader(),
        "test": data.test_dataloader(),
    }
    for split, loader in loaders.items():
        rows = {row.study_id: row for row in studies.splits[split]}
        batches = list(loader)
        for batch in batches:
            check_contract(batch, data, rows)
            assert all("_0." in name for name in batch.first_ids)  # the frontal image is first
            assert all("_1." in name for name in batch.second_ids)
        assert [n for batch in batches for n in batch.study_ids] == list(rows)
        assert torch.cat([b.position for b in batches]).tolist() == list(range(len(rows)))
    for one, other in zip(data.predict_dataloader(), data.test_dataloader(), strict=True):
        assert one.study_ids == other.study_ids


@pytest.mark.parametrize("workers", [0, 1])
def test_cached_images_are_those_that_are_decoded_anew(
    tmp_path: Path, studies: StudyRelease, workers: int
) -> None:
    plain = TinyStudies(tmp_path, studies)
    cached = TinyStudies(tmp_path, studies, cache_images=True, num_workers=workers)
    for name in ("train_dataloader", "val_dataloader"):
        kept = getattr(cached, name)()
        for _ in range(2):  # the second pass reads what the first one stored
            for one, other in zip(getattr(plain, name)(), kept, strict=True):
                assert one.study_ids == other.study_ids
                assert torch.equal(one.first, other.first)
                assert torch.equal(one.second, other.second)


# ---- setup ------------------------------------------------------------------------------------


def test_dropped_studies_are_counted_and_long_texts_cut(
    tmp_path: Path, studies: StudyRelease, printed: list[str]
) -> None:
    rows = list(studies.splits["train"])
    rows[4] = dataclasses.replace(rows[4], text="word " * 200)
    rows[5] = dataclasses.replace(rows[5], text="")
    rows[6] = dataclasses.replace(rows[6], text=" - ")
    rows[7] = dataclasses.replace(rows[7], images=())
    data = TinyStudies(tmp_path, with_train(studies, rows))
    data.setup("fit")
    assert printed == [
        "Tiny: 2 studies dropped: the report is empty",
        "Tiny: 1 studies dropped: the study has no image",
    ]
    batches = [batch for _ in range(4) for batch in data.train_dataloader()]
    widths = {batch.text.ids.shape[1] for batch in batches if rows[4].study_id in batch.study_ids}
    assert widths <= {120}


def test_equal_views_are_said(tmp_path: Path, studies: StudyRelease, printed: list[str]) -> None:
    TinyStudies(tmp_path, studies, augmentation="none").setup("fit")
    assert printed == [
        "Tiny: 1 of 10 train studies have one image and augmentation is none, so their two views "
        "are equal"
    ]


def test_fewer_studies_than_a_batch_are_refused(tmp_path: Path, studies: StudyRelease) -> None:
    with pytest.raises(UserError, match=r"10 training studies.*batch of 11.*batch_size 10 or less"):
        TinyStudies(tmp_path, studies, batch_size=11).setup("fit")
    whole = TinyStudies(tmp_path, studies, batch_size=10)
    whole.setup("fit")
    assert [len(batch) for batch in whole.train_dataloader()] == [10]
    TinyStudies(tmp_path, studies, batch_size=11).setup("test")  # asks for no training batch


def test_a_batch_of_one_is_a_batch(tmp_path: Path, studies: StudyRelease) -> None:
    data = TinyStudies(tmp_path, studies, batch_size=1)
    data.setup("fit")
    assert [len(batch) for batch in data.train_dataloader()] == [1] * 10


@pytest.mark.parametrize(
    ("stage", "split", "absent", "message"),
    [
        ("test", "test", {}, "no test studies that can be used (none was found): run"),
        ("test", "test", {"test": "not released"}, "no test studies that can be used (not rel"),
        ("fit", "train", {}, "no train studies that can be used (none was found): run"),
    ],
)
def test_an_empty_split_says_why(
    tmp_path: Path,
    studies: StudyRelease,
    stage: str,
    split: SplitName,
    absent: dict[str, str],
    message: str,
) -> None:
    splits = {name: rows for name, rows in studies.splits.items() if name != split}
    data = TinyStudies(tmp_path, dataclasses.replace(studies, splits=splits, absent=absent))
    with pytest.raises(UserError) as caught:
        data.setup(stage)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_split_that_is_dropped_whole_says_why(tmp_path: Path, studies: StudyRelease) -> None:
    rows = [dataclasses.replace(row, text="") for row in studies.splits["train"]]
    with pytest.raises(UserError, match=r"\(10 studies dropped: the report is empty\)"):
        TinyStudies(tmp_path, with_train(studies, rows)).setup("fit")


@pytest.mark.parametrize(
    ("name", "value"), [("max_text_tokens", 2), ("teacher", "wise"), ("batch_size", 0)]
)
def test_bad_study_options_are_named(
    tmp_path: Path, studies: StudyRelease, name: str, value: object
) -> None:
    with pytest.raises(UserError, match=rf"{name} is .*{value}.*: give"):
        TinyStudies(tmp_path, studies, **{name: value})


# ---- what tasks ask for -----------------------------------------------------------------------


def test_the_checkpoint_is_told_tokens_and_selection(tmp_path: Path, studies: StudyRelease) -> None:
    data = TinyStudies(tmp_path, studies, split_seed=4, validation_fraction=0.2)
    space = data.answer_space()
    assert space.tokenizer == data.tokenizer.to_json()
    assert (space.candidates, space.vocabulary, space.table_size) == ((), (), 4096)
    assert space.selection == {
        "dataset": "Tiny",
        "layout": "made",
        "split_seed": 4,
        "validation_fraction": 0.2,
    }
    assert AnswerSpace.from_state(json.loads(json.dumps(space.state()))) == space


def test_the_word_table_knows_training_reports_only(tmp_path: Path, studies: StudyRelease) -> None:
    data = TinyStudies(tmp_path, studies)
    assert data.training_texts() == [row.text for row in studies.splits["train"]]
    words = data.tokenizer
    assert len(words.pieces("train")) == 1
    assert len(words.pieces("validation")) > 1


def test_a_record_is_told_of_the_test_studies(tmp_path: Path, studies: StudyRelease) -> None:
    first, *rest = studies.splits["test"]
    empty = dataclasses.replace(first, study_id="Tiny/empty", text="")
    splits: dict[SplitName, tuple[StudyRow, ...]] = {
        **studies.splits,
        "test": (empty, dataclasses.replace(first, group="anna"), *rest),
    }
    made = dataclasses.replace(studies, splits=splits, notes=("a note",))
    facts = TinyStudies(tmp_path, made).evaluation_context()
    assert (facts.dataset, facts.layout, facts.split) == ("Tiny", "made", "test")
    assert facts.study_ids == ("Tiny/test00", "Tiny/test01", "Tiny/test02")
    assert facts.groups == ("anna", "Tiny/test01", "Tiny/test02")
    assert facts.warnings == ("a note", "1 studies dropped: the report is empty")
    batch = next(iter(TinyStudies(tmp_path, made).test_dataloader()))
    assert [facts.study_ids[i] for i in batch.position.tolist()] == batch.study_ids


def test_class_labels_follow_the_positions(tmp_path: Path, studies: StudyRelease) -> None:
    rows = [
        dataclasses.replace(r, classes=(f"c{i}",)) for i, r in enumerate(studies.splits["test"])
    ]
    splits: dict[SplitName, tuple[StudyRow, ...]] = {**studies.splits, "test": tuple(rows)}
    data = TinyStudies(tmp_path, dataclasses.replace(studies, splits=splits))
    assert data.class_labels("test") == [("c0",), ("c1",), ("c2",)]
    assert data.class_labels("validation") == [()] * 5
    assert data.class_prompts() == {}


# ---- teacher ----------------------------------------------------------------------------------


class Table:
    scale = 1.5

    def __init__(self, path: Path) -> None:
        self.path = path

    def image(self, ids: Sequence[str]) -> Tensor:
        return torch.ones(len(ids), 2)

    def text(self, ids: Sequence[str]) -> Tensor:
        return torch.zeros(len(ids), 2)


class Near(Table):
    """Says of the validation studies which texts are alike: a line, the last one apart."""

    places = (0.0, 0.1, 0.3, 0.7, 3.0)

    def text(self, ids: Sequence[str]) -> Tensor:
        angles = torch.tensor([self.places[int(name[-2:])] for name in ids])
        return torch.stack([angles.cos(), angles.sin()], dim=1)


def judged(
    folder: Path, studies: StudyRelease, said: Sequence[str], findings: Sequence[str] = (), **o: Any
) -> TinyStudies:
    """A module whose validation studies have these texts and findings."""
    given = findings or [""] * len(said)
    rows = tuple(
        dataclasses.replace(row, text=text, finding=finding)
        for row, text, finding in zip(studies.splits["validation"], said, given, strict=True)
    )
    release = dataclasses.replace(studies, splits={**studies.splits, "validation": rows})
    return TinyStudies(folder, release, **o)


TEXTS = ("Clear.", "clear", "A nodule.", "A mass.", "Fluid.")


def test_fixed_negatives_say_something_else(tmp_path: Path, studies: StudyRelease) -> None:
    data = judged(tmp_path, studies, TEXTS)
    data.__dict__["teacher_table"] = Near(tmp_path)  # in the place of the cached one
    fixed = data.fixed_negatives("validation")
    # The first two texts are the same but for their spelling.
    assert fixed.hard == (2, 2, 1, 2, 3)
    groups = [0, 0, 2, 3, 4]
    assert all(groups[own] != groups[other] for own, other in enumerate(fixed.random))
    known = judged(tmp_path, studies, TEXTS, findings=("a", "b", "b", "a", "a"))
    known.__dict__["teacher_table"] = Near(tmp_path)
    fixed = known.fixed_negatives("validation")
    assert fixed.hard == (1, 0, 0, 2, 2)
    assert all("abbaa"[own] != "abbaa"[other] for own, other in enumerate(fixed.random))


def test_fixed_negatives_depend_on_split_and_split_seed_alone(
    tmp_path: Path, studies: StudyRelease
) -> None:
    def random(split: SplitName, said: Sequence[str] = TEXTS, **options: Any) -> tuple[int, ...]:
        release = dataclasses.replace(
            judged(tmp_path, studies, said).made,
            splits={**studies.splits, split: judged(tmp_path, studies, said).rows("validation")},
        )
        found = TinyStudies(tmp_path, release, **options).fixed_negatives(split)
        assert found.hard is None  # nobody says what is near
        return found.random

    texts = [f"Text {number}." for number in range(5)]
    mine = random("validation", texts)
    assert random("validation", texts) == mine
    assert random("validation", texts, seed=5) == mine
    assert random("test", texts) != mine
    assert len({random("validation", texts, split_seed=seed) for seed in range(4)}) > 1


def test_without_more_knowledge_nothing_has_a_region(tmp_path: Path, studies: StudyRelease) -> None:
    data = TinyStudies(tmp_path, studies)
    row = data.rows("validation")[0]
    assert tuple(data.regions(row.study_id, row.images[0].image_id)) == ()
    assert dict(data.region_words()) == {}


def test_the_teacher_reads_every_usable_study_once(
    tmp_path: Path, studies: StudyRelease, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[Any, ...]] = []

    def made(*args: Any, num_workers: int) -> Path:
        assert num_workers == 0  # the loaders' number
        asked.append(args)
        return tmp_path / "file"

    monkeypatch.setattr(embeddings, "teacher_embeddings", made)
    monkeypatch.setattr(embeddings, "Embeddings", Table)
    rows = list(studies.splits["train"])
    rows[0] = dataclasses.replace(rows[0], text="")
    cache = tmp_path / "cache"
    data = TinyStudies(
        tmp_path,
        with_train(studies, rows),
        teacher="checkpoint",
        teacher_source="x.ckpt",
        teacher_cache=str(cache),
    )
    data.prepare_data()
    (folder, teacher, source, images, texts) = asked[0]
    assert (folder, teacher, source) == (cache, "checkpoint", "x.ckpt")
    usable = [*rows[1:], *studies.splits["validation"], *studies.splits["test"]]
    assert images == {p.image_id: p.file for row in usable for p in row.images}
    assert texts == {row.study_id: row.text for row in usable}
    for loader in (data.train_dataloader(), data.val_dataloader()):
        batch = next(iter(loader))
        assert batch.teacher is not None
        assert batch.teacher.scale == 1.5
        assert batch.teacher.first.shape == batch.teacher.text.shape == (len(batch), 2)


def test_without_a_teacher_nothing_is_read(
    tmp_path: Path, studies: StudyRelease, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(embeddings, "teacher_embeddings")
    data = TinyStudies(tmp_path, studies)
    data.prepare_data()
    assert data.embeddings_file() is None
    assert next(iter(data.train_dataloader())).teacher is None


# ---- with Lightning ---------------------------------------------------------------------------


class Recorder(L.LightningModule):
    """Learns nothing and writes down which studies it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.trained: list[tuple[int, int, list[str], list[str], float]] = []
        self.seen: list[str] = []

    def training_step(self, batch: StudyBatch, batch_idx: int) -> Tensor:
        pixels = round(float((batch.first + 2 * batch.second).double().sum()), 2)
        shown = [*batch.first_ids, *batch.second_ids]
        self.trained.append((self.current_epoch, batch_idx, batch.study_ids, shown, pixels))
        loss: Tensor = self.layer(torch.ones(1, 1)).sum()
        return loss

    def test_step(self, batch: StudyBatch, batch_idx: int) -> None:
        self.seen += batch.study_ids

    def validation_step(self, batch: StudyBatch, batch_idx: int) -> None:
        self.seen += batch.study_ids

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def trainer(root: Path, *callbacks: Callback, **options: Any) -> L.Trainer:
    defaults: dict[str, Any] = {
        "accelerator": "cpu",
        "max_epochs": 3,
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


class SaveAt(Callback):
    """Saves one checkpoint after a number of optimizer steps."""

    def __init__(self, step: int, path: Path) -> None:
        self.step, self.path = step, path

    def on_train_batch_end(self, trainer: L.Trainer, *rest: Any) -> None:
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.path)


@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before")
@pytest.mark.parametrize(("step", "workers"), [(1, 0), (2, 1), (3, 1), (4, 0)])
def test_a_resumed_run_trains_on_exactly_what_was_left(
    tmp_path: Path, studies: StudyRelease, step: int, workers: int
) -> None:
    def fit(workers: int, *callbacks: Callback, start: Path | None = None, **options: Any) -> Any:
        task = Recorder()
        running = trainer(tmp_path, *callbacks, **options)
        data = TinyStudies(tmp_path, studies, num_workers=workers)
        running.fit(task, datamodule=data, ckpt_path=start)
        return task.trained

    whole = fit(0)
    assert len(whole) == 6  # two full batches in each of three epochs
    path = tmp_path / "stopped.ckpt"
    fit(workers, SaveAt(step, path), max_steps=step)
    assert fit(workers, start=path) == whole[step:]


@pytest.mark.ddp
def test_two_processes_train_on_equal_full_batches(tmp_path: Path, studies: StudyRelease) -> None:
    class Writes(Callback):
        def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
            assert isinstance(pl_module, Recorder)
            loaders: Any = trainer.test_dataloaders
            found = {"seen": pl_module.seen, "sampler": type(loaders.sampler).__name__}
            (tmp_path / f"test{trainer.global_rank}.json").write_text(json.dumps(found))

        def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
            assert isinstance(pl_module, Recorder)
            found = [ids for _, _, ids, _, _ in pl_module.trained]
            (tmp_path / f"fit{trainer.global_rank}.json").write_text(json.dumps(found))

    # Five of ten studies on each process: two batches of two, and one study waits.
    data = TinyStudies(tmp_path, studies, batch_size=2, eval_batch_size=1)
    running = trainer(tmp_path, Writes(), max_epochs=1, strategy="ddp_fork", devices=2)
    running.fit(Recorder(), datamodule=data)
    running.test(Recorder(), datamodule=data, verbose=False)
    fits = [json.loads((tmp_path / f"fit{rank}.json").read_text()) for rank in range(2)]
    tests = [json.loads((tmp_path / f"test{rank}.json").read_text()) for rank in range(2)]
    assert [[len(ids) for ids in found] for found in fits] == [[2, 2]] * 2
    assert len({name for found in fits for ids in found for name in ids}) == 8
    assert [found["seen"] for found in tests] == [["Tiny/test00", "Tiny/test02"], ["Tiny/test01"]]
    assert {found["sampler"] for found in tests} == {"ShardSampler"}


def test_lightning_leaves_the_study_samplers_alone(tmp_path: Path, studies: StudyRelease) -> None:
    running = trainer(tmp_path, max_epochs=1, limit_val_batches=1.0)
    task = Recorder()
    running.fit(task, datamodule=TinyStudies(tmp_path, studies))
    loaders: Any = running.train_dataloader, running.val_dataloaders
    assert [type(loader.sampler) for loader in loaders] == [EpochIndexSampler, ShardSampler]
    assert task.seen == [row.study_id for row in studies.splits["validation"]]


def test_a_process_without_a_study_is_an_error(
    tmp_path: Path, studies: StudyRelease, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = TinyStudies(tmp_path, studies)
    monkeypatch.setattr(data, "_world", lambda: (3, 0))
    data.setup("test")  # three test studies, one for each
    monkeypatch.setattr(data, "_world", lambda: (4, 0))
    with pytest.raises(UserError, match=r"3 test studies for 4 processes: give .*devices 3"):
        data.setup("test")
