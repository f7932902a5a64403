"""What both stages share: encoders, fusion, optimiser, and the strings that token ids stand for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Self

import lightning as L
import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from torch import Tensor

from amif_lightning.answer_space import AnswerSpace
from amif_lightning.batch import Tokens
from amif_lightning.errors import UserError
from amif_lightning.models.fusion import CoAttention, EncodedPair
from amif_lightning.models.text import TextEncoder
from amif_lightning.models.vision import CHANNELS, CLIPTower, build_vision
from amif_lightning.signatures import describe
from amif_lightning.tasks.checkpoints import (
    Origin,
    check_activation,
    check_selection,
    load_checkpoint,
    origin_of,
    readable_by_lightning,
    seen_elsewhere,
    tokenizer_of,
    trained_seconds,
)
from amif_lightning.tasks.optimization import cosine_with_warmup, parameter_groups

NO_TOKENIZER = (
    "{} holds no tokenizer, so nobody can say what its token ids mean: give a checkpoint that "
    "`fit` wrote as {}."
)


class AMiFTask(L.LightningModule):
    """Base of the pre-training and the answering stage.

    Args:
        vision: Image tower: an open_clip model name, ``hf-hub:NAME``, ``local-dir:FOLDER``, or
            ``conv`` for the small net that needs no download.
        vision_pretrained: open_clip weights tag or file; null for random weights.
        vision_quick_gelu: Whether the image tower's activation is OpenAI's approximation of GELU;
            null: as the weights tag says, else as the model's configuration does. What it came to
            is stored in the checkpoint.
        vision_channels: Channels of the stages of ``conv``, at least one. Each stage but the first
            halves the grid after a stem of stride 4: four stages give patches of 32 pixels, three
            of 16.
        vision_summary_channels: Channels of a branch of ``conv`` for the summary token alone; the
            last stage of the patches is then pointwise. Empty: the summary token is their mean.
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
        min_lr: Learning rate at the end of the cosine.
        warmup: Share of all steps in which the rate rises.
        weight_decay: AdamW's weight decay, on matrices only.
        betas: AdamW's moment coefficients.
        seed: Seeds the draws of every training step, so that a resumed run repeats them.
    """

    monitor: str
    mode: Literal["min", "max"]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Let ``help`` and editors show every argument of a subclass."""
        super().__init_subclass__(**kwargs)
        describe(cls)

    def __init__(
        self,
        vision: str = "ViT-B-16",
        vision_pretrained: str | None = "openai",
        vision_quick_gelu: bool | None = None,
        vision_channels: Sequence[int] = CHANNELS,
        vision_summary_channels: Sequence[int] = (),
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
        min_lr: float = 1e-8,
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
        self.lr, self.min_lr, self.warmup = lr, min_lr, warmup
        self.weight_decay, self.betas, self.seed = weight_decay, betas, seed
        self.untrained = True  # until weights are loaded or a training step is made
        self.vision = build_vision(
            vision,
            vision_pretrained,
            image_size,
            vision_quick_gelu,
            vision_channels,
            vision_summary_channels,
        )
        self.quick_gelu = self.vision.quick_gelu if isinstance(self.vision, CLIPTower) else None
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
        self.tokenizer: str | None = None  # JSON text: the strings that this task's ids stand for
        self.origin: Origin | None = None  # what the weights owe to the run they started from
        self._initialised = False  # whether `init_from` has been read, or replaced by a checkpoint
        self._restored = False  # whether a checkpoint was restored: its ids have meanings

    # ---- life cycle ---------------------------------------------------------------------------

    @classmethod
    def load_from_checkpoint(
        cls,
        checkpoint_path: Any,
        map_location: Any = None,
        hparams_file: Any = None,
        strict: bool | None = None,
        weights_only: bool | None = True,
        **kwargs: Any,
    ) -> Self:
        """Lightning's own, but nothing is fetched and no code is run from the file unless asked.

        All weights are in the checkpoint, so encoders are built without their pretrained ones; of a
        hub's encoder the configuration is still needed. ``weights_only=False`` unpickles whatever
        the file holds. See Lightning for the other arguments.
        """
        given = {"vision_pretrained": None, "text_pretrained": False} | kwargs
        checkpoint = readable_by_lightning(checkpoint_path) if weights_only else checkpoint_path
        return super().load_from_checkpoint(
            checkpoint, map_location, hparams_file, strict, weights_only, **given
        )

    def setup(self, stage: str) -> None:
        """Check that data and model fit, start from weights, and agree on tokens and answers.

        Raises:
            UserError: If they do not fit, or the weights were trained on other terms.
        """
        data = self._data()
        if data is None:
            return
        if data.image_size != self.image_size:
            raise UserError(
                f"The data module gives images of {data.image_size} pixels and the model expects "
                f"{self.image_size}: set --data.init_args.image_size and "
                "--model.init_args.image_size to the same number."
            )
        if self.init_from is not None and not self._initialised:
            self._start_from(Path(self.init_from), data)
        self._initialised = True
        if self.tokenizer is None and not self._restored:
            self._use_space(data.answer_space())
        else:
            self._agree(data, self.tokenizer, self.space)

    def _data(self) -> Any:
        """The trainer's data module; None where there is no trainer, or it has only loaders."""
        try:
            trainer: Any = self.trainer
        except RuntimeError:  # Lightning's word for a module without a trainer
            return None
        return trainer.datamodule

    def _start_from(self, path: Path, data: Any) -> None:
        checkpoint = load_checkpoint(path)
        tokenizer = tokenizer_of(checkpoint)
        if tokenizer is None:
            raise UserError(NO_TOKENIZER.format(path, "--model.init_args.init_from"))
        check_activation(checkpoint, self.quick_gelu)
        data.adopt_tokenizer(tokenizer)
        before = origin_of(checkpoint)
        doubts = [] if before is None else list(before.warnings)
        if "answer_space" in checkpoint:
            given_space = AnswerSpace.from_state(checkpoint["answer_space"])
            present = data.answer_space()
            check_selection(given_space, present, same_protocol=False)
            doubt = seen_elsewhere(given_space, present)
            if doubt is not None:
                rank_zero_warn(doubt)
                doubts.append(doubt)
        self.origin = Origin(trained_seconds(checkpoint), tuple(dict.fromkeys(doubts)))
        own = self.state_dict()
        given = checkpoint["state_dict"]
        wrong = [k for k in given if k in own and own[k].shape != given[k].shape]
        if wrong:
            raise UserError(
                f"{path} holds {wrong[0]} of shape {tuple(given[wrong[0]].shape)}, this model has "
                f"{tuple(own[wrong[0]].shape)}: start from a checkpoint of the same size."
            )
        missing, unused = self.load_state_dict(given, strict=False)
        self.untrained = bool(missing)
        self.print(
            f"Started from {path}: {len(own) - len(missing)} tensors loaded, {len(missing)} "
            f"missing ({_groups(missing)}), {len(unused)} unused ({_groups(unused)})."
        )
        self._complete(missing)

    def _complete(self, missing: list[str]) -> None:
        """Initialise what a checkpoint lacked from loaded parts; ``missing`` are names of state."""

    def _use_space(self, space: AnswerSpace) -> None:
        if space.table_size > self.text.table_size:
            raise UserError(
                f"The tokenizer has {space.table_size} slots and the text encoder "
                f"{self.text.table_size}: give data.init_args.tokenizer and model.init_args.text "
                "of the same model (`words` goes with `small`)."
            )
        self.space, self.tokenizer = space, space.tokenizer

    def _agree(self, data: Any, tokenizer: str | None, stored: AnswerSpace | None) -> None:
        """Let data use the tokenizer and vocabulary of the weights; candidates are its own."""
        if tokenizer is None:
            raise UserError(NO_TOKENIZER.format("The checkpoint", "--ckpt_path"))
        data.adopt_tokenizer(tokenizer)
        present: AnswerSpace = data.answer_space()
        if stored is not None:
            check_selection(stored, present, same_protocol=True)
            present = replace(
                present, vocabulary=stored.vocabulary, vocabulary_ids=stored.vocabulary_ids
            )
        self._use_space(present)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store what the ids mean and which answers may be given, as plain types."""
        if self.tokenizer is not None:
            checkpoint["tokenizer"] = self.tokenizer
        if self.space is not None:
            checkpoint["answer_space"] = self.space.state()
        if self.origin is not None:
            checkpoint["origin"] = self.origin.state()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take over the checkpoint's tokenizer, vocabulary and, unless data is at hand, candidates.

        Raises:
            UserError: If the weights were trained under another protocol or on another selection of
                the rows of the data at hand.
        """
        check_activation(checkpoint, self.quick_gelu)
        # Its weights follow: those of `init_from` would overwrite them at the next set-up.
        self._initialised = self._restored = True
        self.untrained = False
        self.origin = origin_of(checkpoint)
        tokenizer = tokenizer_of(checkpoint)
        state = checkpoint.get("answer_space")
        stored = None if state is None else AnswerSpace.from_state(state)
        data = self._data()
        if data is None:
            self.tokenizer = tokenizer
            if stored is not None:
                self._use_space(stored)
            return
        self._agree(data, tokenizer, stored)

    def on_train_batch_end(self, outputs: Any, batch: object, batch_idx: int) -> None:
        """From the first step on the weights are trained."""
        self.untrained = False

    # ---- encoders and fusion ------------------------------------------------------------------

    def encode_pair(
        self, text: Tokens, images: Tensor, image_index: Tensor | None = None
    ) -> EncodedPair:
        """Encode B texts and I images (normalised) and fuse them.

        ``image_index`` (B,) names the image of each text; None where I = B in order.
        """
        states, tokens = self.text(text.ids, text.mask), self.vision(images)
        words, patches = self.fusion(states, text.mask, tokens, image_index)
        return EncodedPair(states, tokens, words, patches, text.mask)

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
        scheduler = cosine_with_warmup(optimizer, int(steps), self.warmup, self.min_lr)
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


def _groups(keys: list[str]) -> str:
    """The first name parts of state keys, or `none`."""
    return ", ".join(sorted({key.split(".")[0] for key in keys})) or "none"
