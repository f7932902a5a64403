"""The pre-training stage: unified alignment of views and reports (paper, pre-training).

Every process computes the alignment losses of the gathered global batch, so two processes train
exactly like one (:mod:`amif_lightning.losses.gather`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from torch import Tensor, nn

from amif_lightning.batch import StudyBatch
from amif_lightning.errors import UserError
from amif_lightning.evaluation import StudyScores
from amif_lightning.losses.alignment import Labels, Sides, UnifiedAlignment, same_sample
from amif_lightning.losses.gather import gather, world
from amif_lightning.metrics.gathered import StudyFeatures
from amif_lightning.signatures import Unpack
from amif_lightning.tasks.argument_checks import check_smoothing, check_temperature, check_weights
from amif_lightning.tasks.checkpoints import PRETRAINING
from amif_lightning.tasks.options import LocalAlignmentOptions
from amif_lightning.tasks.pretraining.local_alignment import GlobalBatch, LocalAlignmentTask
from amif_lightning.tasks.pretraining.pair_scores import PairEvaluation, logged_pairs
from amif_lightning.tasks.pretraining.retrieval import logged, study_scores

#: Mean cosine of words and patches of different studies above which the tokens have collapsed.
COLLAPSED = 0.9


class AMiFPretrain(LocalAlignmentTask):
    """Pre-trains on studies of one or two views and a report.

    Validation and test gather the embeddings of the whole split from all processes. They log
    retrieval in both directions, zero-shot classification by prompts if the data has classes, and
    the divergence from the teacher if it has one.

    Args:
        labels: ``soft`` labels from a teacher, or ``hard`` ones from identity.
        image_text: Weight of view 1 against the report (0: without).
        view_view: Weight of view 1 against view 2 (0: without).
        text_text: Weight of the report against itself (0: without).
        local_keeps_global: Whether stage ``local`` trains the projections by the alignment losses
            too, as released.
        same_weight: Addition to the teacher's logits for equal samples (lambda).
        label_smoothing: Smoothing of hard labels.
        temperature: Initial temperature of every alignment, 0.01 to 1.
        **kwargs: Arguments of :class:`LocalAlignmentTask`.

    Raises:
        UserError: If no loss has a weight, or a number is out of range.
    """

    kind = PRETRAINING
    monitor = "val/precision@5"
    mode: Literal["min", "max"] = "max"

    def __init__(
        self,
        labels: Labels = "soft",
        image_text: float = 1.0,
        view_view: float = 1.0,
        text_text: float = 1.0,
        local_keeps_global: bool = True,
        same_weight: float = 0.01,
        label_smoothing: float = 0.1,
        temperature: float = 0.07,
        **kwargs: Unpack[LocalAlignmentOptions],
    ) -> None:
        super().__init__(**kwargs)
        self.save_hyperparameters()
        self.hparams["vision_quick_gelu"] = self.quick_gelu
        check_weights(
            image_text=image_text, view_view=view_view, text_text=text_text, same_weight=same_weight
        )
        check_smoothing(label_smoothing=label_smoothing)
        check_temperature(temperature)
        stage = self.stage
        aligns = stage != "local" or local_keeps_global
        global_weights = (image_text, view_view, text_text) if aligns else (0.0, 0.0, 0.0)
        if not any(global_weights) and not any(self.weights.values()):
            raise UserError(
                f"In stage {stage} all losses have weight 0, so there is nothing to learn: give "
                "one of image_text, view_view, text_text, transport and matching a weight."
            )
        texts, images = image_text or text_text, image_text or view_view
        if self.moves_unfused and not (self.fused_losses or (texts and images)):
            raise UserError(
                f"The transport of {self.transport_tokens} tokens alone does not train the whole "
                "of both encoders: give image_text a weight, or transport 0."
            )
        self.alignment = UnifiedAlignment(
            labels,
            *global_weights,
            same_weight=same_weight,
            smoothing=label_smoothing,
            temperature=temperature,
        )
        self.study_scores: StudyScores | None = None  # of the last evaluated split
        self.pairs: PairEvaluation | None = None  # set up with the data
        self._freeze()

    def _freeze(self) -> None:
        """Freeze untrained parameters, because DDP waits for the gradients of all others."""
        fuses = self.fused_losses
        aligned = set(self.alignment.pairs)
        # The alignment losses that use each encoder's projection.
        texts, images = aligned - {"view_view"}, aligned - {"text_text"}
        idle: list[nn.Module] = []
        if self.stage == "local":
            self.freeze_part(self.text)
            self.freeze_part(self.vision)
        if not (texts or fuses):
            idle.append(self.text)
        if not (images or fuses):
            idle.append(self.vision)
        shared = self.projections is None
        if not fuses:
            read = {
                "text_projection": shared and bool(texts),
                "image_projection": shared and bool(images),
            }
            idle += [
                part for name, part in self.fusion.named_children() if not read.get(name, False)
            ]
        elif not (self.moves_fused or self.weights["matching"]):
            # Only patches are used, and they attend to the words of the previous layer.
            idle.append(self.fusion.text_layers[-1])
        if not self.weights["matching"]:
            idle.append(self.matching_head)
        if self.projections is not None:
            sides = zip(self.projections, (texts, images), strict=True)
            idle += [projection for projection, pairs in sides if not pairs]
        for module in idle:
            module.requires_grad_(False)
        self.train()

    def setup(self, stage: str) -> None:
        """Prepare the scores of a split, and warn if untrained encoders are frozen.

        Raises:
            UserError: If the data module gives no studies, or no teacher for soft labels.
        """
        data = self._data()
        if data is not None and not hasattr(data, "teacher_table"):
            raise UserError(
                f"{type(self).__name__} learns from studies and {type(data).__name__} gives "
                "questions: give --data a class of studies, such as PhantomStudies."
            )
        super().setup(stage)
        self.features = StudyFeatures(teacher=data is not None and data.teacher_table is not None)
        if data is not None:
            self.pairs = PairEvaluation(data, bool(self.weights["matching"]))
        if stage == "fit" and data is not None:
            mines = self.weights["matching"] and self.negatives != "random"
            reads = len(self.alignment.pairs) or mines
            if self.alignment.kind == "soft" and reads and data.teacher_table is None:
                raise UserError(
                    f"Labels are soft and the teacher of {data.dataset} is none: give "
                    "--data.init_args.teacher, or --model.init_args.labels hard."
                )
            if self.stage == "local" and self.untrained and self.init_from is None:
                rank_zero_warn(
                    "Stage local freezes the encoders, and neither init_from nor --ckpt_path names "
                    "a run that aligned them."
                )

    # ---- training -----------------------------------------------------------------------------

    def training_step(self, batch: StudyBatch, batch_idx: int) -> Tensor:
        """Return the weighted sum of the active losses over the global batch."""
        self._place = (self.current_epoch << 32) + batch_idx
        with torch.set_grad_enabled(self.stage != "local"):
            first, second = self._views(batch)
            states = self.text(batch.text.ids, batch.text.mask)
            again = self.text(batch.text.ids, batch.text.mask) if self._compares_passes() else None
        sides = Sides(
            gather(self.embed_image(first)),
            gather(self.embed_image(second)),
            gather(self.embed_text(states)),
            None if again is None else gather(self.embed_text(again)),
        )
        study = gather(batch.study)
        same = same_sample(study, gather(batch.text_id))
        teacher, scale = None, 0.0
        if (given := batch.teacher) is not None:
            teacher = Sides(gather(given.first), gather(given.second), gather(given.text))
            scale = given.scale
        aligned = self.alignment(sides, same, teacher, scale)
        losses: dict[str, Tensor] = {f"{pair}_loss": loss for pair, loss in aligned.losses.items()}
        local, health = self.local_losses(
            batch.text,
            states,
            self._shown(batch, first, second),
            second,
            GlobalBatch(sides, aligned, study, same, teacher, scale),
        )
        losses |= local
        weights = {f"{pair}_loss": weight for pair, weight in self.alignment.weights.items()}
        weights |= {f"{name}_loss": weight for name, weight in self.weights.items()}
        total = torch.stack([weights[name] * loss for name, loss in losses.items()]).sum()
        self._log_training(losses | health, total, len(batch))
        return total

    def _views(self, batch: StudyBatch) -> tuple[Tensor, Tensor]:
        """Return the tokens of both views; view 1 twice if no loss uses view 2."""
        chooses = self.local_view == "frontal" and any(self.weights.values())
        if not (self.alignment.weights["view_view"] or self.weights["view_transport"] or chooses):
            first = self.vision(batch.first)
            return first, first
        first, second = self.vision(torch.cat([batch.first, batch.second])).chunk(2)
        return first, second

    def _compares_passes(self) -> bool:
        """Return whether hard labels compare two passes of the report with different dropout."""
        if self.alignment.kind == "soft" or not self.alignment.weights["text_text"]:
            return False
        dropouts = (part for part in self.text.modules() if isinstance(part, nn.Dropout))
        return any(part.training and part.p > 0 for part in dropouts)

    def _log_training(self, losses: dict[str, Tensor], total: Tensor, size: int) -> None:
        names = [*losses, "loss"]
        values = torch.stack([*losses.values(), total]).detach().float()
        if world()[1] > 1:
            # Alignment losses are equal in all processes; the average changes only the others.
            torch.distributed.all_reduce(values)
            values = values / world()[1]
        for name, value in zip(names, values, strict=True):
            self.log(f"train/{name}", value, prog_bar=name == "loss", batch_size=size)
        for pair, temperature in self.temperatures().items():
            self.log(f"train/{pair}_temperature", temperature, batch_size=size)

    def on_train_batch_end(self, outputs: Any, batch: object, batch_idx: int) -> None:
        """Clamp the temperatures."""
        super().on_train_batch_end(outputs, batch, batch_idx)
        self.alignment.clamp_()

    # ---- validation and test ------------------------------------------------------------------

    def validation_step(self, batch: StudyBatch, batch_idx: int) -> None:
        """Keep embeddings and pair scores; retrieval needs the whole split."""
        self._keep(batch, "validation")

    def test_step(self, batch: StudyBatch, batch_idx: int) -> None:
        """Keep embeddings and pair scores; retrieval needs the whole split."""
        self._keep(batch, "test")

    def _keep(self, batch: StudyBatch, split: str) -> None:
        states, tokens = self.text(batch.text.ids, batch.text.mask), self.vision(batch.first)
        self.features.update(
            position=batch.position,
            image=self.embed_image(tokens),
            text=self.embed_text(states),
            relevance=batch.relevance,
            study=batch.study,
            text_id=batch.text_id,
            teacher_image=None if batch.teacher is None else batch.teacher.first,
            teacher_text=None if batch.teacher is None else batch.teacher.text,
        )
        if self.pairs is not None:
            self.pairs.update(self, batch, states, tokens, split)

    def on_validation_epoch_end(self) -> None:
        """Log retrieval, classification, agreement with the teacher and pair scores."""
        self._score("val", "validation")

    def on_test_epoch_end(self) -> None:
        """Log the same for the test split; ``study_scores`` holds the scores by study."""
        self._score("test", "test")

    def _score(self, prefix: str, split: str) -> None:
        features = self.features.compute()
        self.features.reset()
        scores = study_scores(self, features, self._data(), split)
        if self.pairs is not None:
            scores = replace(scores, pairs=self.pairs.compute(self, features, split))
        self.study_scores = scores
        means = logged(scores) | ({} if scores.pairs is None else logged_pairs(scores.pairs))
        # Computed from gathered features, so equal in all processes.
        for name, value in means.items():
            tag = f"{prefix}/{name}"
            self.log(tag, value, prog_bar=tag == self.monitor, rank_zero_only=False)
        if means.get("transport_cosine", 0.0) > COLLAPSED:
            rank_zero_warn(
                f"Words and patches of different studies have a mean cosine above {COLLAPSED}: "
                "the tokens have collapsed, and transport plans are meaningless. Train with "
                "--model.init_args.transport_loss contrast, or a smaller transport weight."
            )
