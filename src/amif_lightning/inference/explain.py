"""Show on the image where a question's words are sent and what its answer depends on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer

from amif_lightning.callbacks.image_figures import HeatMap, maps_figure
from amif_lightning.inference.occlusion import CENTRES, occlusion
from amif_lightning.losses.transport import TokenTransport
from amif_lightning.models.eval_mode import evaluation_mode
from amif_lightning.models.words import informative, words_of
from amif_lightning.tasks.answering.single_question import (
    Answered,
    Asked,
    Inputs,
    answers_known,
    inputs_of,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from amif_lightning.tasks.vqa import AMiFVQA

SIDE = 280  # pixels of each image
WORDS = 4  # maximum number of heat maps

#: Measured by ``benchmarks/measures/answer_maps.py`` (docs/results/answer_maps.txt).
MEASURED = {"plan": "1.9", "hiding": "2.6"}
NOTE = (
    "A word's map is its transport plan: how the network aligns it with patches, not why it "
    "answered. The last map shows where hiding a square of the image lowers the answer's "
    "likelihood. On generated images with known findings, the share on the finding was {plan} "
    "(plan of the word) and {hiding} (hiding) times that of an even map (docs/results.md). "
    "Not for clinical use."
)


def explain(task: AMiFVQA, asked: Asked, answered: Answered) -> Figure:
    """Draw the image with question and answers, a map for each informative word, and occlusion.

    A word's map shows the transport plan between words and patches (paper, unified local
    alignment), refined until its marginals are exact. It uses the task's transport tokens and
    settings, or the default settings if the task was trained without transport. The last map is
    the :func:`~amif_lightning.inference.occlusion.occlusion` of the first answer.

    Raises:
        UserError: See :func:`amif_lightning.tasks.answering.single_question.ask`.
    """
    inputs = inputs_of(task, [asked])
    tokenizer = Tokenizer.from_str(answers_known(task).tokenizer)
    every = words_of(inputs.tokens.ids[0], inputs.tokens.mask[0], tokenizer)
    words = informative(every, WORDS) or every[:WORDS]  # a question may consist of stop words
    plan = question_plan(task, inputs)
    centres = task.vision.patch_centres
    maps = [HeatMap(word.text, plan[list(word.places)].sum(0), centres) for word in words]
    (best, *_) = answered.answers
    hiding = occlusion(task, inputs, best.answer)
    maps.append(HeatMap(f"hiding: {best.answer}", hiding, CENTRES))
    given = "; ".join(f"{one.answer} {one.probability:.1%}" for one in answered.answers[:3])
    image = inputs.images[0].double().cpu().numpy()
    text = f"Question: {asked.question} Answers: {given}"
    return maps_figure([(image, text, maps)], SIDE, NOTE.format(**MEASURED))


def question_plan(task: AMiFVQA, inputs: Inputs) -> NDArray[np.float64]:
    """Compute the transport plan (L, P) of the only question's tokens onto the image's patches."""
    transport = task.transport or TokenTransport()
    with evaluation_mode(task):
        encoded = task.encode_pair(inputs.tokens, inputs.images, inputs.image_index)
        index = torch.zeros(1, dtype=torch.long, device=encoded.image.device)
        plan, _ = task.local_tokens(inputs.tokens, encoded, index).plan(transport)
    mass: NDArray[np.float64] = plan[0].double().cpu().numpy()
    return mass
