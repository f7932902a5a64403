"""Base task of both stages: encoders, fusion, optimiser, tokenizer and answer space."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Self

import lightning as L
import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from torch import Tensor, nn

from amif_lightning.answer_space import LEARNED, AnswerSpace
from amif_lightning.batch import Tokens
from amif_lightning.checkpoint_file import read_checkpoint
from amif_lightning.errors import UserError
from amif_lightning.models.fusion import CoAttention, EncodedPair
from amif_lightning.models.text import TextEncoder
from amif_lightning.models.vision import CHANNELS, build_vision
from amif_lightning.signatures import describe
from amif_lightning.tasks import argument_checks as checks
from amif_lightning.tasks.checkpoints import (
    Origin,
    check_activation,
    check_selection,
    check_stage,
    load_matching,
    origin_of,
    readable_by_lightning,
    seen_elsewhere,
    tokenizer_of,
    trained_seconds,
)
from amif_lightning.tasks.optimization import adamw_with_cosine, parameter_groups
from amif_lightning.tasks.resume import (
    check_validation_interval,
    complete_finished_epoch,
    continue_logged_steps,
)

NO_TOKENIZER = (
    "{} holds no tokenizer, so the meaning of its token ids is unknown: give a checkpoint that "
    "`fit` wrote as {}."
)


class AMiFTask(L.LightningModule, ABC):
    """Base of the pre-training and answering stages; an option out of range raises a UserError.

    Args:
        vision: Image tower: an open_clip model name, ``hf-hub:NAME``, ``local-dir:FOLDER``,
            ``timm:NAME`` for any network of timm, ``efficientnet-lite0`` (or 1, 2) with weights
            from an installed package, or ``conv`` for a small network without download.
        vision_pretrained: ``auto``: the tower's own weights (for an open_clip model name those of
            OpenAI); an open_clip weights tag, or a file; null for random weights.
        vision_quick_gelu: Whether the image tower uses OpenAI's approximation of GELU; null: as the
            weights tag requires, else as the model's configuration. Checkpoints store the result.
        vision_grid: Side of the grid that the patches of a network of timm are averaged to. Fewer
            patches make fusion and answering faster; null: its own grid.
        vision_layer: Module of a network of timm whose output gives the patches, such as
            ``blocks.5``; null: the last. Earlier layers can suit other images than photographs.
        vision_channels: Channels of the stages of ``conv``, at least one. The stem has stride 4 and
            each later stage halves the grid: four stages give patches of 32 pixels.
        vision_summary_channels: Channels of a separate ``conv`` branch for the summary token; the
            last stage of the patches is then pointwise. Empty: the summary token is their mean.
        text: Text encoder: hub name or folder of a BERT, ``minilm`` with weights from an installed
            package, or ``small`` (no download).
        text_pretrained: Whether to load that encoder's weights.
        text_layers: Layers of the ``small`` text encoder.
        image_size: Side of the input in pixels; must equal the data module's.
        width: Width of the fusion layers (768 in the paper).
        heads: Attention heads of all transformer layers built here.
        fusion_layers: Co-attention layers of each stream.
        dropout: Dropout probability.
        attention_dropout: The same for attention weights; null: as ``dropout``. 0 is faster.
        attention: Attention implementation in transformers.
        init_from: Checkpoint of an earlier run to start from, a file or an address.
        freeze_vision: Whether to keep the image tower's weights and moving means; learned positions
            that a network of timm lacks are trained.
        freeze_text: Whether to keep the text encoder's weights.
        lr: Highest learning rate.
        vision_lr_factor: Multiple of the learning rate for the image tower, above 0.
        text_lr_factor: The same for the text encoder.
        fusion_lr_factor: The same for fusion; after pretrained encoders, 5 is usual for new layers.
        heads_lr_factor: The same for all other layers, such as the answer decoder.
        min_lr: Learning rate at the end of the cosine.
        warmup: Share of all steps with a rising learning rate.
        weight_decay: AdamW's weight decay, on matrices only.
        betas: AdamW's moment coefficients.
        seed: Seed of every training step's random draws, so that a resumed run repeats them.
    """

    monitor: str
    mode: Literal["min", "max"]
    kind: str  # PRETRAINING or ANSWERING

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Add the arguments of the bases to the subclass's signature."""
        super().__init_subclass__(**kwargs)
        describe(cls)

    def __init__(
        self,
        vision: str = "ViT-B-16",
        vision_pretrained: str | None = "auto",
        vision_quick_gelu: bool | None = None,
        vision_grid: int | None = None,
        vision_layer: str | None = None,
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
        attention_dropout: float | None = None,
        attention: Literal["sdpa", "eager"] = "sdpa",
        init_from: str | None = None,
        freeze_vision: bool = False,
        freeze_text: bool = False,
        lr: float = 1.5e-5,
        vision_lr_factor: float = 1.0,
        text_lr_factor: float = 1.0,
        fusion_lr_factor: float = 1.0,
        heads_lr_factor: float = 1.0,
        min_lr: float = 1e-8,
        warmup: float = 0.1,
        weight_decay: float = 0.05,
        betas: tuple[float, float] = (0.9, 0.98),
        seed: int = 0,
    ) -> None:
        super().__init__()
        sizes = {"image_size": image_size, "width": width, "heads": heads}
        checks.check_at_least_one(**sizes, text_layers=text_layers, fusion_layers=fusion_layers)
        checks.check_smoothing(dropout=dropout, attention_dropout=attention_dropout or 0.0)
        checks.check_optimizer(lr, min_lr, warmup, weight_decay, betas)
        if width % heads:
            raise UserError(
                f"model.init_args.width is {width} and heads is {heads}: the width must be a "
                "multiple of the heads."
            )
        self.image_size, self.init_from = image_size, init_from
        self.heads, self.attention = heads, attention
        self.dropout, self.attention_dropout = dropout, attention_dropout
        self.lr, self.min_lr, self.warmup = lr, min_lr, warmup
        self.lr_factors = {
            "vision": vision_lr_factor,
            "text": text_lr_factor,
            "fusion": fusion_lr_factor,
            "heads": heads_lr_factor,
        }
        checks.check_factors(
            **{f"{part}_lr_factor": value for part, value in self.lr_factors.items()}
        )
        self.weight_decay, self.betas, self.seed = weight_decay, betas, seed
        self.untrained = True  # until weights are loaded or a training step is done
        self.vision = build_vision(
            vision,
            vision_pretrained,
            image_size,
            vision_quick_gelu,
            vision_channels,
            vision_summary_channels,
            vision_grid,
            vision_layer,
        )
        self.quick_gelu = self.vision.quick_gelu
        self.text = TextEncoder(
            text,
            pretrained=text_pretrained,
            width=width,
            layers=text_layers,
            heads=heads,
            dropout=dropout,
            attention_dropout=attention_dropout,
            attention=attention,
        )
        self.fusion = CoAttention(
            self.text.width,
            self.vision.width,
            width,
            fusion_layers,
            heads,
            dropout,
            attention_dropout,
        )
        self.frozen: list[nn.Module] = []  # in evaluation mode during training
        if freeze_vision:
            self.freeze_part(getattr(self.vision, "visual", self.vision))
        if freeze_text:
            self.freeze_part(self.text)
        self.space: AnswerSpace | None = None
        self.tokenizer: str | None = None  # JSON text
        self.origin: Origin | None = None  # earlier run that the weights started from
        self._initialised = False  # whether `init_from` or a checkpoint was loaded

    def freeze_part(self, part: nn.Module) -> None:
        """Do not train a part, and keep it in evaluation mode: no dropout or moving means."""
        part.requires_grad_(False).eval()
        self.frozen.append(part)

    def train(self, mode: bool = True) -> Self:
        """Switch modes except those of frozen parts."""
        super().train(mode)
        for part in self.frozen:
            part.eval()
        return self

    @abstractmethod
    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Return the loss of a batch."""

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
        """Load as Lightning does, but download no pretrained weights and run no pickled code.

        A path or an address is read by :func:`amif_lightning.checkpoint_file.read_checkpoint`. A
        hub encoder still needs its configuration. ``weights_only=False`` unpickles the whole file
        and can run code from it.
        """
        given = {"vision_pretrained": None, "text_pretrained": False} | kwargs
        if weights_only is None:  # Lightning would unpickle the whole file of an address
            weights_only = True
        if weights_only and isinstance(checkpoint_path, (str, Path)):
            checkpoint = read_checkpoint(checkpoint_path)
            check_stage(checkpoint, cls.kind, checkpoint_path)
            checkpoint_path = readable_by_lightning(checkpoint)
        return super().load_from_checkpoint(
            checkpoint_path, map_location, hparams_file, strict, weights_only, **given
        )

    def setup(self, stage: str) -> None:
        """Load ``init_from``; raise a UserError unless images, tokenizer, answers and rows fit."""
        data = self._data()
        if data is None:
            return
        if data.image_size != self.image_size:
            raise UserError(
                f"The data module gives images of {data.image_size} pixels and the model expects "
                f"{self.image_size}: set --data.init_args.image_size and "
                "--model.init_args.image_size to the same number."
            )
        restored, self._initialised = self._initialised, True
        if self.init_from is not None and not restored:
            self._start_from(self.init_from, data)
        if self.tokenizer is None and not restored:
            self._use_space(data.answer_space())
        else:
            self._agree(data)

    def _attached(self) -> L.Trainer | None:
        try:
            return self.trainer
        except RuntimeError:  # Lightning's property raises without a trainer
            return None

    def _data(self) -> Any:
        """Return the trainer's data module; None without a trainer, or if it has loaders only."""
        return getattr(self._attached(), "datamodule", None)

    def _start_from(self, path: str, data: Any) -> None:
        checkpoint = read_checkpoint(path)
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
        missing, loaded = load_matching(self, checkpoint["state_dict"], path)
        self.untrained = bool(missing)
        self.print(f"Started from {path}: {loaded}.")
        self._complete(missing)

    def _complete(self, missing: list[str]) -> None:
        """Initialise modules missing from the checkpoint; ``missing`` are keys of the state."""

    def _use_space(self, space: AnswerSpace) -> None:
        if space.table_size > self.text.table_size:
            raise UserError(
                f"The tokenizer has {space.table_size} slots and the text encoder "
                f"{self.text.table_size}: give data.init_args.tokenizer and model.init_args.text "
                "of the same model (`words` goes with `small`)."
            )
        self.space, self.tokenizer = space, space.tokenizer

    def _agree(self, data: Any) -> None:
        """Use the checkpoint's tokenizer and vocabulary with the candidates of the data."""
        if self.tokenizer is None:
            raise UserError(NO_TOKENIZER.format("The checkpoint", "--ckpt_path"))
        data.adopt_tokenizer(self.tokenizer)
        present: AnswerSpace = data.answer_space()
        if (stored := self.space) is not None:
            check_selection(stored, present, same_protocol=True)
            kept = ["vocabulary", "vocabulary_ids", *LEARNED]
            if not present.candidates:  # questions without answers
                kept += ["candidates", "candidate_ids", "answers_from"]
            present = replace(present, **{name: getattr(stored, name) for name in kept})
        self._use_space(present)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store tokenizer, answer space and origin as plain types."""
        if self.tokenizer is not None:
            checkpoint["tokenizer"] = self.tokenizer
        if self.space is not None:
            checkpoint["answer_space"] = self.space.state()
        if self.origin is not None:
            checkpoint["origin"] = self.origin.state()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore tokenizer and vocabulary, and without a data module the candidates.

        Raises:
            UserError: If the weights are of the other stage, or were trained with another protocol
                or other rows of the data.
        """
        trainer = self._attached()
        check_stage(checkpoint, self.kind, (trainer and trainer.ckpt_path) or "The checkpoint")
        check_activation(checkpoint, self.quick_gelu)
        if trainer is not None and trainer.max_steps != -1 and "loops" in checkpoint:
            complete_finished_epoch(checkpoint["loops"])
        self._initialised = True  # else `setup` would load `init_from` over these weights
        self.untrained = False
        self.origin, self.tokenizer = origin_of(checkpoint), tokenizer_of(checkpoint)
        state = checkpoint.get("answer_space")
        self.space = None if state is None else AnswerSpace.from_state(state)
        data = self._data()
        if data is not None:
            self._agree(data)
        elif self.space is not None:
            self._use_space(self.space)

    def on_train_batch_end(self, outputs: Any, batch: object, batch_idx: int) -> None:
        """Mark the weights as trained."""
        self.untrained = False

    # ---- encoders and fusion ------------------------------------------------------------------

    def encode_pair(
        self, text: Tokens, images: Tensor, image_index: Tensor | None = None
    ) -> EncodedPair:
        """Encode B texts and I normalised images and fuse them; see :meth:`fuse`."""
        states, tokens = self.text(text.ids, text.mask), self.vision(images)
        return self.fuse(states, text.mask, tokens, image_index)

    def fuse(
        self, states: Tensor, mask: Tensor, tokens: Tensor, image_index: Tensor | None = None
    ) -> EncodedPair:
        """Fuse text states (B, L, text width) with image tokens (I, 1 + P, image width).

        ``image_index`` (B,) is the image of each text; None if I = B in the same order.
        """
        words, patches = self.fusion(states, mask, tokens, image_index)
        return EncodedPair(states, tokens, words, patches, mask)

    # ---- optimisation -------------------------------------------------------------------------

    def on_train_start(self) -> None:
        """Check that the run can be resumed exactly."""
        check_validation_interval(self.trainer)

    def on_train_batch_start(self, batch: object, batch_idx: int) -> None:
        """Reseed, so that a resumed run draws the same dropout masks, and keep the logged step."""
        continue_logged_steps(self.trainer)
        position = (self.current_epoch, batch_idx, self.global_rank)
        torch.manual_seed(hash((self.seed, *position)) & (2**63 - 1))

    def configure_optimizers(self) -> Any:
        """Build AdamW and a cosine with warm-up; raise a UserError if the run has no last step."""
        groups = parameter_groups(
            self.named_parameters(), self.lr, self.lr_factors, self.weight_decay
        )
        return adamw_with_cosine(
            groups, self.trainer, self.lr, self.min_lr, self.warmup, self.betas
        )
