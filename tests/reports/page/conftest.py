"""Event files and images that run folders of the page's tests hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter

Scalars = Mapping[str, Sequence[tuple[int, float]]]


@pytest.fixture
def write_events() -> Callable[[Path, Scalars], Path]:
    """Write (step, value) of tags as a new event file, later ones with a later name."""

    def write(folder: Path, scalars: Scalars) -> Path:
        before = set(folder.glob("events.out.tfevents.*"))
        writer = EventFileWriter(str(folder))
        for tag, points in scalars.items():
            for step, value in points:
                summary = Summary(value=[Summary.Value(tag=tag, simple_value=value)])
                writer.add_event(Event(step=step, summary=summary))
        writer.close()
        (made,) = set(folder.glob("events.out.tfevents.*")) - before
        return made.rename(folder / f"events.out.tfevents.{1700000000 + len(before)}.host.1.0")

    return write
