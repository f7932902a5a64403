"""Studies with a teacher: its width, an earlier run as teacher, and several processes."""

from __future__ import annotations

import dataclasses
import json
import pickle
import time
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor
from torch.nn import functional

from amif_lightning.batch import StudyBatch
from amif_lightning.data.schema.studies import StudyRelease
from amif_lightning.data.teacher import networks as teachers
from amif_lightning.data.teacher.cache import fingerprint
from amif_lightning.data.teacher.networks import OpenClipTeacher
from amif_lightning.data.teacher.store import About, write_embeddings
from amif_lightning.tasks.pretrain import AMiFPretrain
from tests.data.tiny_studies import TinyStudies, tiny_studies
from tests.small import SMALL, trainer
from tests.tiny_biomedclip import WORDS, write_biomedclip


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> StudyRelease:
    """Studies with one, two and ten images, in words that the tiny teacher knows."""
    made = tiny_studies(tmp_path_factory.mktemp("studies"))
    splits = {
        split: tuple(
            dataclasses.replace(row, text=" ".join(WORDS[(i * k + k) % 10] for k in range(1, 7)))
            for i, row in enumerate(rows)
        )
        for split, rows in made.splits.items()
    }
    return dataclasses.replace(made, splits=splits)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("teacher") / "tiny_model_of_study_teacher_tests"
    return f"local-dir:{write_biomedclip(folder)}"


def data_of(folder: Path, studies: StudyRelease, source: str, **options: Any) -> TinyStudies:
    given = {"teacher": "open_clip", "teacher_cache": str(folder / "cache")} | options
    return TinyStudies(folder, studies, teacher_source=source, **given)


def test_workers_started_afresh_get_the_same_samples(tmp_path: Path, studies: StudyRelease) -> None:
    """Where workers are not forked, what they need is pickled."""
    path = padded(studies, tmp_path / "a.safetensors", 5)
    options = {"teacher": "embeddings", "augmentation": "paper_pretrain"}
    loader = data_of(tmp_path, studies, str(path), **options).train_dataloader()
    keys = [(0, index) for index in range(4)]
    copied: Any = pickle.loads(pickle.dumps(loader.dataset))
    collate: Any = pickle.loads(pickle.dumps(loader.collate_fn))
    found, expected = (
        make([data[key] for key in keys])
        for make, data in ((collate, copied), (loader.collate_fn, loader.dataset))
    )
    assert torch.equal(found.first, expected.first)
    assert torch.equal(found.second, expected.second)
    assert torch.equal(found.teacher.text, expected.teacher.text)


# ---- the width of a teacher -------------------------------------------------------------------


def padded(studies: StudyRelease, path: Path, width: int) -> Path:
    """A file of vectors of 5 numbers, and of zeros up to the width: equal cosines at any width."""
    rows = [row for split in studies.splits.values() for row in split]
    images = {image.image_id: image.file for row in rows for image in row.images}
    texts = {row.study_id: row.text for row in rows}

    def vectors(ids: Mapping[str, object], seed: int) -> Tensor:
        drawn = torch.randn(len(ids), 5, generator=torch.Generator().manual_seed(seed))
        return functional.pad(functional.normalize(drawn, dim=1), (0, width - 5))

    data = fingerprint(list(images), [file.stat().st_size for file in images.values()], texts)
    about = About(tuple(images), tuple(texts), 2.0, "padded", data)
    write_embeddings(path, vectors(images, 0), vectors(texts, 1), about)
    return path


class FirstLosses(Callback):
    """Keeps what the first training step logs."""

    def __init__(self) -> None:
        self.losses: dict[str, float] = {}

    def on_train_batch_end(self, trainer: L.Trainer, *rest: Any) -> None:
        self.losses |= {
            name: float(value)
            for name, value in trainer.callback_metrics.items()
            if name.endswith("_loss")
        }


def fit_once(
    data: TinyStudies, folder: Path, **options: Any
) -> tuple[AMiFPretrain, L.Trainer, dict[str, float]]:
    L.seed_everything(0, verbose=False)
    task = AMiFPretrain(**(SMALL | {"image_size": 16, "stage": "global"} | options))
    kept = FirstLosses()
    running = trainer(
        folder, max_steps=1, limit_val_batches=0, num_sanity_val_steps=0, callbacks=[kept]
    )
    running.fit(task, datamodule=data)
    return task, running, kept.losses


