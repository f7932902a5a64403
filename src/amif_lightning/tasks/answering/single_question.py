"""Answer questions without a data set (B questions, I images, L tokens, P patches, D width)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from os import PathLike
from typing import TYPE_CHECKING, NamedTuple

import torch
from PIL import Image
from torch import Tensor

from amif_lightning.answer_space import AnswerSpace
from amif_lightning.batch import Tokens, pad_tokens
from amif_lightning.data.preprocessing.image_files import read_image
from amif_lightning.data.preprocessing.normalization import collapse
from amif_lightning.data.preprocessing.tokenizer import Tokenizer
from amif_lightning.data.preprocessing.transforms import ImageTransform, to_square
from amif_lightning.errors import UserError
from amif_lightning.models.eval_mode import evaluation_mode
from amif_lightning.tasks.answering.doubts import reasons

if TYPE_CHECKING:
    from amif_lightning.tasks.vqa import AMiFVQA


class RankedAnswer(NamedTuple):
    """An answer and its probability under the decoder, 0 to 1."""

    answer: str
    probability: float


@dataclass(frozen=True)
class Asked:
    """A question about an image or image file; ``frame`` of a multi-frame DICOM file."""

    image: Image.Image | str | PathLike[str]
    question: str
    frame: int | None = None


@dataclass(frozen=True)
class Answered:
    """Answers to one question."""

    answers: list[RankedAnswer]  # the best first
    cut: int  # truncated tokens at the end of the question
    unknown: int  # words that the tokenizer does not know
    warnings: list[str] = field(default_factory=list)  # reasons to distrust the answers


@dataclass(frozen=True)
class Inputs:
    """Network inputs for B questions about I images; see :class:`Answered`."""

    images: Tensor  # (I, 3, H, W) float, normalised
    image_index: Tensor  # (B,) image of each question
    tokens: Tokens  # (B, L) the questions
    cut: list[int]
    unknown: list[int]


def ask(task: AMiFVQA, asked: Sequence[Asked], max_answers: int = 5) -> list[Answered]:
    """Answer at least one question in one batch, each with at most ``max_answers`` answers.

    Raises:
        UserError: If an image cannot be read, a question is empty, ``max_answers`` is below 1, the
            task has no candidate answers, or its weights are not finite.
    """
    if max_answers < 1:
        raise UserError(f"{max_answers} answers are asked for: give at least 1.")
    inputs = inputs_of(task, asked)
    with evaluation_mode(task):
        try:
            encoded = task.encode_pair(inputs.tokens, inputs.images, inputs.image_index)
            features = task.image_features(encoded.image)
            ranked = task.ranked(task.read(encoded), max_answers)
        except FloatingPointError as error:
            raise UserError(
                f"The checkpoint cannot answer because {error}: use an earlier one."
            ) from error
    return [
        Answered(
            [RankedAnswer(text, math.exp(value)) for text, value in row],
            cut,
            unknown,
            [*task.doubts, *reasons(answers_known(task), one.question, features[image])],
        )
        for one, image, row, cut, unknown in zip(
            asked, inputs.image_index.tolist(), ranked, inputs.cut, inputs.unknown, strict=True
        )
    ]


def inputs_of(task: AMiFVQA, asked: Sequence[Asked]) -> Inputs:
    """Read images (equal ones once) and tokenise questions as for a test split."""
    space = answers_known(task)
    tokenizer = Tokenizer.from_json(space.tokenizer)
    limit = space.question_tokens or int(task.text.bert.config.max_position_embeddings)
    transform = ImageTransform(task.image_size, "none")
    rows: dict[tuple[object, int | None], int] = {}
    images: list[Tensor] = []
    index, ids, cut, unknown = [], [], [], []
    for one in asked:
        same = id(one.image) if isinstance(one.image, Image.Image) else str(one.image)
        row = rows.setdefault((same, one.frame), len(images))
        if row == len(images):
            image = read_image(one.image, task.image_size, one.frame)
            images.append(transform(to_square(image, task.image_size)))
        index.append(row)
        pieces = tokenizer.pieces(collapse(one.question))
        if not pieces:
            raise UserError("The question is empty: write it in words.")
        ids.append(tokenizer.encode(collapse(one.question), limit))
        cut.append(len(pieces) + 2 - len(ids[-1]))
        unknown.append(sum(piece == tokenizer.unk_id for piece in pieces))
    return Inputs(
        torch.stack(images).to(task.device),
        torch.tensor(index, device=task.device),
        pad_tokens(ids, space.pad_id).to(task.device),
        cut,
        unknown,
    )


def answers_known(task: AMiFVQA) -> AnswerSpace:
    """Return the task's answer space; raise a UserError without candidates."""
    if task.space is None or not task.space.candidates:
        raise UserError(
            "The task has no candidate answers: give a checkpoint of the answering stage "
            "(`--ckpt_path`, in Python `AMiFVQA.load_from_checkpoint`)."
        )
    return task.space
