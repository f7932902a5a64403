"""Alignment across stages: pre-training's losses beside those of answering, on request.

Letters used in shapes: B questions of this process, G of all processes, I images, L question
tokens, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from amif_lightning.batch import Tokens, VQABatch
from amif_lightning.losses.alignment import GlobalAlignment, Sides, UnifiedAlignment, same_sample
from amif_lightning.losses.gather import gather, world
from amif_lightning.losses.transport import TokenTransport
from amif_lightning.models.fusion import EncodedPair, global_embedding
from amif_lightning.seeding import stable_seed
from amif_lightning.signatures import Unpack
from amif_lightning.tasks.argument_checks import (
    check_smoothing,
    check_temperature,
    check_transport,
    check_weights,
)
from amif_lightning.tasks.base import AMiFTask
from amif_lightning.tasks.local_tokens import LocalTokens, fused_tokens, unfused_tokens
from amif_lightning.tasks.options import TaskOptions, TransportTokens


class AuxiliaryTask(AMiFTask):
    """Base of a task on questions that may keep pre-training's alignment as auxiliary losses.

    A loss without weight builds no module and costs nothing. Modules have the names that they have
    in :class:`AMiFPretrain`, so a start from its checkpoint goes on with the temperature that it
    learned. Images and questions are compared through the projections of the fusion layers; those
    that pre-training had apart (its ``shared_projection`` false) are not taken over.

    Args:
        transport: Weight of the matched transport between question words and patches (0: without).
        transport_tokens: Which tokens that transport and ``ask --explain`` read: those that
            pre-training transported (see :class:`LocalAlignmentTask`).
        image_text: Weight of the alignment of images and questions with hard labels (0: without):
            questions of one image, and questions of the same words, are not told apart.
        image_text_smoothing: Smoothing of those labels, in [0, 1).
        temperature: Temperature of that alignment at the start, 0.01 to 1.
        blur: Length scale of the transport's entropy, above 0 and below 2.
        scaling: Ratio of successive scales of its annealing, above 0 and below 1.
        reach: Length scale of unbalanced transport, above 0; null: balanced.
        **kwargs: Arguments of :class:`AMiFTask`.

    Raises:
        UserError: If a number is out of range.
    """

    def __init__(
        self,
        transport: float = 0.0,
        transport_tokens: TransportTokens = "words",
        image_text: float = 0.0,
        image_text_smoothing: float = 0.1,
        temperature: float = 0.07,
        blur: float = 0.05,
        scaling: float = 0.5,
        reach: float | None = None,
        **kwargs: Unpack[TaskOptions],
    ) -> None:
        super().__init__(**kwargs)
        check_weights(transport=transport, image_text=image_text)
        check_smoothing(image_text_smoothing=image_text_smoothing)
        check_temperature(temperature)
        check_transport(blur, scaling, reach)
        self.transport_weight, self.transport_tokens = transport, transport_tokens
        self.transport = TokenTransport(blur, scaling, reach) if transport else None
        self.alignment = (
            UnifiedAlignment(
                "hard",
                image_text=image_text,
                view_view=0.0,
                text_text=0.0,
                smoothing=image_text_smoothing,
                temperature=temperature,
            )
            if image_text
            else None
        )

    def auxiliary_losses(
        self, batch: VQABatch, encoded: EncodedPair, questions: Tensor
    ) -> list[Tensor]:
        """The weighted losses that are switched on, logged, and scaled for DDP's average.

        ``encoded`` are the B questions with their images, and ``questions`` is the scalar G.
        """
        losses: list[Tensor] = []
        size = len(batch)
        if self.transport is not None:
            tokens = self.local_tokens(batch.question, encoded, batch.image_index)
            total = tokens.moved(self.transport).sum()
            # Divided by the average number of questions, for DDP takes the mean over processes.
            losses.append(self.transport_weight * total / (questions / world()[1]))
            everywhere = total.detach().clone()
            if world()[1] > 1:
                torch.distributed.all_reduce(everywhere)
            self.log("train/transport_loss", everywhere / questions, batch_size=size)
        if self.alignment is not None:
            image = global_embedding(self.fusion.image_projection, encoded.image)
            question = global_embedding(self.fusion.text_projection, encoded.text)
            # Every process computes the whole loss, so it needs no factor.
            loss = question_alignment(self.alignment, image, question, batch)
            losses.append(self.alignment.weights["image_text"] * loss)
            pair = self.alignment.pairs["image_text"]
            assert isinstance(pair, GlobalAlignment)
            self.log("train/image_text_loss", loss.detach(), batch_size=size)
            self.log("train/image_text_temperature", pair.temperature.detach(), batch_size=size)
        return losses

    def local_tokens(self, question: Tokens, encoded: EncodedPair, index: Tensor) -> LocalTokens:
        """The words and patches that transport compares; ``index`` (B,) names each one's image."""
        if self.transport_tokens == "fused":
            return fused_tokens(encoded)
        context = encoded.text if self.transport_tokens == "contextual" else None
        layers = self.fusion.text_projection, self.fusion.image_projection
        image = encoded.image.index_select(0, index)
        every = torch.ones_like(question.mask)
        return unfused_tokens(self, question, image, context, layers, every)

    def on_train_batch_end(self, outputs: Any, batch: object, batch_idx: int) -> None:
        """Keep the temperature in its range."""
        super().on_train_batch_end(outputs, batch, batch_idx)
        if self.alignment is not None:
            self.alignment.clamp_()


