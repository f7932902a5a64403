"""Local alignment of pre-training: transport of words onto patches, and matching with negatives.

Letters used in shapes: B studies of this process, G of all, L tokens, P patches, D width.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from tokenizers import Tokenizer
from torch import Tensor

from amif_lightning.batch import StudyBatch, Tokens
from amif_lightning.evaluation import PairScores
from amif_lightning.losses.alignment import Aligned, Sides, UnifiedAlignment
from amif_lightning.losses.gather import world
from amif_lightning.losses.transport import TokenTransport, transport_contrast
from amif_lightning.metrics.gathered import SplitFeatures
from amif_lightning.models.fusion import EncodedPair, MatchingHead
from amif_lightning.models.words import affirmed, denial_ids
from amif_lightning.signatures import Unpack
from amif_lightning.tasks.argument_checks import (
    check_contrast,
    check_mining,
    check_transport,
    check_weights,
)
from amif_lightning.tasks.local_tokens import LocalTokens, fused_tokens, unfused_tokens
from amif_lightning.tasks.options import (
    Negatives,
    RetrievalOptions,
    Stage,
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
from amif_lightning.tasks.pretraining.pair_scores import PairEvaluation, logged_pairs
from amif_lightning.tasks.pretraining.retrieval import SearchedTask

#: Mean cosine of words and patches of different studies from which on all tokens are alike.
COLLAPSED = 0.9


@dataclass(frozen=True)
class GlobalBatch:
    """What the global alignment made of the global batch."""

    sides: Sides  # (G, D) the student's vectors
    aligned: Aligned  # losses, logits and labels
    study: Tensor  # (G,) long identities of the studies
    same: Tensor  # (G, G) bool, pairs that say the same
    teacher: Sides | None  # (G, T) the teacher's vectors
    scale: float  # the teacher's logit scale, a natural logarithm


class LocalAlignmentTask(SearchedTask):
    """Base of a task on studies with transport and matching; a subclass aligns globally.

    Args:
        stage: ``global``: encoders and projections under the alignment losses and the transport
            of unfused tokens; ``local``: encoders frozen, fusion layers under matching and the
            transport of fused tokens; ``joint``: everything at once. The order is ``global``, then
            ``local`` from its checkpoint: fusion layers learn to match only once both encoders
            share one space.
        transport: Weight of the transport between words and patches (0: without); 3.0 is released.
        transport_loss: ``contrast``: own pairs against drawn ones; ``matched``: own pairs alone, as
            released, whose minimum is a collapse of all tokens into one point.
        transport_tokens: ``words``: word embeddings before any context and patches without
            positions; ``contextual``: states of the text encoder and the same patches; ``fused``:
            both after the fusion layers, as released. Unfused tokens are trained in the stages
            ``global`` and ``joint``, fused ones in ``local`` and ``joint``.
        transport_temperature: t of the contrast, above 0, in units of the transport cost.
        transport_denials: Whether unfused transport reads the sentences that deny something too
            ("No mass."): their words name what the image does not show.
        transport_start: Share of the steps in [0, 1) before unfused tokens are transported.
        view_transport: Weight of the matched transport between the fused patches of both views (0:
            without).
        matching: Weight of image-text matching (0: without).
        negatives: ``random``: any other study; ``hard``: alike by the student and unlike by the
            labels, as released; ``curriculum``: random first, then hard. Unfused transport draws
            evenly, whatever is said here.
        random_share: Share of the steps in [0, 1] that a ``curriculum`` draws evenly.
        max_likeness: Hard negatives are never drawn whose label is at least this share of the row's
            greatest, in (0, 1]; 1: as released, with ``same_weight`` left in the labels.
        local_view: ``frontal``: matching and transport read the frontal view where one is shown;
            ``first``: view 1, which is either.
        blur: Length scale of the transport's entropy (see :class:`TokenTransport`).
        scaling: Ratio of successive scales of its annealing.
        reach: Length scale of unbalanced transport; null: balanced.
        **kwargs: Arguments of :class:`SearchedTask`.

    Raises:
        UserError: If a number is out of range.
    """

    alignment: UnifiedAlignment  # the subclass's

    def __init__(
        self,
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
        **kwargs: Unpack[RetrievalOptions],
    ) -> None:
        super().__init__(**kwargs)
        check_weights(transport=transport, view_transport=view_transport, matching=matching)
        check_transport(blur, scaling, reach)
        check_contrast(transport_temperature, transport_start)
        check_mining(random_share, max_likeness)
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
            # Frozen encoders leave the search as it was; what this stage learns is matching.
            self.monitor = "val/matching_auc"
        self.transport = TokenTransport(blur, scaling, reach)
        self.matching_head = MatchingHead(self.fusion.width)
        self.pairs: PairEvaluation | None = None  # made with the data
        self.steps: float | None = None  # optimizer steps of the run, known when it starts
        self._place = 0  # of the training batch, which seeds its draws
        self._denials: tuple[list[int], list[int]] | None = None  # ids, known with the tokenizer

    def setup(self, stage: str) -> None:
        """Prepare the scores of single pairs."""
        super().setup(stage)
        data = self._data()
        if data is not None:
            self.pairs = PairEvaluation(data, bool(self.weights["matching"]))

    # ---- which losses are on ------------------------------------------------------------------

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
        """Whether a loss reads the fusion layers."""
        return bool(self.moves_fused or self.weights["matching"] or self.weights["view_transport"])

    def progress(self) -> float:
        """Share of the run's optimizer steps that are done; 0 before it starts."""
        return 0.0 if self.steps is None else self.global_step / self.steps

    def configure_optimizers(self) -> Any:
        """As in the base; from here on the share of steps is known."""
        made = super().configure_optimizers()
        self.steps = self._optimizer_steps()
        return made

    # ---- losses -------------------------------------------------------------------------------

    def local_losses(
        self, text: Tokens, states: Tensor, shown: Tensor, second: Tensor, whole: GlobalBatch
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The unweighted losses that have a weight, and what tells how the mining does.

        Args:
            text: (B, L) tokens of the reports.
            states: (B, L, text width) their states.
            shown: (B, 1 + P, image width) tokens of the view that is read.
            second: (B, 1 + P, image width) tokens of view 2.
            whole: The global batch.
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
        """Tokens (B, 1 + P, image width) of the view that matching and transport read."""
        if self.local_view == "first" or batch.second_frontal is None:
            return first
        return torch.where(batch.second_frontal[:, None, None], second, first)

    def local_tokens(self, text: Tokens, states: Tensor, image: Tensor) -> LocalTokens:
        """The words and patches that this run's transport compares, from the encoders' outputs."""
        if self.transport_tokens == "fused":
            return fused_tokens(self.fuse(states, text.mask, image))
        context = states if self.transport_tokens == "contextual" else None
        layers = self.text_layer, self.image_layer
        return unfused_tokens(self, text, image, context, layers, self._read_tokens(text))

    def _read_tokens(self, text: Tokens) -> Tensor:
        """Tokens (B, L) that unfused transport reads: all, or those of affirmed sentences."""
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
        """The contrast of own and drawn pairs; one that has no words counts nothing."""
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
        """Mean transport between the patches of both views, each fused with the report."""
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
        """Weights of the draw at this step, from what the alignment has computed."""
        if not self.mines:
            return even_log_weights(whole.same)
        logits, labels = whole.aligned.logits, whole.aligned.labels
        if logits is None or labels is None:  # image and text are not aligned in this run
            return self.hard_weights(whole.sides, whole.same, whole.teacher, whole.scale)
        return self._guarded(logits, labels, whole.same)

    @torch.no_grad()
    def hard_weights(
        self, sides: Sides, same: Tensor, teacher: Sides | None, scale: float
    ) -> tuple[Tensor, Tensor]:
        """Logarithms (G, G) of the weights of hard negatives, for images and for texts.

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
        added = self.same_weight if soft else 0.0
        return hard_log_weights(logits, labels, same, self.max_likeness, added)

    def draw(self, weights: tuple[Tensor, Tensor], study: Tensor | None = None) -> Drawn:
        """Draw the negatives of this process's rows at this step; see :func:`draw_for_rank`."""
        return draw_for_rank(weights, seed=self.seed, step=self._place, study=study)

    # ---- validation and test ------------------------------------------------------------------

    def look(self, batch: StudyBatch, split: str) -> tuple[Tensor, Tensor]:
        """Keep the features, and score the batch's pairs."""
        states, tokens = super().look(batch, split)
        if self.pairs is not None:
            self.pairs.update(self, batch, states, tokens, split)
        return states, tokens

    def pair_scores(self, features: SplitFeatures, split: str, prefix: str) -> PairScores | None:
        """Score what needs the whole split, log the means, and warn of a collapse."""
        if self.pairs is None:
            return None
        scores = self.pairs.compute(self, features, split)
        means = logged_pairs(scores, prefix)
        self.log_dict(means, rank_zero_only=False)
        if means.get(f"{prefix}/transport_cosine", 0.0) > COLLAPSED:
            rank_zero_warn(
                f"Words and patches of different studies have a mean cosine above {COLLAPSED}: "
                "the tokens have collapsed, and plans of words onto patches say nothing. Train "
                "with --model.init_args.transport_loss contrast, or a smaller transport weight."
            )
        return scores
