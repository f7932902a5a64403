"""Show the transport plan of a question's words on its image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from tokenizers import Tokenizer

from amif_lightning.callbacks.image_figures import WordMap, plans_figure
from amif_lightning.losses.transport import TokenTransport
from amif_lightning.models.eval_mode import evaluation_mode
from amif_lightning.models.words import informative, words_of
from amif_lightning.tasks.answering.single_question import Answered, Asked, answers_known, inputs_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from amif_lightning.tasks.vqa import AMiFVQA

SIDE = 280  # pixels of each image
WORDS = 4  # maximum number of heat maps

CAUTION = (
    "This shows how the network aligns words and patches, not why it gave its answer. "
    "On generated images such plans often miss the named finding (docs/results.md). "
    "Not for clinical use."
)


def explain(task: AMiFVQA, asked: Asked, answered: Answered) -> Figure:
    """Draw the image with question and answers, then a heat map for each informative word.

    A heat map shows the transport plan between words and patches (paper, unified local alignment),
    refined until its marginals are exact. It uses the task's transport tokens and settings, or the
    default settings if the task was trained without transport.

    Raises:
        UserError: See :func:`amif_lightning.tasks.answering.single_question.ask`.
    """
    inputs = inputs_of(task, [asked])
    transport = task.transport or TokenTransport()
    with evaluation_mode(task):
        encoded = task.encode_pair(inputs.tokens, inputs.images, inputs.image_index)
        index = torch.zeros(1, dtype=torch.long, device=encoded.image.device)
        plan, _ = task.local_tokens(inputs.tokens, encoded, index).plan(transport)
    tokenizer = Tokenizer.from_str(answers_known(task).tokenizer)
    every = words_of(inputs.tokens.ids[0], inputs.tokens.mask[0], tokenizer)
    words = informative(every, WORDS) or every[:WORDS]  # a question may consist of stop words
    mass = plan[0].double().cpu().numpy()
    maps = [WordMap(word.text, mass[list(word.places)].sum(0)) for word in words]
    given = "; ".join(f"{one.answer} {one.probability:.1%}" for one in answered.answers[:3])
    image = inputs.images[0].double().cpu().numpy()
    centres = task.vision.patch_centres
    text = f"Question: {asked.question} Answers: {given}"
    return plans_figure([(image, text, maps)], centres, SIDE, CAUTION)
