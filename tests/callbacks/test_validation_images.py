"""When images are drawn: for both stages, by their common base."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from amif_lightning.callbacks.validation_images import ValidationImages
from tests.callbacks.boards import events, trainer_of, validate


class Odd(ValidationImages):
    """Keeps odd numbers and draws as many figures."""

    def keep(self, batch: Any, outputs: Any) -> None:
        if batch % 2:
            self._kept.append(batch)

    def figures(self, task: Any, kept: list[Any]) -> dict[str, Any]:
        from matplotlib.figure import Figure

        return {f"odd/{number}": Figure((1, 1)) for number in kept}


def test_what_was_kept_is_drawn_once(tmp_path: Path) -> None:
    callback, trainer = Odd(), trainer_of(tmp_path)
    validate(callback, trainer, [1, 2, 3])
    validate(callback, trainer, [5])
    found = events(trainer)
    assert found.Tags()["images"] == ["odd/1", "odd/3", "odd/5"]
    assert [image.step for image in found.Images("odd/1")] == [7]


@pytest.mark.parametrize(
    "state", [{"sanity_checking": True}, {"is_global_zero": False}, {"logger": None}]
)
def test_it_rests_where_nothing_should_be_drawn(tmp_path: Path, state: dict[str, Any]) -> None:
    validate(Odd(), trainer_of(tmp_path, **state), [1])
    validate(Odd(), trainer_of(tmp_path), [2])
    assert not list(tmp_path.glob("events*"))
