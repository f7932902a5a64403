"""What a person opens in TensorBoard after a run: charts with points, pictures, scores."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import LearningRateMonitor
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar.layout_pb2 import Layout
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from amif_lightning.callbacks import AlignmentPictures, AnswerPictures, Dashboard
from amif_lightning.callbacks.drawing import MARGIN
from amif_lightning.tasks import AMiFPretrain, AMiFVQA
from data_modules.phantom.studies import PhantomStudies
from tests.small import SIZES, SMALL, phantom, trainer

#: Side of each picture, and columns of answers.
SIDE, COLUMNS = 48, 4
EPOCHS = 3


def _run(folder: Path, task: Any, data: L.LightningDataModule) -> EventAccumulator:
    """Fit for a few epochs and test, as the command line does it, with all that is shown."""
    callbacks = [
        Dashboard(),
        LearningRateMonitor("step"),
        AnswerPictures(side=SIDE),
        AlignmentPictures(side=SIDE),
    ]
    running = trainer(
        folder,
        max_epochs=EPOCHS,
        log_every_n_steps=1,
        callbacks=callbacks,
        logger=TensorBoardLogger(folder, name="", version="", default_hp_metric=False),
    )
    running.fit(task, datamodule=data)
    running.test(task, datamodule=data, verbose=False)
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0, "tensors": 0})
    events.Reload()
    return events


@pytest.fixture(scope="module")
def answering(tmp_path_factory: pytest.TempPathFactory) -> EventAccumulator:
    folder = tmp_path_factory.mktemp("answering")
    torch.manual_seed(0)
    task = AMiFVQA(**SMALL, transport=0.1, image_text=0.1)
    return _run(folder / "run", task, phantom(folder / "phantom", batch_size=8))


@pytest.fixture(scope="module")
def pretraining(tmp_path_factory: pytest.TempPathFactory) -> EventAccumulator:
    folder = tmp_path_factory.mktemp("pretraining")
    torch.manual_seed(0)
    task = AMiFPretrain(**SMALL, view_transport=0.1)
    data = PhantomStudies(
        str(folder / "phantom"),
        image_size=32,
        tokenizer="words",
        teacher="vectors",
        augmentation="none",
        num_workers=0,
        batch_size=8,
        **SIZES,
    )
    return _run(folder / "run", task, data)


@pytest.fixture(params=["answering", "pretraining"])
def events(request: pytest.FixtureRequest) -> EventAccumulator:
    loaded: EventAccumulator = request.getfixturevalue(request.param)
    return loaded


def charts_of(events: EventAccumulator) -> dict[str, list[str]]:
    """The expressions of every chart by ``category: title``."""
    (layout,) = events.Tensors("custom_scalars__config__")
    return {
        f"{category.title}: {chart.title}": list(chart.multiline.tag)
        for category in Layout.FromString(layout.tensor_proto.string_val[0]).category
        for chart in category.chart
    }


def test_every_tag_of_the_layout_has_points(events: EventAccumulator) -> None:
    scalars = events.Tags()["scalars"]
    for title, patterns in charts_of(events).items():
        for pattern in patterns:
            # As TensorBoard does it: from the beginning of the tag.
            tags = [tag for tag in scalars if re.match(pattern, tag)]
            if title == "knowledge: gate mean":
                assert {"train/gate_mean", "val/gate_mean"} <= set(tags)
            assert tags, f"{title}: {pattern}"
            for tag in tags:
                points = {event.step for event in events.Scalars(tag)}
                assert len(points) >= EPOCHS, tag


def test_the_groups_are_those_of_the_method(
    answering: EventAccumulator, pretraining: EventAccumulator
) -> None:
    def groups(events: EventAccumulator) -> list[str]:
        return list(dict.fromkeys(title.partition(":")[0] for title in charts_of(events)))

    assert groups(pretraining) == ["alignment", "transport", "negatives", "optimiser"]
    assert groups(answering) == ["answers", "knowledge", "alignment", "transport", "optimiser"]


#: Least width and height of each picture: what it shows, without the words around it.
SHEETS: dict[str, Callable[[], tuple[int, int]]] = {
    "answers/validation": lambda: (COLUMNS * (SIDE + 2 * MARGIN), 2 * SIDE),
    "alignment/similarity": lambda: (3 * SIDE, SIDE),
    "transport/plans": lambda: (4 * SIDE, 4 * SIDE),
    "negatives/hardest": lambda: (2 * 3 * SIDE, SIDE),
}


def test_every_picture_has_its_size_and_colours(
    answering: EventAccumulator, pretraining: EventAccumulator
) -> None:
    found = {tag: events for events in (answering, pretraining) for tag in events.Tags()["images"]}
    assert set(found) == set(SHEETS)
    for tag, events in found.items():
        shots = events.Images(tag)
        assert len({shot.step for shot in shots}) == EPOCHS, tag
        assert len({(shot.width, shot.height) for shot in shots}) == 1, tag  # it does not jump
        for shot in shots:
            with Image.open(io.BytesIO(shot.encoded_image_string)) as opened:
                picture = np.asarray(opened.convert("RGB"))
            assert picture.shape == (shot.height, shot.width, 3)
            width, height = SHEETS[tag]()
            assert shot.width >= width, tag
            assert shot.height >= height, tag
            assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 50, tag


def test_final_scores_stand_beside_the_hyper_parameters(events: EventAccumulator) -> None:
    content = events.PluginTagToContent("hparams")
    listed = HParamsPluginData.FromString(content["_hparams_/experiment"])
    scores = {info.name.tag for info in listed.experiment.metric_infos}
    assert scores & {"test/overall", "test/precision@5"}
    assert not [score for score in scores if not score.startswith(("test/", "control/"))]
    for score in scores:  # a number from 0 up, not the -1 of a run that never ended
        assert events.Scalars(score)[-1].value >= 0
    start = HParamsPluginData.FromString(content["_hparams_/session_start_info"])
    assert {"vision", "width", "heads"} <= set(start.session_start_info.hparams)
