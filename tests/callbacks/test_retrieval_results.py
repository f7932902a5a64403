"""Record and lines of the test of a pre-training run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from amif_lightning.callbacks import ResultWriter, results
from amif_lightning.callbacks.retrieval_results import pair_lines
from amif_lightning.errors import UserError
from amif_lightning.evaluation import (
    Count,
    FixedNegatives,
    Localised,
    PairScores,
    RetrievalContext,
    StudyScores,
)
from amif_lightning.reports.records.pairs import FindingLine, Odds, PairLine, Transported
from amif_lightning.reports.records.retrieval import RetrievalRecord, StudyLine, averages
from amif_lightning.reports.records.run import read_record
from amif_lightning.reports.records.schema import read_lines
from tests.reports.conftest import searches_in
from tests.small import trainer

STUDIES = 6


class ToyStudies(L.LightningDataModule):
    """Six studies of four patients, one a batch."""

    def _loader(self) -> DataLoader[Tensor]:
        data: Any = torch.arange(STUDIES)
        return DataLoader(data, batch_size=1)

    test_dataloader = predict_dataloader = _loader

    def evaluation_context(self) -> RetrievalContext:
        return RetrievalContext(
            dataset="Toys",
            layout="toy box",
            split="test",
            study_ids=tuple(f"s{n}" for n in range(STUDIES)),
            groups=("p0", "p0", "p1", "p1", "p2", "p3"),
            warnings=("A sentence.",),
        )


def toy_scores(studies: int = STUDIES) -> StudyScores:
    """Studies n and n + 3 are relevant to each other; the numbers k do not rise."""
    share = torch.tensor([[2, 1, 2, 0, 1, 2], [5, 0, 5, 0, 0, 0]]).double() / 5
    own = torch.tensor([[1, 0, 1, 0, 1, 1], [1, 0, 0, 0, 0, 0]]).double()
    return StudyScores(
        ks=(5, 1),
        precision={
            "image_to_text": share[:, :studies],
            "text_to_image": torch.zeros(2, studies).double(),
        },
        recall={
            "image_to_text": own[:, :studies],
            "text_to_image": torch.zeros(2, studies).double(),
        },
        relevant=torch.full((studies,), 2),
        zero_shot=torch.arange(studies) % 2 == 0,
        teacher_kl=0.125,
    )


class ToySearch(L.LightningModule):
    """Scores the studies of its test."""

    def __init__(self) -> None:
        super().__init__()
        self.study_scores: StudyScores | None = None
        self.untrained, self.init_from, self.origin = False, None, None
        self.met = 0

    def forward(self, batch: Tensor) -> Tensor:
        return batch

    def on_test_epoch_start(self) -> None:
        self.met = 0

    def test_step(self, batch: Tensor, batch_idx: int) -> None:
        self.met += len(batch)

    def on_test_epoch_end(self) -> None:
        self.study_scores = toy_scores(self.met)
        self.log("test/precision@5", self.study_scores.precision["image_to_text"][0].mean() / 2)


def finish(folder: Path, scores: StudyScores | None = None, **more: Any) -> list[str]:
    """A test without a Trainer; returns the printed lines."""
    printed: list[str] = []
    task: Any = ToySearch()
    state = {
        "is_global_zero": True,
        "datamodule": ToyStudies(),
        "world_size": 1,
        "ckpt_path": None,
        "callback_metrics": {},
    }
    running: Any = SimpleNamespace(**(state | more))
    writer = ResultWriter("toys", 3, str(folder), {"lr": 0.1})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(results, "rank_zero_info", printed.append)
        writer.on_test_start(running, task)
        for place in range(STUDIES):
            writer.on_test_batch_end(running, task, None, torch.tensor([place]), place)
        task.study_scores = scores
        writer.on_test_end(running, task)
    return printed


def test_a_test_leaves_record_and_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    printed: list[str] = []
    monkeypatch.setattr(results, "rank_zero_info", printed.append)
    task, writer = ToySearch(), ResultWriter("toys", 3, str(tmp_path))
    running = trainer(tmp_path, callbacks=[writer])
    running.test(task, ToyStudies(), verbose=False)
    record = read_record(tmp_path / "result-test.json", RetrievalRecord)
    assert (record.experiment, record.seed, record.dataset) == ("toys", 3, "Toys")
    assert (record.layout, record.studies, record.test_runs) == ("toy box", 6, 1)
    assert record.image_to_text.ks == (1, 5)  # rising, however the task counted
    assert record.image_to_text.precision == pytest.approx({1: 2 / 6, 5: 1.6 / 6})
    assert record.image_to_text.recall == pytest.approx({1: 1 / 6, 5: 4 / 6})
    assert record.mean.precision == pytest.approx({1: 1 / 6, 5: 0.8 / 6})
    assert record.chance.precision == pytest.approx({1: 1 / 3, 5: 1 / 3})
    assert record.chance.recall == pytest.approx({1: 1 / 6, 5: 5 / 6})
    assert record.ceiling == pytest.approx({1: 1, 5: 2 / 5})
    assert (record.zero_shot, record.teacher_kl) == (Count(3, 6), 0.125)
    assert record.warnings == ("A sentence.",)
    assert record.durations.test is not None
    assert record.durations.control is None
    lines = read_lines(tmp_path / "studies-test.jsonl", StudyLine)
    assert [line.study_id for line in lines] == [f"s{n}" for n in range(6)]
    assert [line.group for line in lines] == ["p0", "p0", "p1", "p1", "p2", "p3"]
    assert [line.image_to_text.precision[5] for line in lines] == [0.4, 0.2, 0.4, 0.0, 0.2, 0.4]
    assert [line.image_to_text.recall[1] for line in lines] == [1, 0, 0, 0, 0, 0]
    assert [line.zero_shot for line in lines] == [True, False] * 3
    assert printed == [
        "Toys test [retrieval], test run 1: precision@5 0.1333 (chance 0.3333), recall@5 0.3333 of "
        f"6 studies, zero-shot 3/6; records in {tmp_path}"
    ]
    (group,) = searches_in(tmp_path)  # the report's checks hold as well
    assert group.missing == []
    with pytest.raises(UserError, match="`predict` answers questions and ToySearch answers none"):
        running.predict(task, ToyStudies())


def test_a_limited_test_writes_no_record(tmp_path: Path) -> None:
    assert finish(tmp_path, toy_scores(4)) == [
        "No record written: 2 of 6 test studies were not searched; limit_test_batches or "
        "fast_dev_run is set."
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["test-runs-test.json"]


def test_a_test_without_scores_is_a_bug(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="left no study_scores"):
        finish(tmp_path)


def test_more_scores_than_studies_are_a_bug(tmp_path: Path) -> None:
    wide = replace(toy_scores(), relevant=torch.full((7,), 2))
    with pytest.raises(RuntimeError, match="7 studies were scored, but the split has 6"):
        finish(tmp_path, wide)


@pytest.mark.parametrize(
    ("name", "right"), [("test/precision@5", 0.8 / 6), ("test/image_to_text/recall@5", 4 / 6)]
)
def test_a_logged_score_that_disagrees_is_a_bug(tmp_path: Path, name: str, right: float) -> None:
    with pytest.raises(RuntimeError, match=f"{name} was logged as"):
        finish(tmp_path, toy_scores(), callback_metrics={name: torch.tensor(right + 0.001)})
    assert [path.name for path in tmp_path.iterdir()] == ["test-runs-test.json"]
    finish(tmp_path, toy_scores(), callback_metrics={name: torch.tensor(right)})
    assert (tmp_path / "result-test.json").exists()


def test_a_divergence_that_is_no_number_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="divergence from the teacher is nan"):
        finish(tmp_path, replace(toy_scores(), teacher_kl=float("nan")))
    assert [path.name for path in tmp_path.iterdir()] == ["test-runs-test.json"]


def test_without_classes_and_teacher(tmp_path: Path) -> None:
    (line,) = finish(tmp_path, replace(toy_scores(), zero_shot=None, teacher_kl=None))
    assert "zero-shot" not in line
    record = read_record(tmp_path / "result-test.json", RetrievalRecord)
    assert (record.zero_shot, record.teacher_kl) == (None, None)
    assert read_lines(tmp_path / "studies-test.jsonl", StudyLine)[0].zero_shot is None


def test_task_and_data_must_be_of_one_kind(tmp_path: Path) -> None:
    running: Any = SimpleNamespace(is_global_zero=True, datamodule=ToyStudies())
    answering: Any = SimpleNamespace(answer_by="rank")
    with pytest.raises(TypeError, match="does not fit the data module"):
        ResultWriter("toys", 0, str(tmp_path)).on_test_start(running, answering)
    assert not list(tmp_path.iterdir())


# ---- pairs -------------------------------------------------------------------------------------

NAN = float("nan")


def numbers(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


SCORES = PairScores(
    negatives=FixedNegatives((2, -1, 0), (1, 0, -1)),
    matching={
        "own": numbers(1.5, 2.5, 3.5),
        "random": numbers(-1.0, NAN, -3.0),
        "hard": numbers(0.5, 0.25, NAN),
    },
    reranked=numbers(0.4, NAN, 1.0),
    transport={"own": numbers(0.1, NAN, 0.3), "random": numbers(0.2, NAN, 0.4)},
    cosine=numbers(0.01, NAN, 0.03),
    localised=(
        Localised(2, "mass", 0.1, 0.3, None, 0.2),
        Localised(2, "nodule", 0.01, 0.0, 0.1, None),
    ),
)


def test_each_study_has_its_own_numbers() -> None:
    first, second, third = pair_lines(["a", "b", "c"], SCORES)
    assert first == PairLine(
        random="c",
        hard="b",
        matching=Odds(own=1.5, random=-1.0, hard=0.5),
        reranked=0.4,
        transport=Transported(own=0.1, random=0.2),
        cosine=0.01,
        localised=(),
    )
    assert (second.random, second.hard, second.matching) == (
        None,
        "a",
        Odds(own=2.5, random=None, hard=0.25),
    )
    assert (second.reranked, second.cosine) == (None, None)
    assert second.transport == Transported(own=None, random=None)
    assert third.matching == Odds(own=3.5, random=-3.0, hard=None)
    assert third.localised == (
        FindingLine(kind="mass", area=0.1, inside=0.3, other_word=None, elsewhere=0.2),
        FindingLine(kind="nodule", area=0.01, inside=0.0, other_word=0.1, elsewhere=None),
    )
    bare = replace(SCORES, negatives=FixedNegatives((2, -1, 0), None), matching=None, reranked=None)
    for line in pair_lines(["a", "b", "c"], bare):
        assert (line.hard, line.matching, line.reranked) == (None, None, None)


def test_pairs_are_written_to_lines_and_record(tmp_path: Path) -> None:
    """NaN is null in the file, and the record holds the averages of the lines."""
    values = numbers(*range(STUDIES))
    less = values.clone()
    less[1] = NAN
    pairs = PairScores(
        negatives=FixedNegatives((3, -1, 3, 4, 5, 0), None),
        matching={"own": values + 1, "random": less, "hard": numbers(*[NAN] * STUDIES)},
        reranked=numbers(0.4, NAN, 0.2, NAN, NAN, NAN),
        transport={"own": values, "random": less},
        cosine=less / 10,
        localised=(Localised(2, "mass", 0.1, 0.3, None, 0.2),),
    )
    finish(tmp_path, replace(toy_scores(), pairs=pairs))
    text = (tmp_path / "studies-test.jsonl").read_text()
    assert "NaN" not in text
    second = json.loads(text.splitlines()[1])["pairs"]
    assert (second["random"], second["matching"]["random"], second["cosine"]) == (None, None, None)
    lines = read_lines(tmp_path / "studies-test.jsonl", StudyLine)
    assert [len(line.pairs.localised) for line in lines if line.pairs] == [0, 0, 1, 0, 0, 0]
    record = read_record(tmp_path / "result-test.json", RetrievalRecord)
    assert record.pairs == averages(lines).pairs
    assert record.pairs is not None
    assert record.pairs.matching_auc_hard is None
    assert record.pairs.reranked is not None
    assert record.pairs.reranked.studies == 2
