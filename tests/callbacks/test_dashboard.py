"""The dashboard: charts in groups, and hyper-parameters beside the final scores."""

from __future__ import annotations

import re
from collections.abc import Iterable
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
from amif_lightning.losses.unified import PAIRS
from amif_lightning.tasks.pretrain import AMiFPretrain
from tests.small import SMALL


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


def _categories(trainer: Any, task: Any) -> dict[str, dict[str, list[str]]]:
    """The tags of every chart by category and title, as they were written."""
    Dashboard().on_fit_start(trainer, task)
    (event,) = _events(trainer).Tensors("custom_scalars__config__")
    layout = layout_pb2.Layout.FromString(event.tensor_proto.string_val[0])
    return {
        category.title: {chart.title: list(chart.multiline.tag) for chart in category.chart}
        for category in layout.category
    }


def _shown(charts: dict[str, list[str]], logged: Iterable[str]) -> set[str]:
    """The tags that a category shows: TensorBoard matches its expressions from a tag's start on."""
    patterns = [pattern for tags in charts.values() for pattern in tags]
    return {tag for tag in logged if any(re.match(pattern, tag) for pattern in patterns)}


def test_the_layout_groups_the_charts(trainer: Any) -> None:
    answers = SimpleNamespace(decoder=object(), alignment=None, transport=None)
    found = _categories(trainer, answers)
    assert list(found) == ["answers", "knowledge", "optimiser"]
    assert found["answers"]["loss"] == ["train/answer_loss", "val/answer_loss"]


def test_auxiliary_losses_of_answering_have_their_groups(trainer: Any) -> None:
    answers = SimpleNamespace(decoder=object(), alignment=object(), transport=object())
    found = _categories(trainer, answers)
    assert list(found) == ["answers", "knowledge", "alignment", "transport", "optimiser"]
    logged = ["train/image_text_loss", "train/image_text_temperature", "val/precision@5"]
    assert _shown(found["alignment"], logged) == set(logged[:2])


PRETRAINING = {
    "alignment": [
        *(f"train/{pair}_{what}" for pair in PAIRS for what in ("loss", "temperature")),
        "val/precision@5",
        "val/image_to_text/precision@5",
        "val/recall@10",
        "val/zero_shot",
        "val/teacher_kl",
    ],
    "transport": ["train/transport_loss", "train/view_transport_loss", "val/transport_cost"],
    "negatives": ["train/matching_loss", "train/drawn_share", "train/matching_accuracy"],
    "optimiser": ["lr-AdamW/pg1"],
}


def test_pretraining_is_shown_by_what_it_logs(trainer: Any) -> None:
    task = AMiFPretrain(**SMALL)
    found = _categories(trainer, task)
    assert list(found) == list(PRETRAINING)
    every = [tag for tags in PRETRAINING.values() for tag in tags] + ["train/loss", "epoch"]
    for title, tags in PRETRAINING.items():
        assert _shown(found[title], every) == set(tags)
        for chart, patterns in found[title].items():
            assert _shown({chart: patterns}, every), chart  # no empty chart


def test_a_stage_without_fusion_has_no_empty_groups(trainer: Any) -> None:
    task = AMiFPretrain(**SMALL, stage="global")
    assert list(_categories(trainer, task)) == ["alignment", "optimiser"]


def test_the_scores_of_a_search_are_final_scores(trainer: Any) -> None:
    final = {"test/precision@5", "test/recall@10", "test/zero_shot", "test/teacher_kl"}
    trainer.callback_metrics = {
        name: torch.tensor(0.5)
        for name in (*final, "test/image_to_text/precision@5", "val/precision@5", "train/loss")
    }
    Dashboard().on_test_end(trainer, SimpleNamespace(hparams={"lr": 0.1}))  # type: ignore[arg-type]  # all that is read
    content = _events(trainer).PluginTagToContent("hparams")
    listed = plugin_data_pb2.HParamsPluginData.FromString(content["_hparams_/experiment"])
    assert {info.name.tag for info in listed.experiment.metric_infos} == final


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
