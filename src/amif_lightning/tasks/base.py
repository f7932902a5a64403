"""What both stages share: encoders, fusion, optimiser, and the strings that token ids stand for."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

import lightning as L
import torch
from torch import nn

from amif_lightning.batch import AnswerSpace
from amif_lightning.errors import UserError
from amif_lightning.models.fusion import CoAttention
from amif_lightning.models.text import TextEncoder
from amif_lightning.models.vision import build_vision
from amif_lightning.tasks.optimization import cosine_with_warmup, parameter_groups


class AMiFTask(L.LightningModule):
    """Base of the pre-training and the answering stage.

    Args:
        vision: Image tower: an open_clip model name, ``hf-hub:NAME``, ``local-dir:FOLDER``, or
            ``conv`` for the small net that needs no download.
        vision_pretrained: open_clip weights tag or file; null for random weights.
        text: Text encoder: hub name or folder of a BERT, or ``small`` (needs no download).
        text_pretrained: Whether to load that encoder's weights.
        text_layers: Layers of the ``small`` text encoder.
        image_size: Side of the input in pixels; must equal the data module's.
        width: Width of the fusion layers (768 in the paper's size).
        heads: Attention heads of all transformer layers built here.
        fusion_layers: Co-attention layers of each stream.
        dropout: Dropout probability.
        attention: Attention implementation in transformers.
        init_from: Checkpoint of an earlier run whose weights this one starts from.
        lr: Highest learning rate.
        least_lr: Learning rate at the end of the cosine.
        warmup: Share of all steps in which the rate rises.
        weight_decay: AdamW's weight decay, on matrices only.
        betas: AdamW's moment coefficients.
        seed: Seeds the draws of every training step, so that a resumed run repeats them.
    """

    monitor: str
    mode: Literal["min", "max"]

    def __init__(
        self,
        vision: str = "ViT-B-16",
        vision_pretrained: str | None = "openai",
        text: str = "emilyalsentzer/Bio_ClinicalBERT",
        text_pretrained: bool = True,
        text_layers: int = 2,
        image_size: int = 288,
        width: int = 768,
        heads: int = 12,
        fusion_layers: int = 6,
        dropout: float = 0.1,
        attention: Literal["sdpa", "eager"] = "sdpa",
        init_from: str | None = None,
        lr: float = 1.5e-5,
        least_lr: float = 1e-8,
        warmup: float = 0.1,
        weight_decay: float = 0.05,
        betas: tuple[float, float] = (0.9, 0.98),
        seed: int = 0,
    ) -> None:
        super().__init__()
        if width % heads:
            raise UserError(
                f"model.init_args.width is {width} and heads is {heads}: the width must be a "
                "multiple of the heads."
            )
        self.image_size, self.init_from = image_size, init_from
        self.heads, self.dropout, self.attention = heads, dropout, attention
        self.lr, self.least_lr, self.warmup = lr, least_lr, warmup
        self.weight_decay, self.betas, self.seed = weight_decay, betas, seed
        self.untrained = False  # set by the command line when nothing was loaded
        self.vision = build_vision(vision, vision_pretrained, image_size)
        self.text = TextEncoder(
            text,
            pretrained=text_pretrained,
            width=width,
            layers=text_layers,
            heads=heads,
            dropout=dropout,
            attention=attention,
        )
        self.fusion = CoAttention(
            self.text.width, self.vision.width, width, fusion_layers, heads, dropout
        )
        self.space: AnswerSpace | None = None
        self._initialised = False

    # ---- life cycle ---------------------------------------------------------------------------

    def setup(self, stage: str) -> None:
        """Check that data and model fit, start from weights, and take over the answer space."""
        data = self.trainer.datamodule  # type: ignore[attr-defined]  # set by the Trainer
        if data is None:
            return
        if data.image_size != self.image_size:
            raise UserError(
                f"The data module gives images of {data.image_size} pixels and the model expects "
                f"{self.image_size}: set --data.init_args.image_size and "
                "--model.init_args.image_size to the same number."
            )
        resumed = self.trainer.ckpt_path is not None  # its weights replace these anyway
        if self.init_from is not None and not self._initialised and not resumed:
            self._start_from(Path(self.init_from))
        if self.space is None or stage == "fit":
            self._use_space(data.answer_space())
        self._initialised = True

    def _start_from(self, path: Path) -> None:
        checkpoint = load_checkpoint(path)
        state = checkpoint.get("answer_space")
        if state is not None:
            data: Any = self.trainer.datamodule  # type: ignore[attr-defined]  # set by the Trainer
            data.adopt_tokenizer(state["tokenizer"])
        own = self.state_dict()
        given = checkpoint["state_dict"]
        wrong = [k for k in given if k in own and own[k].shape != given[k].shape]
        if wrong:
            raise UserError(
                f"{path} holds {wrong[0]} of shape {tuple(given[wrong[0]].shape)}, this model has "
                f"{tuple(own[wrong[0]].shape)}: start from a checkpoint of the same size."
            )
        missing, unused = self.load_state_dict(given, strict=False)
        self.print(
            f"Started from {path}: {len(own) - len(missing)} tensors loaded, {len(missing)} "
            f"missing ({_groups(missing)}), {len(unused)} unused ({_groups(unused)})."
        )

    def _use_space(self, space: AnswerSpace) -> None:
        if space.table_size > self.text.table_size:
            raise UserError(
                f"The tokenizer has {space.table_size} slots and the text encoder "
                f"{self.text.table_size}: give data.init_args.tokenizer and model.init_args.text "
                "of the same model (`words` goes with `small`)."
            )
        self.space = space

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store what the ids mean and which answers may be given, as plain types."""
        if self.space is not None:
            checkpoint["answer_space"] = self.space.state()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take over the checkpoint's tokenizer, vocabulary and, unless data is at hand, candidates.

        Raises:
            UserError: If it was trained under another protocol than the data's.
        """
        state = checkpoint.get("answer_space")
        if state is None:
            return
        stored = AnswerSpace.from_state(state)
        trainer = self._trainer
        data = getattr(trainer, "datamodule", None) if trainer is not None else None
        if data is None:
            self._use_space(stored)
            return
        if stored.protocol != data.protocol:
            raise UserError(
                f"The checkpoint was trained under the protocol {stored.protocol!r} and the data "
                f"module uses {data.protocol!r}: give --data.init_args.protocol {stored.protocol}."
            )
        data.adopt_tokenizer(stored.tokenizer)
        present = data.answer_space()
        self._use_space(
            AnswerSpace.from_state(
                present.state()
                | {"vocabulary": stored.vocabulary, "vocabulary_ids": stored.vocabulary_ids}
            )
        )

    # ---- optimisation -------------------------------------------------------------------------

    def on_train_batch_start(self, batch: object, batch_idx: int) -> None:
        """Reseed from the step, so that a resumed run draws the same dropout masks."""
        position = (self.current_epoch, batch_idx, self.global_rank)
        torch.manual_seed(hash((self.seed, *position)) & (2**63 - 1))

    def configure_optimizers(self) -> Any:
        """AdamW, and a cosine with warm-up stepped once per optimizer step.

        Raises:
            UserError: If the trainer has no end, for then the cosine has none either.
        """
        optimizer = torch.optim.AdamW(
            parameter_groups(self.named_parameters(), self.weight_decay),
            lr=self.lr,
            betas=self.betas,
        )
        steps = self._optimizer_steps()
        if math.isinf(steps):
            raise UserError(
                "The learning rate falls until the last step and this run has none: set "
                "--trainer.max_epochs or --trainer.max_steps."
            )
        scheduler = cosine_with_warmup(optimizer, int(steps), self.warmup, self.least_lr)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }

    def _optimizer_steps(self) -> float:
        """Optimizer steps of the whole run, infinite where it has no end."""
        trainer = self.trainer
        if trainer.ckpt_path is None or trainer.max_epochs in (None, -1):
            return trainer.estimated_stepping_batches
        # That property starts the training loader. Here it would start before the checkpoint's
        # progress is restored, and the resumed epoch would begin anew; so the same number is
        # counted on a loader that nobody iterates.
        loader = trainer.datamodule.train_dataloader()  # type: ignore[attr-defined]  # Trainer
        limit = trainer.limit_train_batches
        batches = len(loader)
        if isinstance(limit, int):
            batches = min(batches, limit)
        elif limit is not None:
            batches = int(batches * limit)
        epochs = max(int(trainer.max_epochs or 0), 1)
        steps = math.ceil(batches / trainer.accumulate_grad_batches) * epochs
        return steps if trainer.max_steps == -1 else min(steps, trainer.max_steps)

    def parts(self) -> dict[str, nn.Module]:
        """The model's parts by name, for tables of parameters."""
        return dict(self.named_children())


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint without running code from it.

    Raises:
        UserError: If it does not exist, is truncated, or holds anything but plain types.
    """
    if not path.is_file():
        raise UserError(f"The checkpoint {path} does not exist: check the path.")
    try:
        # Mapped, since most callers want the plain types only: tensors are read when touched.
        loaded: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # torch raises whatever its unpickler and zip reader raise
        raise UserError(
            f"The checkpoint {path} cannot be read ({type(error).__name__}): it is damaged or not "
            "a checkpoint of this suite; train again or copy it again."
        ) from error
    if "state_dict" not in loaded:
        raise UserError(f"{path} holds no state_dict: give a checkpoint that `fit` wrote.")
    return loaded


def _groups(keys: list[str]) -> str:
    """The first name parts of state keys, or `none`."""
    return ", ".join(sorted({key.split(".")[0] for key in keys})) or "none"
