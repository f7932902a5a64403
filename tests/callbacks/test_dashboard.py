"""The dashboard: groups of charts, hyper-parameters and final scores."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.trainer.states import TrainerFn
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2

from amif_lightning.callbacks import Dashboard
from amif_lightning.callbacks.dashboard import FOLDER, final_scores, layout, selection
from tests.callbacks.boards import trainer_of


@pytest.fixture
def trainer(tmp_path: Path) -> Any:
    """What the hooks read of a trainer."""
    scores = {
        "test/overall": torch.tensor(0.5),
        "test/closed/answer": torch.tensor(0.75),
        "test/type/plane": torch.tensor(1.0),
        "control/overall": torch.tensor(0.25),
    }
    more = {"limit_test_batches": 1.0, "checkpoint_callbacks": [], "callback_metrics": scores}
    return trainer_of(tmp_path, **more)


def _shown(charts: dict[str, list[Any]], logged: Iterable[str]) -> set[str]:
    """The tags that charts show: TensorBoard matches its expressions from a tag's start on."""
    patterns = [pattern for _, tags in charts.values() for pattern in tags]
    return {tag for tag in logged if any(re.match(pattern, tag) for pattern in patterns)}


@pytest.mark.parametrize(
    ("parts", "groups"),
    [
        ({"decoder": True, "knowledge": None, "alignment": None}, ["answers"]),
        ({"decoder": True, "alignment": 1, "transport": 1}, ["answers", "alignment", "transport"]),
        (
            {"alignment": 1, "transport": 1, "matching_head": 1},
            ["alignment", "transport", "negatives"],
        ),
        # A stage without fusion has no empty group.
        ({"alignment": 1, "matching_head": 1, "fuses": False}, ["alignment"]),
    ],
)
def test_a_task_has_the_groups_of_its_parts(parts: dict[str, Any], groups: list[str]) -> None:
    assert list(layout(SimpleNamespace(**parts))) == [*groups, "optimiser"]


def test_answering_has_no_charts_of_retrieval() -> None:
    logged = ["train/image_text_loss", "train/image_text_temperature", "val/precision@5"]
    parts: dict[str, Any] = {"alignment": 1, "transport": 1}
    answers, searches = (
        layout(SimpleNamespace(**parts, decoder=1)),
        layout(SimpleNamespace(**parts)),
    )
    assert _shown(answers["alignment"], logged) == set(logged[:2])
    assert _shown(searches["alignment"], logged) == set(logged)
    assert _shown(answers["transport"], ["val/localisation/mass"]) == set()
    assert _shown(searches["transport"], ["val/localisation/mass"]) != set()


def _final(trainer: Any) -> EventAccumulator:
    loaded: EventAccumulator = EventAccumulator(f"{trainer.logger.log_dir}/{FOLDER}").Reload()
    return loaded


def _task(**given: Any) -> Any:
    return SimpleNamespace(**{"hparams": {}, "monitor": "val/overall", "mode": "max"} | given)


def test_the_scores_of_a_search_are_final_scores() -> None:
    final = ("test/recall@10", "test/zero_shot", "test/teacher_kl")
    others = ("test/image_to_text/precision@5", "val/precision@5", "train/loss")
    logged = dict.fromkeys((*final, *others, "test/precision@5"), 0.5)
    found = final_scores("val/precision@5", 0.25, logged, tested=True)
    assert found == {
        "precision@5/best_val": 0.25,
        "precision@5/test": 0.5,
        **dict.fromkeys(final, 0.5),
    }
    # After a fit, what an earlier test logged is not a score of these weights.
    assert final_scores("val/precision@5", None, logged, tested=False) == {}


@pytest.mark.parametrize("space", ["literature", None])
def test_hyper_parameters_are_written_with_the_scores(trainer: Any, space: str | None) -> None:
    given = {"lr": 0.001, "text": "small", "betas": (0.9, 0.98), "_class_path": "AMiFVQA"}
    task = _task(hparams={**given, "tied": True}, space=space and SimpleNamespace(protocol=space))
    Dashboard().on_test_end(trainer, task)
    events = _final(trainer)
    content = events.PluginTagToContent("hparams")
    start = plugin_data_pb2.HParamsPluginData.FromString(content["_hparams_/session_start_info"])
    read = start.session_start_info.hparams
    assert read["lr"].number_value == 0.001
    assert read["text"].string_value == "small"
    assert read["betas"].string_value == "(0.9, 0.98)"
    assert read["tied"].string_value == "True"  # as a number it would be 1.0
    assert "_class_path" not in read
    # A task without an answer space has no protocol.
    assert (read["protocol"].string_value if "protocol" in read else None) == space
    # A list of columns would hide the columns of other tasks.
    assert "_hparams_/experiment" not in content
    scores = {tag: [e.value for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    assert scores == {
        "overall/test": [0.5],
        "overall/control": [0.25],
        "test/closed/answer": [0.75],
    }


@pytest.mark.parametrize(("mode", "best"), [("max", 0.75), ("min", 0.25)])
def test_the_best_score_of_training_outlives_the_process(
    trainer: Any, mode: str, best: float
) -> None:
    callback, task = Dashboard(), _task(mode=mode)
    values = [9.0, -9.0, 0.5, 0.75, 0.25, float("nan")]
    states = [(True, "fit"), (False, "validate"), *[(False, "fit")] * 4]
    for value, (sanity, function) in zip(values, states, strict=True):
        trainer.sanity_checking, trainer.state = sanity, SimpleNamespace(fn=TrainerFn(function))
        trainer.callback_metrics = {"val/overall": torch.tensor(value)}
        callback.on_validation_end(trainer, task)
    callback.on_fit_end(trainer, task)
    assert [e.value for e in _final(trainer).Scalars("overall/best_val")] == [best]
    later = Dashboard()
    later.load_state_dict(callback.state_dict())
    trainer.callback_metrics = {"test/overall": torch.tensor(0.125)}
    later.on_test_end(trainer, task)
    # One file, so that parameters and scores are those of the last call.
    assert len(list((Path(trainer.logger.log_dir) / FOLDER).iterdir())) == 1
    events = _final(trainer)
    assert events.Scalars("overall/best_val")[-1].value == best
    assert events.Scalars("overall/test")[-1].value == 0.125


def test_a_chosen_monitor_comes_before_the_task_s() -> None:
    trainer: Any = SimpleNamespace(checkpoint_callbacks=[ModelCheckpoint()])
    assert selection(trainer, _task()) == ("val/overall", "max")
    trainer.checkpoint_callbacks.append(ModelCheckpoint(monitor="val/answer_loss", mode="min"))
    assert selection(trainer, _task()) == ("val/answer_loss", "min")


@pytest.mark.parametrize("limit", [1, 0.5])
def test_a_part_of_the_test_is_no_final_score(trainer: Any, limit: float, tmp_path: Path) -> None:
    trainer.limit_test_batches = limit
    Dashboard().on_test_end(trainer, _task())
    assert not list(tmp_path.rglob("events*"))


@pytest.mark.parametrize("missing", [{"logger": None}, {"is_global_zero": False}])
def test_it_rests_without_a_board(trainer: Any, missing: dict[str, Any], tmp_path: Path) -> None:
    vars(trainer).update(missing)
    task = _task()
    Dashboard().on_fit_start(trainer, task)
    Dashboard().on_test_end(trainer, task)
    assert not list(tmp_path.rglob("events*"))