def question_alignment(
    alignment: UnifiedAlignment, image: Tensor, question: Tensor, batch: VQABatch
) -> Tensor:
    r"""Alignment of images and questions over the global batch, with hard labels.

    Rows and columns are the G questions: u_i is the image that question i is about, v_j question j,
    and both i and j are positive where they are about the same image or have the same words.

    Args:
        alignment: Holds the pair ``image_text``.
        image: (I, D) embeddings of this process's images, of unit norm.
        question: (B, D) embeddings of its questions, of unit norm.
        batch: The questions.

    Returns:
        The unweighted scalar loss, the same in all processes.
    """
    shown = [stable_seed(name) for name in batch.image_keys]
    words = batch.question.ids.masked_fill(~batch.question.mask, -1)
    texts = torch.cat([torch.tensor(shown, device=words.device)[:, None], words], dim=1)
    # One order of adding the gradients of an image's questions, unlike image[batch.image_index].
    vectors = torch.cat([image.index_select(0, batch.image_index), question], dim=1)
    if world()[1] > 1:
        # Groups hold one to several questions, so processes may hold different numbers of them.
        shapes = gather(torch.tensor([texts.shape], device=words.device)).tolist()
        counts, longest = [count for count, _ in shapes], max(length for _, length in shapes)
        texts = gather_uneven(F.pad(texts, (0, longest - texts.shape[1]), value=-1), counts)
        vectors = gather_uneven(vectors, counts)
    same = same_sample(texts[:, 0], _first_equal(texts[:, 1:]))
    image, question = vectors.chunk(2, dim=1)
    return alignment(Sides(image, image, question), same, None).losses["image_text"]


def gather_uneven(local: Tensor, counts: Sequence[int]) -> Tensor:
    """Gather rows (B, ...) with their gradient, where processes hold different ``counts`` of them.

    Returns:
        (G, ...), the rows of rank 0 first.
    """
    largest = max(counts)
    padding = local.new_zeros((largest - len(local), *local.shape[1:]))
    shares = gather(torch.cat([local, padding])).split(largest)
    return torch.cat([share[:count] for share, count in zip(shares, counts, strict=True)])


def _first_equal(rows: Tensor) -> Tensor:
    """(G,) place of the first row that equals each row of (G, L): equal where the rows are."""
    # Compared in whole: a hash would save memory that is not short, and could collide.
    return (rows[:, None] == rows).all(2).int().argmax(1)