@pytest.mark.filterwarnings("ignore:The 'train_dataloader' does not have many workers")
def test_a_teacher_may_be_narrower_or_wider_than_the_student(
    tmp_path: Path, studies: StudyRelease
) -> None:
    found = []
    for width in (5, 77):  # the student has 32
        path = padded(studies, tmp_path / f"{width}.safetensors", width)
        data = data_of(tmp_path, studies, str(path), teacher="embeddings")
        found.append(fit_once(data, tmp_path)[2])
    assert found[0].keys() >= {"train/image_text_loss", "train/view_view_loss"}
    assert found[0] == pytest.approx(found[1], abs=1e-5)
    # The teacher changes the loss.
    hard = fit_once(TinyStudies(tmp_path, studies), tmp_path, labels="hard")[2]
    assert abs(hard["train/image_text_loss"] - found[0]["train/image_text_loss"]) > 1e-2


# ---- an earlier run as the teacher ------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:The 'train_dataloader' does not have many workers")
def test_a_checkpoint_of_fit_is_a_teacher(tmp_path: Path, studies: StudyRelease) -> None:
    earlier, running, _ = fit_once(TinyStudies(tmp_path, studies), tmp_path, labels="hard")
    running.save_checkpoint(tmp_path / "earlier.ckpt")
    data = data_of(tmp_path, studies, str(tmp_path / "earlier.ckpt"), teacher="checkpoint")
    data.prepare_data()
    batch = next(iter(data.test_dataloader()))
    assert batch.teacher is not None
    earlier.eval()
    with torch.no_grad():
        views = [earlier.embed_image(earlier.vision(x)) for x in (batch.first, batch.second)]
        text = earlier.embed_text(earlier.text(batch.text.ids, batch.text.mask))
    # Evaluation images are not augmented, so the student is shown what its teacher was.
    for given, expected in zip(
        (batch.teacher.first, batch.teacher.second, batch.teacher.text), (*views, text), strict=True
    ):
        torch.testing.assert_close(given, expected, atol=1e-5, rtol=0)
    temperature = earlier.state_dict()["alignment.pairs.image_text.log_temperature"]
    assert batch.teacher.scale == pytest.approx(-float(temperature), abs=1e-5)


# ---- two processes ----------------------------------------------------------------------------


class Idle(L.LightningModule):
    """Learns nothing; writes the teacher's text features of its studies."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder, self.layer = folder, torch.nn.Linear(1, 1)
        self.features: dict[str, list[float]] = {}

    def training_step(self, batch: StudyBatch, batch_idx: int) -> Tensor:
        assert batch.teacher is not None
        self.features |= dict(zip(batch.study_ids, batch.teacher.text.tolist(), strict=True))
        loss: Tensor = self.layer(torch.ones(1, 1)).sum()
        return loss

    def on_train_end(self) -> None:
        (self.folder / f"features{self.global_rank}.json").write_text(json.dumps(self.features))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def in_two_processes(data: TinyStudies, folder: Path, timeout: float = 120) -> None:
    strategy = DDPStrategy(
        start_method="fork", process_group_backend="gloo", timeout=timedelta(seconds=timeout)
    )
    options: dict[str, Any] = {"devices": 2, "max_epochs": 1, "limit_val_batches": 0}
    trainer(folder, strategy=strategy, num_sanity_val_steps=0, **options).fit(
        Idle(folder), datamodule=data
    )


def counted(folder: Path, monkeypatch: pytest.MonkeyPatch, seconds: float = 0) -> Path:
    """A file that grows by one line whenever a teacher is loaded, in whatever process."""
    log, load = folder / "loaded", teachers.open_teacher

    def counts(*args: Any) -> Any:
        with log.open("a") as stream:
            stream.write("loaded\n")
        time.sleep(seconds)
        return load(*args)

    monkeypatch.setattr(teachers, "open_teacher", counts)
    return log


@pytest.mark.ddp
@pytest.mark.filterwarnings("ignore:The 'train_dataloader' does not have many workers")
def test_one_of_two_processes_computes_the_embeddings(
    tmp_path: Path, studies: StudyRelease, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = counted(tmp_path, monkeypatch)
    in_two_processes(data_of(tmp_path, studies, source, batch_size=2), tmp_path)
    assert log.read_text() == "loaded\n"
    shares = [json.loads((tmp_path / f"features{rank}.json").read_text()) for rank in range(2)]
    assert [len(share) for share in shares] == [4, 4]
    assert not shares[0].keys() & shares[1].keys()
    text = {row.study_id: row.text for row in studies.splits["train"]}
    found = shares[0] | shares[1]
    expected = OpenClipTeacher(source).text([text[name] for name in found])
    torch.testing.assert_close(torch.tensor(list(found.values())), expected, atol=1e-5, rtol=0)


@pytest.mark.ddp
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The 'train_dataloader' does not have many workers")
def test_the_other_process_waits_longer_than_the_groups_timeout(
    tmp_path: Path, studies: StudyRelease, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = counted(tmp_path, monkeypatch, seconds=25)
    in_two_processes(data_of(tmp_path, studies, source, batch_size=2), tmp_path, timeout=15)
    assert log.read_text() == "loaded\n"
    assert (tmp_path / "features1.json").is_file()
