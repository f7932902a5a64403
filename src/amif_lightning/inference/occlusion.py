"""Occlusion: how much an answer's log-likelihood falls while a part of the image is hidden."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from amif_lightning.batch import Tokens, pad_tokens
from amif_lightning.data.preprocessing.tokenizer import Tokenizer
from amif_lightning.models.eval_mode import evaluation_mode
from amif_lightning.tasks.answering.decoding import MAX_ANSWER_POSITIONS
from amif_lightning.tasks.answering.single_question import Inputs, answers_known

if TYPE_CHECKING:
    from amif_lightning.tasks.vqa import AMiFVQA

#: Cells along a side of the map, and along a side of the hidden square.
CELLS, WINDOW = 8, 2
#: Middles of the cells as shares of the side.
CENTRES = (np.arange(CELLS) + 0.5) / CELLS
_CHUNK = 16  # images in one pass


def occlusion(task: AMiFVQA, inputs: Inputs, answer: str) -> NDArray[np.float64]:
    """Map what the answer to the only question depends on (Zeiler and Fergus, 2014).

    A square of 2 x 2 of the 8 x 8 cells is painted in the image's mean colour, at each of its 49
    places in turn. Each cell holds the mean fall of the answer's log-likelihood, in nats, over the
    squares that cover it; a mean rise counts as 0. Returns (64,) row by row.
    """
    (image,) = inputs.images
    places = range(CELLS - WINDOW + 1)
    hidden = [hide(image, row, column) for row in places for column in places]
    values = [
        log_likelihood(task, inputs.tokens, torch.stack(some), answer)
        for some in ([image], *(hidden[at : at + _CHUNK] for at in range(0, len(hidden), _CHUNK)))
    ]
    whole, covered = values[0], torch.cat(values[1:]).view(len(places), len(places)).numpy()
    total, count = np.zeros((2, CELLS, CELLS))
    for row in places:
        for column in places:
            cells = slice(row, row + WINDOW), slice(column, column + WINDOW)
            total[cells] += float(whole) - covered[row, column]
            count[cells] += 1
    fall: NDArray[np.float64] = (total / count).clip(0).ravel()
    return fall


def hide(image: Tensor, row: int, column: int) -> Tensor:
    """Paint the square whose first cell is (row, column) in the mean colour of (3, H, W)."""
    height, width = image.shape[1:]
    top, bottom = (round(at * height / CELLS) for at in (row, row + WINDOW))
    left, right = (round(at * width / CELLS) for at in (column, column + WINDOW))
    painted = image.clone()
    painted[:, top:bottom, left:right] = image.mean((1, 2), keepdim=True)
    return painted


def log_likelihood(task: AMiFVQA, question: Tokens, images: Tensor, answer: str) -> Tensor:
    """Compute the log-likelihood (N,) float64 of an answer to one question on N images."""
    space = answers_known(task)
    ids = Tokenizer.from_json(space.tokenizer).encode(answer, MAX_ANSWER_POSITIONS + 1)
    count = len(images)
    answers = pad_tokens([ids] * count, space.pad_id).to(images.device)
    questions = Tokens(question.ids.expand(count, -1), question.mask.expand(count, -1))
    with evaluation_mode(task):
        fused = task.read(task.encode_pair(questions, images))
        return task.decoder.log_likelihood(answers, fused.states, fused.mask).double().cpu()
