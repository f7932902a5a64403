"""Data modules of studies: their batches, warnings, what tasks ask for, and the teacher."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from amif_lightning.answer_space import AnswerSpace
from amif_lightning.batch import StudyBatch
from amif_lightning.data.loading import pretrain_module
from amif_lightning.data.schema.questions import SplitName
from amif_lightning.data.schema.studies import StudyRelease, StudyRow
from amif_lightning.errors import UserError
from tests.data.tiny_studies import TinyStudies


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


def test_equal_views_are_named(tmp_path: Path, studies: StudyRelease, printed: list[str]) -> None:
    TinyStudies(tmp_path, studies, augmentation="none").setup("fit")
    assert printed == [
        "Tiny: 1 of 10 train studies have one image and augmentation is none, so their two views "
        "are equal"
    ]


def test_fewer_studies_than_a_batch_are_refused(tmp_path: Path, studies: StudyRelease) -> None:
    with pytest.raises(UserError, match=r"10 training studies.*batch of 11.*batch_size 10 or less"):
        TinyStudies(tmp_path, studies, batch_size=11).setup("fit")
    for size in (10, 1):
        data = TinyStudies(tmp_path, studies, batch_size=size)
        data.setup("fit")
        assert [len(batch) for batch in data.train_dataloader()] == [size] * (10 // size)
    TinyStudies(tmp_path, studies, batch_size=11).setup("test")  # asks for no training batch


def test_a_split_that_is_dropped_whole_says_why(tmp_path: Path, studies: StudyRelease) -> None:
    rows = [dataclasses.replace(row, text="") for row in studies.splits["train"]]
    with pytest.raises(UserError, match=r"\(10 studies dropped: the report is empty\)"):
        TinyStudies(tmp_path, with_train(studies, rows)).setup("fit")


# ---- what tasks and records need ---------------------------------------------------------------


def test_a_checkpoint_stores_tokens_and_selection(tmp_path: Path, studies: StudyRelease) -> None:
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


def test_a_record_names_the_test_studies(tmp_path: Path, studies: StudyRelease) -> None:
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
    """Texts of the validation studies lie on a line, the last one apart."""

    places = (0.0, 0.1, 0.3, 0.7, 3.0)

    def text(self, ids: Sequence[str]) -> Tensor:
        angles = torch.tensor([self.places[int(name[-2:])] for name in ids])
        return torch.stack([angles.cos(), angles.sin()], dim=1)


def judged(
    folder: Path,
    studies: StudyRelease,
    texts: Sequence[str],
    findings: Sequence[str] = (),
    **o: Any,
) -> TinyStudies:
    """A module whose validation studies have these texts and findings."""
    given = findings or [""] * len(texts)
    rows = tuple(
        dataclasses.replace(row, text=text, finding=finding)
        for row, text, finding in zip(studies.splits["validation"], texts, given, strict=True)
    )
    release = dataclasses.replace(studies, splits={**studies.splits, "validation": rows})
    return TinyStudies(folder, release)


TEXTS = ("Clear.", "clear", "A nodule.", "A mass.", "Fluid.")


def test_fixed_negatives_say_something_else(tmp_path: Path, studies: StudyRelease) -> None:
    data = judged(tmp_path, studies, TEXTS)
    data.__dict__["teacher_table"] = Near(tmp_path)  # in the place of the cached one
    fixed = data.fixed_negatives("validation")
    # The first two texts are equal once normalised.
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
    def random(split: SplitName, texts: Sequence[str] = TEXTS, **options: Any) -> tuple[int, ...]:
        release = dataclasses.replace(
            judged(tmp_path, studies, texts).made,
            splits={**studies.splits, split: judged(tmp_path, studies, texts).rows("validation")},
        )
        found = TinyStudies(tmp_path, release, **options).fixed_negatives(split)
        assert found.hard is None  # no teacher, no similarities
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


def test_the_teacher_embeds_every_usable_study_once(
    tmp_path: Path, studies: StudyRelease, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[Any, ...]] = []

    def made(*args: Any, num_workers: int, max_pixels: int, texts_of: dict[str, list[str]]) -> Path:
        assert num_workers == 0  # the loaders' number
        assert set(texts_of) == set(args[3])
        asked.append(args)
        return tmp_path / "file"

    monkeypatch.setattr(pretrain_module, "teacher_embeddings", made)
    monkeypatch.setattr(pretrain_module.Embeddings, "read", Table)
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


def test_without_a_teacher_nothing_is_embedded(
    tmp_path: Path, studies: StudyRelease, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(pretrain_module, "teacher_embeddings")
    data = TinyStudies(tmp_path, studies, teacher="open_clip")
    data.without_teacher()  # as `prepare` and `audit` do
    data.prepare_data()
    assert data.embeddings_file() is None
    assert next(iter(data.train_dataloader())).teacher is None


def test_a_process_without_a_study_is_an_error(
    tmp_path: Path, studies: StudyRelease, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = TinyStudies(tmp_path, studies)
    monkeypatch.setattr(data, "_world", lambda: (3, 0))
    data.setup("test")  # three test studies, one for each
    monkeypatch.setattr(data, "_world", lambda: (4, 0))
    with pytest.raises(UserError, match=r"3 test studies for 4 processes: give .*devices 3"):
        data.setup("test")
