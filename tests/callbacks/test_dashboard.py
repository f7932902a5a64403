"""The dashboard: charts in groups, and hyper-parameters beside the final scores."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.hparams import plugin_data_pb2

from amif_lightning.callbacks import Dashboard


@pytest.fixture
def trainer(tmp_path: Path) -> Any:
    """What the hooks read of a trainer."""
    return SimpleNamespace(
        is_global_zero=True,
        logger=TensorBoardLogger(tmp_path, name="", version="", default_hp_metric=False),
        callback_metrics={
            "test/overall": torch.tensor(0.5),
            "test/closed/answer": torch.tensor(0.75),
            "test/type/plane": torch.tensor(1.0),
            "control/overall": torch.tensor(0.25),
        },
    )


def _events(trainer: Any) -> EventAccumulator:
    trainer.logger.experiment.flush()
    loaded: EventAccumulator = EventAccumulator(trainer.logger.log_dir).Reload()
    return loaded


def test_the_layout_groups_the_charts(trainer: Any) -> None:
    Dashboard().on_fit_start(trainer, SimpleNamespace())  # type: ignore[arg-type]  # no task is read
    (event,) = _events(trainer).Tensors("custom_scalars__config__")
    layout = layout_pb2.Layout.FromString(event.tensor_proto.string_val[0])
    assert [category.title for category in layout.category] == [
        "answering",
        "knowledge",
        "optimiser",
    ]
    charts = {chart.title: list(chart.multiline.tag) for c in layout.category for chart in c.chart}
    assert charts["loss"] == ["train/answer_loss", "val/answer_loss"]


@pytest.mark.parametrize("space", ["literature", None])
def test_hyper_parameters_stand_beside_the_scores(trainer: Any, space: str | None) -> None:
    task: Any = SimpleNamespace(
        hparams={"lr": 0.001, "text": "small", "betas": (0.9, 0.98), "_class_path": "AMiFVQA"},
        space=space and SimpleNamespace(protocol=space),
    )
    Dashboard().on_test_end(trainer, task)
    events = _events(trainer)
    content = events.PluginTagToContent("hparams")
    start = plugin_data_pb2.HParamsPluginData.FromString(content["_hparams_/session_start_info"])
    given = start.session_start_info.hparams
    assert given["lr"].number_value == 0.001
    assert given["text"].string_value == "small"
    assert given["betas"].string_value == "(0.9, 0.98)"
    assert "_class_path" not in given
    # A task without an answer space has no protocol.
    assert (given["protocol"].string_value if "protocol" in given else None) == space
    listed = plugin_data_pb2.HParamsPluginData.FromString(content["_hparams_/experiment"])
    scores = {info.name.tag for info in listed.experiment.metric_infos}
    assert scores == {"test/overall", "test/closed/answer", "control/overall"}
    assert [e.value for e in events.Scalars("test/overall")] == [0.5]


@pytest.mark.parametrize("missing", [{"logger": None}, {"is_global_zero": False}])
def test_it_rests_without_a_board(trainer: Any, missing: dict[str, Any], tmp_path: Path) -> None:
    vars(trainer).update(missing)
    task: Any = SimpleNamespace(hparams={})
    Dashboard().on_fit_start(trainer, task)
    Dashboard().on_test_end(trainer, task)
    assert not list(tmp_path.glob("events*"))
