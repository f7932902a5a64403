"""Learning curves: the scalars that training left in a run folder's TensorBoard events."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from amif_lightning.reports.records.study_scores import JUDGED

Points = tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class CurveTag:
    """A scalar that is worth an image.

    Attributes:
        tag: Its name in the events.
        title: Its name on the page.
        share: Whether it is a share, which is drawn in percent.
    """

    tag: str
    title: str
    share: bool


ANSWERING = (
    CurveTag("val/overall", "Validation accuracy, %", True),
    CurveTag("val/answer_loss", "Validation loss", False),
)
RETRIEVAL = (
    CurveTag(f"val/precision@{JUDGED}", f"Validation precision@{JUDGED}, %", True),
    CurveTag("train/loss", "Training loss (pre-training has no validation loss)", False),
)


@dataclass(frozen=True)
class Curve:
    """One seed's values: (step, value) by rising step, shares in percent."""

    seed: int
    points: Points


@dataclass(frozen=True)
class Panel:
    """The curves of one configuration for one measure."""

    name: str
    curves: tuple[Curve, ...]


@dataclass(frozen=True)
class Row:
    """The panels of one measure; their axes are the same."""

    measure: CurveTag
    panels: tuple[Panel, ...]


def read_scalars(folder: Path, tags: Sequence[str]) -> dict[str, Points]:
    """The values of some tags in all event files of a run folder.

    A resumed run has several files. From the first step of a later file on, that file holds; one of
    step 0 alone is of `validate`, which counts no steps. Values that are not finite are left out.

    Args:
        folder: The run folder.
        tags: Names of scalars.

    Returns:
        (step, value) by rising step for every tag that occurs; empty without event files.
    """
    files = sorted(folder.glob("events.out.tfevents.*"))  # the name starts with the time
    if not files:
        return {}
    from tensorboard.backend.event_processing import event_accumulator

    # Images and histograms are not wanted; 0 keeps every scalar.
    sizes = dict.fromkeys(event_accumulator.DEFAULT_SIZE_GUIDANCE, 1)
    sizes[event_accumulator.SCALARS] = 0
    # The reader would print of every file that ends in the middle, as those of running jobs do.
    logging.getLogger("tensorboard").setLevel(logging.ERROR)
    joined: dict[str, dict[int, float]] = {}
    for file in files:
        events = event_accumulator.EventAccumulator(str(file), sizes).Reload()
        for tag in set(tags).intersection(events.Tags()["scalars"]):
            found = {event.step: float(event.value) for event in events.Scalars(tag)}
            before = joined.get(tag, {})
            if not (before and set(found) == {0}):
                start = min(found)
                joined[tag] = {s: v for s, v in before.items() if s < start} | found
    return {
        tag: tuple((s, v) for s, v in sorted(values.items()) if math.isfinite(v))
        for tag, values in joined.items()
    }


def curves(
    configurations: Iterable[tuple[str, Sequence[tuple[int, Path]]]], measures: Sequence[CurveTag]
) -> tuple[list[Row], list[str]]:
    """The curves of several configurations.

    Args:
        configurations: Name of each, with (seed, run folder) of its runs.
        measures: What to draw.

    Returns:
        A row of panels for every measure that was found, and a sentence for every run folder
        without events or without these scalars.
    """
    panels: dict[CurveTag, list[Panel]] = {measure: [] for measure in measures}
    remarks = []
    for name, runs in configurations:
        read = {seed: read_scalars(folder, [m.tag for m in measures]) for seed, folder in runs}
        for seed, folder in runs:
            if not any(read[seed].values()):
                remarks.append(
                    f"{name}, seed {seed}: {folder} holds no TensorBoard events of training, so "
                    "it has no curve."
                )
        for measure in measures:
            factor = 100.0 if measure.share else 1.0
            found = tuple(
                Curve(seed, tuple((step, factor * value) for step, value in points))
                for seed, scalars in read.items()
                if (points := scalars.get(measure.tag))
            )
            if found:
                panels[measure].append(Panel(name, found))
    rows = [Row(measure, tuple(those)) for measure, those in panels.items() if those]
    return rows, remarks
