"""Where the words of a question are transported on its image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from tokenizers import Tokenizer

from amif_lightning.callbacks.image_figures import WordMap, plans_figure
from amif_lightning.losses.transport import TokenTransport
from amif_lightning.models.eval_mode import at_rest
from amif_lightning.models.words import Word, informative, words_of
from amif_lightning.tasks.answering.single_question import (
    Answered,
    Asked,
    answers_known,
    inputs_of,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from amif_lightning.tasks.vqa import AMiFVQA

SIDE = 280  # pixels of each image
WORDS = 4  # most heat maps

CAUTION = (
    "This shows how the network aligns words and patches, and not why it gave its answer. "
    "On generated images such plans often miss what the words name (docs/results.md). "
    "Not for clinical use."
)


def explain(task: AMiFVQA, asked: Asked, answered: Answered) -> Figure:
    """A figure: the image with question and answers, then a heat map for each telling word.

    The plan is that of the transport between the words of the question and the patches (paper,
    unified local alignment), refined until its marginals are exact. The task says which tokens are
    compared; one that was trained without the transport has the plan of its default settings.

    Args:
        task: The task that answered.
        asked: The question and its image.
        answered: What it answered.

    Raises:
        UserError: See :func:`amif_lightning.tasks.answering.single_question.ask`.
    """
    inputs = inputs_of(task, [asked])
    transport = task.transport or TokenTransport()
    with at_rest(task):
        encoded = task.encode_pair(inputs.tokens, inputs.images, inputs.image_index)
        index = torch.zeros(1, dtype=torch.long, device=encoded.image.device)
        plan, _ = task.local_tokens(inputs.tokens, encoded, index).plan(transport)
    tokenizer = Tokenizer.from_str(answers_known(task).tokenizer)
    words = _telling(words_of(inputs.tokens.ids[0], inputs.tokens.mask[0], tokenizer))
    mass = plan[0].double().cpu().numpy()
    maps = [WordMap(word.text, mass[list(word.places)].sum(0)) for word in words]
    given = "; ".join(f"{one.answer} {one.probability:.1%}" for one in answered.answers[:3])
    image = inputs.images[0].double().cpu().numpy()
    centres = task.vision.patch_centres
    text = f"Question: {asked.question} Answers: {given}"
    return plans_figure([(image, text, maps)], centres, SIDE, CAUTION)


def _telling(words: list[Word]) -> list[Word]:
    """The words worth a heat map; of a question of stop words alone, its first ones."""
    return informative(words, WORDS) or words[:WORDS]
