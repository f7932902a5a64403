"""Every number that a task or callback takes has a range, and the message names it."""

from __future__ import annotations

import inspect
import math
from typing import Any

import pytest

from amif_lightning.callbacks import AlignmentImages, AnswerImages
from amif_lightning.errors import UserError
from amif_lightning.tasks import AMiFPretrain, AMiFVQA
from tests.small import SMALL

TASKS = {"AMiFPretrain": AMiFPretrain, "AMiFVQA": AMiFVQA}

#: Values out of range, by argument.
WRONG: dict[str, list[Any]] = {
    "vision_channels": [[], [0]],
    "vision_grid": [0, 3],
    "vision_summary_channels": [[8, -1]],
    "text_layers": [0],
    "image_size": [0],
    "width": [0, -8],
    "heads": [0, -2],
    "fusion_layers": [0, -1],
    "dropout": [-0.1, 1.0, 3.0, math.nan],
    "attention_dropout": [-0.1, 1.0, math.nan],
    "lr": [0.0, -1.0, math.inf, math.nan],
    **{f"{part}_lr_factor": [0.0, -1.0] for part in ("vision", "text", "fusion", "heads")},
    "min_lr": [-1e-6, 1.0],
    "warmup": [-0.1, 40.0],
    "weight_decay": [-1.0, math.inf],
    "betas": [(2.0, 3.0), (0.9, 1.0), (-0.1, 0.9), (0.9,)],
    "transport": [-1.0],
    "transport_temperature": [0.0, math.inf],
    "transport_start": [1.0],
    "view_transport": [-1.0],
    "matching": [-1.0],
    "random_share": [1.5],
    "max_likeness": [0.0],
    "image_text": [math.inf, math.nan],
    "view_view": [-1.0],
    "text_text": [-1.0],
    "image_text_smoothing": [1.0],
    "same_weight": [-0.01],
    "label_smoothing": [-0.1, 1.0],
    "temperature": [2.0, 0.0],
    "blur": [0.0, 2.0],
    "scaling": [1.0],
    "reach": [0.0],
    "decoder_layers": [0],
    "knowledge_supervision": [-1.0],
    "answer_tags": [-1.0],
    "beams": [0],
    "length_penalty": [-0.5, math.nan],
}
#: A seed may be any number.
ANY = {"seed"}


def numbers(cls: type) -> set[str]:
    """The arguments whose type contains a number."""
    found = inspect.signature(cls).parameters.items()
    return {n for n, p in found if "int" in str(p.annotation) or "float" in str(p.annotation)}


def test_every_number_is_in_the_table() -> None:
    assert numbers(AMiFPretrain) | numbers(AMiFVQA) == {*WRONG, *ANY}


@pytest.mark.parametrize(
    ("task", "name", "value"),
    [
        pytest.param(task, name, value, id=f"{task}-{name}-{value}")
        for task in TASKS
        for name, values in WRONG.items()
        for value in values
        # The base's arguments are checked once.
        if name in numbers(TASKS[task]) and (task == "AMiFVQA" or name not in numbers(AMiFVQA))
    ],
)
def test_a_number_out_of_range_is_named(task: str, name: str, value: Any) -> None:
    with pytest.raises(UserError, match=rf"^model\.init_args\..*{name} is .*: give "):
        TASKS[task](**(SMALL | {name: value}))


@pytest.mark.parametrize("callback", [AlignmentImages, AnswerImages])
def test_numbers_of_callbacks_below_one_are_named(callback: type) -> None:
    assert numbers(callback) >= {"samples", "side"}
    for name in numbers(callback):
        sentence = rf"{callback.__name__}: {name} is 0: give at least 1"
        with pytest.raises(UserError, match=sentence):
            callback(**{name: 0})
