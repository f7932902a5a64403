"""Event files of short runs of both tasks, as TensorBoard reads them."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar.layout_pb2 import Layout
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from amif_lightning.cli import app
from data_modules.phantom.generate import generate
from tests.small import RUN_OPTIONS

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
# Four steps, validated after every second: two points of every validation score.
TINY = (
    *RUN_OPTIONS,
    "--data.init_args.batch_size=8",
    "--trainer.max_steps=4",
    "--trainer.val_check_interval=2",
    "--trainer.log_every_n_steps=1",
)
POINTS = 2
#: Groups of charts of each task.
GROUPS = {
    "pretrain": {"alignment", "transport", "negatives", "optimiser"},
    "vqa": {"answers", "knowledge", "alignment", "transport", "optimiser"},
}
# With optional losses, so that their charts have points.
MORE = {
    "pretrain": ("--model.init_args.stage=joint", "--model.init_args.view_transport=0.1"),
    "vqa": (
        "--model.init_args.transport=0.1",
        "--model.init_args.image_text=0.1",
        "--model.init_args.knowledge_supervision=0.5",
    ),
}
#: Width of each image in pixels: cards of 224 and margins of 10, and a scale next to heat maps.
WIDTHS = {
    "answers/validation": 10 + 4 * 234,
    "alignment/similarity": 3 * 1.3 * 336,
    "transport/plans": 10 + 5 * 234 + 90,
    "negatives/hardest": 10 + 6 * 234,
}
COLOURS = 50


@dataclass(frozen=True)
class Run:
    """A run and the last logged values of its two commands."""

    folder: Path
    fitted: Mapping[str, Any]
    tested: Mapping[str, Any]
    events: EventAccumulator


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """Both tasks, trained and tested through the command line."""
    base = tmp_path_factory.mktemp("boards")
    generate(
        base / "phantom", seed=0, studies={"train": 24, "validation": 8, "test": 8}, progress=False
    )
    made = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["amif-lightning"])  # Lightning warns where both are given
        for task in GROUPS:
            words = (
                f"--config={EXPERIMENTS / task / 'phantom.yaml'}",
                *TINY,
                *MORE[task],
                f"--data.init_args.root={base / 'phantom'}",
                f"--runs={base / 'runs'}",
                f"--experiment={task}",
            )
            fitted = dict(app.run(("fit", *words)).trainer.callback_metrics)
            tested = dict(app.run(("test", *words, "--ckpt_path=best")).trainer.callback_metrics)
            folder = base / "runs" / task / "clean" / "seed0"
            events: EventAccumulator = EventAccumulator(str(folder)).Reload()
            made[task] = Run(folder, fitted, tested, events)
    return made


def _layout(run: Run) -> dict[str, list[str]]:
    """The expressions of all charts of each group."""
    (written,) = run.events.Tensors("custom_scalars__config__")
    groups = Layout.FromString(written.tensor_proto.string_val[0]).category
    return {
        group.title: [tag for chart in group.chart for tag in chart.multiline.tag]
        for group in groups
    }


def test_the_groups_cover_both_tasks(runs: dict[str, Run]) -> None:
    assert {task: set(_layout(run)) for task, run in runs.items()} == GROUPS


@pytest.mark.parametrize("task", GROUPS)
def test_every_chart_has_its_points(runs: dict[str, Run], task: str) -> None:
    events = runs[task].events
    logged = events.Tags()["scalars"]
    few: dict[str, int] = {}
    for patterns in _layout(runs[task]).values():
        for pattern in patterns:
            shown = [tag for tag in logged if re.match(pattern, tag)]
            assert shown, pattern
            points = {tag: len(events.Scalars(tag)) for tag in shown}
            few |= {tag: count for tag, count in points.items() if count < POINTS}
    assert few == {}


def test_images_have_their_size_and_are_not_empty(runs: dict[str, Run]) -> None:
    seen = set()
    for run in runs.values():
        for tag in run.events.Tags()["images"]:
            seen.add(tag)
            shown = run.events.Images(tag)
            assert len(shown) == POINTS, tag
            for event in shown:
                image = Image.open(io.BytesIO(event.encoded_image_string)).convert("RGB")
                assert image.width == pytest.approx(WIDTHS[tag], abs=1), tag
                assert image.height < 1300, tag
                colours = image.getcolors(maxcolors=image.width * image.height)
                assert colours is not None
                assert len(colours) > COLOURS, tag
    assert seen == set(WIDTHS)


@pytest.mark.parametrize(("task", "score"), [("pretrain", "precision@5"), ("vqa", "overall")])
def test_final_scores_are_written_with_the_hyper_parameters(
    runs: dict[str, Run], task: str, score: str
) -> None:
    run = runs[task]
    events: EventAccumulator = EventAccumulator(str(run.folder / "scores")).Reload()
    content = events.PluginTagToContent("hparams")
    start = HParamsPluginData.FromString(content["_hparams_/session_start_info"])
    assert start.session_start_info.hparams["width"].number_value == 32
    shown = {tag: events.Scalars(tag)[-1].value for tag in events.Tags()["scalars"]}
    # The greatest value of the curve, which is also that of the checkpoint that was kept.
    curve = [event.value for event in run.events.Scalars(f"val/{score}")]
    assert shown[f"{score}/best_val"] == pytest.approx(max(curve))
    states = torch.load(run.folder / "best.ckpt", weights_only=True)["callbacks"].values()
    (kept,) = {
        float(s["best_model_score"]) for s in states if s.get("best_model_score") is not None
    }
    assert shown[f"{score}/best_val"] == pytest.approx(kept)
    assert shown[f"{score}/test"] == pytest.approx(float(run.tested[f"test/{score}"]))
    assert all(value >= 0 for value in shown.values())
