"""Local alignment of pre-training (B studies here, G in total, L tokens, P patches, D width)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from amif_lightning.batch import StudyBatch, Tokens
from amif_lightning.losses.alignment import Aligned, GlobalAlignment, Sides, UnifiedAlignment
from amif_lightning.losses.gather import world
from amif_lightning.losses.transport import TokenTransport, transport_contrast
from amif_lightning.models.fusion import EncodedPair, MatchingHead, global_embedding
from amif_lightning.models.words import affirmed, denial_ids
from amif_lightning.signatures import Unpack
from amif_lightning.tasks.argument_checks import (
    check,
    check_smoothing,
    check_transport,
    check_weights,
)
from amif_lightning.tasks.base import AMiFTask
from amif_lightning.tasks.local_tokens import LocalTokens, fused_tokens, unfused_tokens
from amif_lightning.tasks.optimization import optimizer_steps
from amif_lightning.tasks.options import (
    Negatives,
    Stage,
    TaskOptions,
    TransportLoss,
    TransportTokens,
)
from amif_lightning.tasks.pretraining.mining import (
    Drawn,
    draw_for_rank,
    even_log_weights,
    fuse_drawn,
    hard_log_weights,
    score_pairs,
)


@dataclass(frozen=True)
class GlobalBatch:
    """Features and alignment results of the global batch."""

    sides: Sides  # (G, D) the student's embeddings
    aligned: Aligned  # losses, logits and labels
    study: Tensor  # (G,) long identities of the studies
    same: Tensor  # (G, G) bool, pairs of the same study or text
    teacher: Sides | None  # (G, T) the teacher's embeddings
    scale: float  # the teacher's logit scale, a natural logarithm


class LocalAlignmentTask(AMiFTask):
    """Base of a task on studies with transport and matching; a subclass sets ``alignment``.

    Args:
        shared_projection: Whether one projection per modality serves both the alignment and the
            fusion layers, as released.
        stage: ``global``: train encoders and projections by the alignment losses and the transport
            of unfused tokens; ``local``: freeze the encoders and train the fusion layers by
            matching and the transport of fused tokens; ``joint``: train everything. Run ``global``,
            then ``local`` from its checkpoint: fusion layers learn to match only once both encoders
            share one space.
        transport: Weight of the transport between words and patches (0: without; released: 3.0).
        transport_loss: ``contrast``: own pairs against drawn ones; ``matched``: own pairs alone, as
            released, which is minimal if all tokens collapse into one point.
        transport_tokens: ``words``: word embeddings without context and patches without positions;
            ``contextual``: states of the text encoder and the same patches; ``fused``: both after
            the fusion layers, as released. Unfused tokens are trained in the stages ``global`` and
            ``joint``, fused ones in ``local`` and ``joint``.
        transport_temperature: Temperature of the contrast, above 0, in units of the transport cost.
        transport_denials: Whether unfused transport includes negated sentences ("No mass."), whose
            words name findings that are not on the image.
        transport_start: Share of the steps in [0, 1) before unfused transport starts.
        view_transport: Weight of the matched transport of fused patches of both views (0: without).
        matching: Weight of image-text matching (0: without).
        negatives: ``random``: any other study; ``hard``: similar for the student and dissimilar by
            the labels, as released; ``curriculum``: random first, then hard. Unfused transport
            always draws random ones.
        random_share: Share of the steps in [0, 1] with random negatives in a ``curriculum``.
        max_likeness: Hard negatives have a label below this share of the row's greatest, in (0, 1];
            1: as released, with ``same_weight`` left in the labels.
        local_view: View for matching and transport: ``frontal`` (view 1 without one) or ``first``.
        blur: Length scale of the transport's entropy (see :class:`TokenTransport`).
        scaling: Ratio of successive scales of its annealing.
        reach: Length scale of unbalanced transport; null: balanced.
        **kwargs: Arguments of :class:`AMiFTask`.
    """

    alignment: UnifiedAlignment

    def __init__(
        self,
        shared_projection: bool = True,
        stage: Stage = "joint",
        transport: float = 1.0,
        transport_loss: TransportLoss = "contrast",
        transport_tokens: TransportTokens = "words",
        transport_temperature: float = 0.02,
        transport_denials: bool = False,
        transport_start: float = 0.0,
        view_transport: float = 0.0,
        matching: float = 1.0,
        negatives: Negatives = "curriculum",
        random_share: float = 0.5,
        max_likeness: float = 0.7,
        local_view: Literal["frontal", "first"] = "frontal",
        blur: float = 0.05,
        scaling: float = 0.5,
        reach: float | None = None,
        **kwargs: Unpack[TaskOptions],
    ) -> None:
        super().__init__(**kwargs)
        check_weights(transport=transport, view_transport=view_transport, matching=matching)
        check_transport(blur, scaling, reach)
        positive = 0 < transport_temperature < math.inf
        check("transport_temperature", transport_temperature, positive, "a finite number above 0")
        check_smoothing(transport_start=transport_start)
        check("random_share", random_share, 0 <= random_share <= 1, "0 to 1")
        check("max_likeness", max_likeness, 0 < max_likeness <= 1, "more than 0, at most 1")
        widths = self.text.width, self.vision.width
        own = [] if shared_projection else [nn.Linear(width, self.fusion.width) for width in widths]
        self.projections = nn.ModuleList(own) if own else None
        self.stage, self.negatives = stage, negatives
        self.random_share, self.max_likeness = random_share, max_likeness
        self.transport_loss, self.transport_tokens = transport_loss, transport_tokens
        self.transport_temperature, self.transport_start = transport_temperature, transport_start
        self.transport_denials, self.local_view = transport_denials, local_view
        self.fuses = stage != "global"
        moves = self.fuses if transport_tokens == "fused" else stage != "local"
        self.weights = {
            "transport": transport if moves else 0.0,
            "view_transport": view_transport if self.fuses else 0.0,
            "matching": matching if self.fuses else 0.0,
        }
        if self.stage == "local" and matching:
            # Frozen encoders leave retrieval unchanged; this stage learns matching.
            self.monitor = "val/matching_auc"
        self.transport = TokenTransport(blur, scaling, reach)
        self.matching_head = MatchingHead(self.fusion.width)
        self.steps: float | None = None  # optimizer steps of the run, known when it starts
        self._place = 0  # of the training batch, which seeds its draws
        self._denials: tuple[list[int], list[int]] | None = None  # ids, known with the tokenizer

    # ---- embeddings ---------------------------------------------------------------------------

    @property
    def text_layer(self) -> nn.Module:
        """Return the projection of texts for the alignment."""
        return self.fusion.text_projection if self.projections is None else self.projections[0]

    @property
    def image_layer(self) -> nn.Module:
        """Return the projection of images for the alignment."""
        return self.fusion.image_projection if self.projections is None else self.projections[1]

    def embed_text(self, states: Tensor) -> Tensor:
        """Compute the unit vectors (B, D) of text states (B, L, text width)."""
        return global_embedding(self.text_layer, states)

    def embed_image(self, tokens: Tensor) -> Tensor:
        """Compute the unit vectors (I, D) of image tokens (I, 1 + P, image width)."""
        return global_embedding(self.image_layer, tokens)

    def temperatures(self) -> dict[str, Tensor]:
        """Return the current temperature of every aligned pair."""
        return {
            name: module.temperature.detach()
            for name, module in self.alignment.pairs.items()
            if isinstance(module, GlobalAlignment)
        }

    def image_text_temperature(self) -> float:
        """Return the temperature of images and texts; the initial one if they are not aligned."""
        return float(self.temperatures().get("image_text", self.hparams["temperature"]))

    # ---- active losses ------------------------------------------------------------------------

    @property
    def moves_fused(self) -> bool:
        """Whether fused tokens are transported."""
        return bool(self.weights["transport"]) and self.transport_tokens == "fused"

    @property
    def moves_unfused(self) -> bool:
        """Whether tokens before fusion are transported."""
        return bool(self.weights["transport"]) and self.transport_tokens != "fused"

    @property
    def fused_losses(self) -> bool:
        """Whether a loss uses the fusion layers."""
        return bool(self.moves_fused or self.weights["matching"] or self.weights["view_transport"])

    def progress(self) -> float:
        """Return the share of the run's optimizer steps that are done."""
        return 0.0 if self.steps is None else self.global_step / self.steps

    def configure_optimizers(self) -> Any:
        """Extend the base's method to store the number of steps."""
        made = super().configure_optimizers()
        self.steps = optimizer_steps(self.trainer)
        return made

    # ---- losses -------------------------------------------------------------------------------

    def local_losses(
        self, text: Tokens, states: Tensor, shown: Tensor, second: Tensor, whole: GlobalBatch
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Compute the active losses, unweighted, and statistics of the mining.

        ``text`` holds report tokens (B, L) and ``states`` their states (B, L, text width).
        ``shown`` and ``second`` are image tokens (B, 1 + P, image width): of the view for matching
        and transport, and of view 2.
        """
        losses: dict[str, Tensor] = {}
        health: dict[str, Tensor] = {}
        if self.moves_unfused and self.progress() >= self.transport_start:
            tokens = self.local_tokens(text, states, shown)
            losses["transport_loss"] = self._unfused_transport(tokens, whole)
        if not self.fused_losses:
            return losses, health
        encoded = self.fuse(states, text.mask, shown)
        if self.weights["view_transport"]:
            losses["view_transport_loss"] = self._view_transport(encoded, second)
        contrasts = self.moves_fused and self.transport_loss == "contrast"
        if self.weights["matching"] or contrasts:
            drawn = self.draw(self._log_weights(whole), whole.study)
            negatives = fuse_drawn(self.fusion, encoded, drawn)
        if self.moves_fused:
            tokens = fused_tokens(encoded)
            own = tokens.moved(self.transport)
            losses["transport_loss"] = own.mean()
            if contrasts:
                others = fused_tokens(negatives).halves()
                losses["transport_loss"] = self._contrast(tokens, own, *others, drawn)
        if self.weights["matching"]:
            losses["matching_loss"], health = score_pairs(
                self.matching_head, encoded, negatives, drawn
            )
        return losses, health

    def _shown(self, batch: StudyBatch, first: Tensor, second: Tensor) -> Tensor:
        """Return the tokens (B, 1 + P, image width) of the view for matching and transport."""
        if self.local_view == "first" or batch.second_frontal is None:
            return first
        return torch.where(batch.second_frontal[:, None, None], second, first)

    def local_tokens(self, text: Tokens, states: Tensor, image: Tensor) -> LocalTokens:
        """Select or compute words and patches for the transport from the encoders' outputs."""
        if self.transport_tokens == "fused":
            return fused_tokens(self.fuse(states, text.mask, image))
        context = states if self.transport_tokens == "contextual" else None
        layers = self.text_layer, self.image_layer
        return unfused_tokens(self, text, image, context, layers, self._read_tokens(text))

    def _read_tokens(self, text: Tokens) -> Tensor:
        """Mark the tokens (B, L) of unfused transport: all, or those of affirmed sentences."""
        if self.transport_denials or self.tokenizer is None:
            return torch.ones_like(text.mask)
        if self._denials is None:
            self._denials = denial_ids(Tokenizer.from_str(self.tokenizer))
        return affirmed(text.ids, *self._denials)

    def _unfused_transport(self, tokens: LocalTokens, whole: GlobalBatch) -> Tensor:
        own = tokens.moved(self.transport)
        if self.transport_loss == "matched":
            return own.mean()
        drawn = self.draw(even_log_weights(whole.same), whole.study)
        every = tokens.gathered()
        mine = torch.arange(len(own), device=own.device) + world()[0] * len(own)
        by_image, by_text = every.rows(drawn.texts, mine), every.rows(mine, drawn.images)
        return self._contrast(tokens, own, by_image, by_text, drawn)

    def _contrast(
        self,
        tokens: LocalTokens,
        own: Tensor,
        by_image: LocalTokens,
        by_text: LocalTokens,
        drawn: Drawn,
    ) -> Tensor:
        """Contrast own and drawn pairs, without pairs that have no words."""
        spoken = tokens.mask.any(1) & torch.stack([by_image.mask.any(1), by_text.mask.any(1)])
        counted = replace(drawn, valid=drawn.valid & spoken)
        return transport_contrast(
            own,
            by_image.moved(self.transport),
            by_text.moved(self.transport),
            counted.valid,
            counted.pairs(),
            self.transport_temperature,
        )

    def _view_transport(self, encoded: EncodedPair, second: Tensor) -> Tensor:
        """Average the transport between the patches of both views, each fused with the report."""
        patches = encoded.patches[:, 1:]
        other = self.fuse(encoded.text, encoded.mask, second).patches[:, 1:]
        every = patches.new_ones(patches.shape[:2], dtype=torch.bool)
        moved: Tensor = self.transport(patches, other, every, every)
        return moved.mean()

    # ---- negatives ----------------------------------------------------------------------------

    @property
    def mines(self) -> bool:
        """Whether negatives are hard at this step."""
        if self.negatives == "curriculum":
            return self.progress() >= self.random_share
        return self.negatives == "hard"

    def _log_weights(self, whole: GlobalBatch) -> tuple[Tensor, Tensor]:
        """Compute the log-weights of this step's draw from the alignment's logits and labels."""
        if not self.mines:
            return even_log_weights(whole.same)
        logits, labels = whole.aligned.logits, whole.aligned.labels
        if logits is None or labels is None:  # image and text are not aligned
            return self.hard_weights(whole.sides, whole.same, whole.teacher, whole.scale)
        return self._guarded(logits, labels, whole.same)

    @torch.no_grad()
    def hard_weights(
        self, sides: Sides, same: Tensor, teacher: Sides | None, scale: float
    ) -> tuple[Tensor, Tensor]:
        """Compute log-weights (G, G) of hard negatives, for images and for texts.

        Arguments are those of :class:`GlobalBatch`; soft labels need the teacher.
        """
        with torch.autocast(same.device.type, enabled=False):
            logits = sides.first.float() @ sides.text.float().T / self.image_text_temperature()
        return self._guarded(
            logits, self.alignment.labels("image_text", same, teacher, scale), same
        )

    def _guarded(
        self, logits: Tensor, labels: tuple[Tensor, Tensor], same: Tensor
    ) -> tuple[Tensor, Tensor]:
        soft = self.alignment.kind == "soft" and self.max_likeness < 1
        added = self.alignment.same_weight if soft else 0.0
        return hard_log_weights(logits, labels, same, self.max_likeness, added)

    def draw(self, weights: tuple[Tensor, Tensor], study: Tensor | None = None) -> Drawn:
        """Draw the negatives of this process's rows at this step; see :func:`draw_for_rank`."""
        return draw_for_rank(weights, seed=self.seed, step=self._place, study=study)
