"""Learning curves are what the event files hold, across interruptions."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from amif_lightning.reports.page.curves import (
    HEIGHT,
    WIDTH,
    Curve,
    draw_curves,
    draw_key,
    read_scalars,
)


def written(folder: Path, values: dict[int, float], name: str, tag: str = "val/overall") -> None:
    """An event file whose name sorts as ``name`` does."""
    writer = EventFileWriter(str(folder / "made"))
    for step, value in values.items():
        summary = Summary(value=[Summary.Value(tag=tag, simple_value=value)])
        writer.add_event(Event(step=step, summary=summary, wall_time=float(step)))
    writer.close()
    (file,) = (folder / "made").iterdir()
    file.rename(folder / f"events.out.tfevents.{name}")


def test_values_are_read_by_step(tmp_path: Path) -> None:
    written(tmp_path, {10: 0.25, 20: 0.5}, "1")
    written(tmp_path, {5: 1.0}, "2", tag="other")
    assert read_scalars(tmp_path, ["val/overall"]) == {"val/overall": ((10, 0.25), (20, 0.5))}


def test_a_resumed_run_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    written(tmp_path, {10: 0.25, 20: 0.5, 30: 0.625}, "1")
    written(tmp_path, {20: 0.75, 40: 1.0}, "2")  # began again after step 10
    points = read_scalars(tmp_path, ["val/overall"])["val/overall"]
    assert points == ((10, 0.25), (20, 0.75), (40, 1.0))


def test_a_folder_without_events_has_none(tmp_path: Path) -> None:
    assert read_scalars(tmp_path, ["val/overall"]) == {}
    (tmp_path / "events.out.tfevents.1").touch()  # a run that stopped at once
    assert read_scalars(tmp_path, ["val/overall"]) == {}


def test_lines_lie_inside_and_rise_with_the_values() -> None:
    curves = [Curve(0, ((0, 1.0), (50, 2.0), (100, 3.0))), Curve(1, ()), Curve(2, ((100, -4.0),))]
    text = draw_curves("a & b", curves)
    lines = [
        [tuple(map(float, point.split(","))) for point in line.split()]
        for line in re.findall(r'points="([^"]*)"', text)
    ]
    assert [len(line) for line in lines] == [3, 1]
    for x, y in [point for line in lines for point in line]:
        assert 0 <= x <= WIDTH
        assert 0 <= y <= HEIGHT
    heights = [y for _, y in lines[0]]
    assert heights == sorted(heights, reverse=True)
    assert "a &amp; b: seed 0 from 1 at step 0 to 3 at step 100; seed 2" in text


def test_a_seed_without_values_leaves_the_colours_of_the_others() -> None:
    whole = draw_curves("a", [Curve(0, ((0, 1.0),)), Curve(1, ((0, 2.0),))])
    part = draw_curves("a", [Curve(0, ()), Curve(1, ((0, 2.0),))])
    colour = re.findall(r'stroke="(#\w+)"', whole)[1]
    assert re.findall(r'stroke="(#\w+)"', part) == [colour]
    assert colour in draw_key([0, 1])


@pytest.mark.parametrize("value", [0.0, -2.0, 1e-9, 3e8])
def test_a_constant_can_be_drawn(value: float) -> None:
    text = draw_curves("a", [Curve(0, ((0, value), (0, value)))])
    assert "nan" not in text
    assert "inf" not in text
