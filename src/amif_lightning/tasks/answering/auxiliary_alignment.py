"""Alignment losses in answering (B questions here, G in total, I images, L tokens, D width)."""

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
    """Base of a task on questions with alignment as auxiliary losses.

    A loss without weight builds no module. Modules have the same names as in :class:`AMiFPretrain`,
    so a run that starts from its checkpoint keeps the learned temperature. Images and questions are
    compared through the projections of the fusion layers, even if pre-training had separate ones
    (``shared_projection`` false).

    Args:
        transport: Weight of the matched transport between question words and patches (0: without).
        transport_tokens: Tokens of that transport and of ``answer --explain``; set as in
            pre-training (see :class:`LocalAlignmentTask`).
        image_text: Weight of the alignment of images and questions with hard labels (0: without);
            questions about one image or with the same words are positives of each other.
        image_text_smoothing: Smoothing of those labels, in [0, 1).
        temperature: Initial temperature of that alignment, 0.01 to 1.
        blur: Length scale of the transport's entropy, above 0 and below 2.
        scaling: Ratio of successive scales of its annealing, above 0 and below 1.
        reach: Length scale of unbalanced transport, above 0; null: balanced.
        **kwargs: Arguments of :class:`AMiFTask`.
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
        """Compute and log the active losses of B questions, weighted and scaled for DDP's average.

        ``questions`` is the scalar G.
        """
        losses: list[Tensor] = []
        size = len(batch)
        if self.transport is not None:
            tokens = self.local_tokens(batch.question, encoded, batch.image_index)
            total = tokens.moved(self.transport).sum()
            # Divided by the average number of questions: DDP averages over processes.
            losses.append(self.transport_weight * total / (questions / world()[1]))
            everywhere = total.detach().clone()
            if world()[1] > 1:
                torch.distributed.all_reduce(everywhere)
            self.log("train/transport_loss", everywhere / questions, batch_size=size)
        if self.alignment is not None:
            image = global_embedding(self.fusion.image_projection, encoded.image)
            question = global_embedding(self.fusion.text_projection, encoded.text)
            # Every process computes the whole loss.
            loss = question_alignment(self.alignment, image, question, batch)
            losses.append(self.alignment.weights["image_text"] * loss)
            pair = self.alignment.pairs["image_text"]
            assert isinstance(pair, GlobalAlignment)
            self.log("train/image_text_loss", loss.detach(), batch_size=size)
            self.log("train/image_text_temperature", pair.temperature.detach(), batch_size=size)
        return losses

    def local_tokens(self, question: Tokens, encoded: EncodedPair, index: Tensor) -> LocalTokens:
        """Return words and patches for the transport; ``index`` (B,) is each question's image."""
        if self.transport_tokens == "fused":
            return fused_tokens(encoded)
        context = encoded.text if self.transport_tokens == "contextual" else None
        layers = self.fusion.text_projection, self.fusion.image_projection
        image = encoded.image.index_select(0, index)
        every = torch.ones_like(question.mask)
        return unfused_tokens(self, question, image, context, layers, every)

    def on_train_batch_end(self, outputs: Any, batch: object, batch_idx: int) -> None:
        """Clamp the temperature."""
        super().on_train_batch_end(outputs, batch, batch_idx)
        if self.alignment is not None:
            self.alignment.clamp_()


def question_alignment(
    alignment: UnifiedAlignment, image: Tensor, question: Tensor, batch: VQABatch
) -> Tensor:
    """Align images (I, D) and questions (B, D) over the global batch with hard labels.

    Both are unit embeddings of this process's ``batch``. The rows of the labels are the images of
    the G questions, the columns the questions. A pair is positive if both questions are about the
    same image or have the same words. The scalar loss is unweighted and equal in all processes.
    """
    shown = [stable_seed(name) for name in batch.image_keys]
    words = batch.question.ids.masked_fill(~batch.question.mask, -1)
    texts = torch.cat([torch.tensor(shown, device=words.device)[:, None], words], dim=1)
    # index_select adds the gradients of an image's questions in one order on CPUs.
    vectors = torch.cat([image.index_select(0, batch.image_index), question], dim=1)
    if world()[1] > 1:
        # Processes may hold different numbers of questions.
        shapes = gather(torch.tensor([texts.shape], device=words.device)).tolist()
        counts, longest = [count for count, _ in shapes], max(length for _, length in shapes)
        texts = gather_uneven(F.pad(texts, (0, longest - texts.shape[1]), value=-1), counts)
        vectors = gather_uneven(vectors, counts)
    same = same_sample(texts[:, 0], _first_equal(texts[:, 1:]))
    image, question = vectors.chunk(2, dim=1)
    return alignment(Sides(image, image, question), same, None).losses["image_text"]


def gather_uneven(local: Tensor, counts: Sequence[int]) -> Tensor:
    """Gather rows (B, ...) of processes with different ``counts`` to (G, ...), with gradient."""
    largest = max(counts)
    padding = local.new_zeros((largest - len(local), *local.shape[1:]))
    shares = gather(torch.cat([local, padding])).split(largest)
    return torch.cat([share[:count] for share, count in zip(shares, counts, strict=True)])


def _first_equal(rows: Tensor) -> Tensor:
    """Return the index (G,) of the first row equal to each row of (G, L)."""
    return (rows[:, None] == rows).all(2).int().argmax(1)
