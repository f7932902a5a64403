"""The pre-training stage: unified alignment of views and reports (paper, pre-training).

Every process computes the alignment losses over the global batch from gathered features, so that
two processes train exactly as one with the whole batch (:mod:`amif_lightning.losses.gather`).
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from torch import Tensor, nn

from amif_lightning.batch import StudyBatch
from amif_lightning.errors import UserError
from amif_lightning.losses.alignment import (
    GlobalAlignment,
    Labels,
    Sides,
    UnifiedAlignment,
    same_sample,
)
from amif_lightning.losses.gather import gather, world
from amif_lightning.signatures import Unpack
from amif_lightning.tasks.argument_checks import check_smoothing, check_temperature, check_weights
from amif_lightning.tasks.options import LocalAlignmentOptions
from amif_lightning.tasks.pretraining.local_alignment import GlobalBatch, LocalAlignmentTask


class AMiFPretrain(LocalAlignmentTask):
    """Learns from studies: one or two views and a report.

    Args:
        labels: ``soft`` labels from a teacher, or ``hard`` ones from identity.
        image_text: Weight of view 1 against the report (0: without).
        view_view: Weight of view 1 against view 2 (0: without).
        text_text: Weight of the report against itself (0: without).
        local_keeps_global: Whether the projections keep the alignment losses in stage ``local``, as
            released.
        same_weight: What equal samples add to the teacher's logits (lambda).
        label_smoothing: Smoothing of hard labels.
        temperature: Temperature of every alignment at the start, 0.01 to 1.
        **kwargs: Arguments of :class:`LocalAlignmentTask`.

    Raises:
        UserError: If a number is out of range, or nothing is left to learn.
    """

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
        self._freeze()

    def _freeze(self) -> None:
        """Exclude what the stage does not train: DDP waits for the gradient of everything else."""
        fuses = self.fused_losses
        aligned = set(self.alignment.pairs)
        # Which projection, encoder by encoder, an alignment loss reads.
        texts, images = aligned - {"view_view"}, aligned - {"text_text"}
        idle: list[nn.Module] = []
        if self.stage == "local" or not (texts or fuses):
            idle.append(self.text)
        if self.stage == "local" or not (images or fuses):
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
            # Patches alone are read, and they read the words of the layer before.
            idle.append(self.fusion.text_layers[-1])
        if not self.weights["matching"]:
            idle.append(self.matching_head)
        if self.projections is not None:
            sides = zip(self.projections, (texts, images), strict=True)
            idle += [projection for projection, pairs in sides if not pairs]
        for module in idle:
            module.requires_grad_(False)
        self.train()

    def train(self, mode: bool = True) -> AMiFPretrain:
        """Switch modes; frozen encoders stay in evaluation: no dropout, no moving means."""
        super().train(mode)
        if self.stage == "local":
            self.vision.eval()
            self.text.eval()
        return self

    def setup(self, stage: str) -> None:
        """Check that somebody says what is alike, and that frozen encoders were trained.

        Raises:
            UserError: If labels are soft and the data has no teacher.
        """
        super().setup(stage)
        data = self._data()
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
        """The weighted sum of the stage's losses over the global batch."""
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
        teacher, scale = _teacher(batch)
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
        """Tokens of both views; view 1 stands in for a view 2 that no loss reads."""
        chooses = self.local_view == "frontal" and any(self.weights.values())
        if not (self.alignment.weights["view_view"] or self.weights["view_transport"] or chooses):
            first = self.vision(batch.first)
            return first, first
        first, second = self.vision(torch.cat([batch.first, batch.second])).chunk(2)
        return first, second

    def _compares_passes(self) -> bool:
        """Whether the report is encoded twice: hard labels compare two dropout passes.

        Without dropout, as in a frozen encoder, both would be the same.
        """
        if self.alignment.kind == "soft" or not self.alignment.weights["text_text"]:
            return False
        dropouts = (part for part in self.text.modules() if isinstance(part, nn.Dropout))
        return any(part.training and part.p > 0 for part in dropouts)

    @property
    def same_weight(self) -> float:
        """What equal samples add to the teacher's logits (lambda)."""
        return self.alignment.same_weight

    def image_text_temperature(self) -> float:
        """The temperature of image and text; the one at the start where the pair is left out."""
        temperatures = self._temperatures()
        return float(temperatures.get("image_text", self.hparams["temperature"]))

    def _temperatures(self) -> dict[str, Tensor]:
        """The present temperature of every pair that is aligned."""
        pairs = self.alignment.pairs.items()
        return {
            name: module.temperature.detach()
            for name, module in pairs
            if isinstance(module, GlobalAlignment)
        }

    def _log_training(self, losses: dict[str, Tensor], total: Tensor, size: int) -> None:
        names = [*losses, "loss"]
        values = torch.stack([*losses.values(), total]).detach().float()
        if world()[1] > 1:
            # Alignment is the same in all processes and stays itself; the others are averaged.
            torch.distributed.all_reduce(values)
            values = values / world()[1]
        for name, value in zip(names, values, strict=True):
            self.log(f"train/{name}", value, prog_bar=name == "loss", batch_size=size)
        for pair, temperature in self._temperatures().items():
            self.log(f"train/{pair}_temperature", temperature, batch_size=size)

    def on_train_batch_end(self, outputs: Any, batch: object, batch_idx: int) -> None:
        """Keep the temperatures in their range."""
        super().on_train_batch_end(outputs, batch, batch_idx)
        self.alignment.clamp_()


def _teacher(batch: StudyBatch) -> tuple[Sides | None, float]:
    """The teacher's features of the global batch, and its logit scale."""
    if batch.teacher is None:
        return None, 0.0
    given = batch.teacher
    sides = Sides(gather(given.first), gather(given.second), gather(given.text))
    return sides, given.scale
