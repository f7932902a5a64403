"""Frozen teachers: B images or texts without augmentation become unit rows (B, T)."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from amif_lightning.batch import pad_tokens
from amif_lightning.checkpoint_file import check_weights, read_checkpoint
from amif_lightning.data.preprocessing.tokenizer import Tokenizer
from amif_lightning.data.preprocessing.transforms import ImageTransform, to_square
from amif_lightning.errors import UserError, first_line
from amif_lightning.hub import DOWNLOAD, FOLDER, text_tower, use_cache_if_unreachable
from amif_lightning.models.packages import packaged
from amif_lightning.models.text import TextEncoder
from amif_lightning.models.vision import CHANNELS, build_vision, text_config

#: The paper's teacher, and its maximum number of tokens of a text.
BIOMEDCLIP = "hf-hub:microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224"
MAX_TOKENS = 120
MINILM = "minilm"  # the text teacher without a source
_FOLDER, _HUB = FOLDER, "hf-hub:"


class FrozenTeacher(nn.Module):
    """Base of the teachers: no gradient, no dropout, full precision."""

    scale: float  # natural logarithm of the factor of the cosines
    image_size: int  # side of the input in pixels
    reads_images: ClassVar[bool] = True  # if not, an image has the features of its texts
    #: Longer texts are truncated; specials count. At most MAX_TOKENS and the model's positions.
    max_tokens: int
    #: Maps an RGB image of any size to an input (3, image_size, image_size); can be pickled alone.
    prepare: Callable[[Image.Image], Tensor]

    def train(self, mode: bool = True) -> FrozenTeacher:
        """Stay in evaluation mode, also inside a module in training."""
        super().train(False)
        return self

    @property
    def device(self) -> torch.device:
        """The device of the parameters."""
        return next(self.parameters()).device

    @torch.no_grad()
    def image(self, pixels: Tensor) -> Tensor:
        """Embed prepared images (B, 3, image_size, image_size) as unit rows (B, T), float32."""
        with torch.autocast(self.device.type, enabled=False):
            return F.normalize(self._image(pixels.to(self.device)).float(), dim=1)

    @torch.no_grad()
    def text(self, texts: Sequence[str]) -> Tensor:
        """Embed texts as unit rows (B, T), float32."""
        with torch.autocast(self.device.type, enabled=False):
            return F.normalize(self._text(texts).float(), dim=1)

    def cut(self, texts: Sequence[str]) -> int:
        """Count the texts with more than ``max_tokens`` tokens."""
        raise NotImplementedError

    def _image(self, pixels: Tensor) -> Tensor:
        raise NotImplementedError

    def _text(self, texts: Sequence[str]) -> Tensor:
        raise NotImplementedError


class OpenClipTeacher(FrozenTeacher):
    """An open_clip model with its own weights, transform and tokenizer; the paper uses BiomedCLIP.

    Raises:
        UserError: If ``source``, ``hf-hub:NAME`` or ``local-dir:FOLDER``, cannot be loaded.
    """

    def __init__(self, source: str) -> None:
        super().__init__()
        import open_clip

        if not source.startswith((_FOLDER, _HUB)):
            raise UserError(
                f"The teacher {source!r} is neither hf-hub:NAME nor local-dir:FOLDER: give one of "
                f"them as --data.init_args.teacher_source, such as {BIOMEDCLIP}."
            )
        folder = source.startswith(_FOLDER)
        local: dict[str, Any] = text_tower(source) if folder else {}
        if not folder:
            use_cache_if_unreachable()
        if folder:
            check_weights(Path(source.removeprefix(_FOLDER)))
        try:
            text = text_config(source, local)
            # Unlike the other factories, this one never falls back to random weights.
            model: Any = open_clip.create_model_from_pretrained(source, **local)
            self.model, self.prepare = model
            # The folder's own options could ask to run its code; other tokenizers take no options.
            options = {"trust_remote_code": False} if text.get("hf_tokenizer_name") else {}
            self._tokenize: Any = open_clip.get_tokenizer(source, **options)
        except Exception as error:  # json, pickle, safetensors and two hubs raise their own errors
            advice = (
                f"{DOWNLOAD}, give --data.init_args.teacher_source local-dir:FOLDER and set "
                "HF_HUB_OFFLINE=1"
            )
            if folder:
                advice = (
                    "the folder needs open_clip_config.json, the weights and the tokenizer's "
                    "files, and hf_model_name in it must name a folder, absolute or inside it "
                    "(docs/weights.md)"
                )
            raise UserError(
                f"The teacher {source!r} could not be loaded ({first_line(error)}): {advice}."
            ) from error
        self.max_tokens = min(MAX_TOKENS, int(self._tokenize.context_length))
        size = self.model.visual.image_size
        self.image_size = int(size[0] if isinstance(size, Sequence) else size)
        self.scale = float(self.model.logit_scale.detach())
        self.requires_grad_(False).train()

    def cut(self, texts: Sequence[str]) -> int:
        """Count the texts with more than ``max_tokens`` tokens."""
        inner = getattr(self._tokenize, "tokenizer", None)
        padding = getattr(inner, "pad_token_id", None) or 0
        count = 0
        for start in range(0, len(texts), 1024):
            # Only texts that will be truncated fill this extra position.
            ids = self._tokenize(list(texts[start : start + 1024]), self.max_tokens + 1)
            count += int((ids[:, -1] != padding).sum())
        return count

    def _image(self, pixels: Tensor) -> Tensor:
        features: Tensor = self.model.encode_image(pixels)
        return features

    def _text(self, texts: Sequence[str]) -> Tensor:
        ids = self._tokenize(list(texts), self.max_tokens).to(self.device)
        features: Tensor = self.model.encode_text(ids)
        return features


class BertTeacher(FrozenTeacher):
    """Base of the teachers whose texts are read by a :class:`TextEncoder`."""

    words: TextEncoder
    tokenizer: Tokenizer

    def cut(self, texts: Sequence[str]) -> int:
        """Count the texts with more than ``max_tokens`` tokens."""
        return sum(not self.tokenizer.fits(text, self.max_tokens) for text in texts)

    def _states(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Encode texts as states (B, L, D) with their mask (B, L)."""
        rows = [self.tokenizer.encode(text, self.max_tokens) for text in texts]
        tokens = pad_tokens(rows, self.tokenizer.pad_id).to(self.device)
        return self.words(tokens.ids, tokens.mask), tokens.mask


class SentenceTeacher(BertTeacher):
    """Sentence embeddings of a BERT: the mean of its token states (Reimers and Gurevych, 2019).

    It does not read images: images are as similar as their texts. The paper's teacher reads both;
    this one is an addition for those who cannot download it. ``scale`` is the logarithm of 20, the
    factor of the cosines in the training of all-MiniLM-L6-v2.

    Args:
        source: ``minilm`` (from its package), a hub name or a folder.

    Raises:
        UserError: If the encoder or its tokenizer cannot be loaded.
    """

    reads_images = False
    scale = math.log(20)

    def __init__(self, source: str) -> None:
        super().__init__()
        self.words, self.tokenizer = TextEncoder(source), Tokenizer.from_pretrained(source)
        self.max_tokens = min(MAX_TOKENS, int(self.words.bert.config.max_position_embeddings))
        self.requires_grad_(False).train()

    def _text(self, texts: Sequence[str]) -> Tensor:
        states, mask = self._states(texts)
        return (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)


class CheckpointTeacher(BertTeacher):
    """Encoders and projections of an ``AMiFPretrain`` checkpoint with image-text alignment.

    Raises:
        UserError: If the checkpoint is missing, damaged or of another kind.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        checkpoint = read_checkpoint(path)
        try:
            state: Mapping[str, Tensor] = checkpoint["state_dict"]
            given: Mapping[str, Any] = checkpoint["hyper_parameters"]
            layers = ("fusion.text_projection", "fusion.image_projection")
            if "projections.0.weight" in state:  # the run had separate layers for the alignment
                layers = ("projections.0", "projections.1")
            self.image_size = int(given["image_size"])
            self.vision = build_vision(
                given["vision"],
                None,
                self.image_size,
                given["vision_quick_gelu"],
                # Checkpoints from before these options lack them.
                given.get("vision_channels", CHANNELS),
                given.get("vision_summary_channels", ()),
            )
            self.words = TextEncoder(
                given["text"],
                pretrained=False,
                width=given["width"],
                layers=given["text_layers"],
                heads=given["heads"],
                attention=given["attention"],
            )
            self.vision.load_state_dict(_below("vision.", state))
            self.words.load_state_dict(_below("text.", state))
            self.text_projection, self.image_projection = (
                _linear(_below(f"{layer}.", state)) for layer in layers
            )
            self.scale = -float(state["alignment.pairs.image_text.log_temperature"])
            self.tokenizer = Tokenizer.from_json(checkpoint["tokenizer"])
        except KeyError as error:
            raise UserError(
                f"The teacher's checkpoint {path} has no {error.args[0]}: give one that `fit` "
                "wrote with AMiFPretrain and an image_text weight as "
                "--data.init_args.teacher_source."
            ) from error
        except RuntimeError as error:  # raised by torch for tensors of other names or shapes
            raise UserError(
                f"The teacher's checkpoint {path} does not fit the encoders that it names "
                f"({first_line(error)}): train it again with this version."
            ) from error
        self.max_tokens = min(MAX_TOKENS, int(self.words.bert.config.max_position_embeddings))
        self.prepare = partial(_whole_image, transform=ImageTransform(self.image_size))
        self.requires_grad_(False).train()

    def _image(self, pixels: Tensor) -> Tensor:
        features: Tensor = self.image_projection(self.vision(pixels)[:, 0])
        return features

    def _text(self, texts: Sequence[str]) -> Tensor:
        states, _ = self._states(texts)
        features: Tensor = self.text_projection(states[:, 0])
        return features


def _whole_image(image: Image.Image, transform: ImageTransform) -> Tensor:
    """The suite's input without augmentation: the whole image resized to a square, normalised."""
    return transform(to_square(image, transform.size))


def _below(prefix: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}


def _linear(state: Mapping[str, Tensor]) -> nn.Linear:
    layer = nn.Linear(state["weight"].shape[1], state["weight"].shape[0])
    layer.load_state_dict(state)
    return layer


def open_teacher(kind: str, source: str) -> FrozenTeacher:
    """Load a teacher, onto the GPU if available.

    The kind ``open_clip`` takes ``hf-hub:NAME`` or ``local-dir:FOLDER`` as source (empty:
    BiomedCLIP), ``text`` a hub name or folder of a BERT (empty: ``minilm``), and ``checkpoint`` the
    path of an earlier run's checkpoint.

    Raises:
        UserError: If the teacher cannot be loaded.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if kind == "checkpoint":
        return CheckpointTeacher(Path(source)).to(device)
    if kind == "text":
        return SentenceTeacher(source or MINILM).to(device)
    return OpenClipTeacher(source or BIOMEDCLIP).to(device)


def teacher_name(kind: str, source: str) -> str:
    """Return the part of embedding file names that identifies a teacher of :func:`open_teacher`.

    Local files are identified by a hash of their content: a folder may be moved, and a repeated run
    writes another teacher under the old path. A missing file or folder raises a UserError.
    """
    source = source or (MINILM if kind == "text" else BIOMEDCLIP)
    path = packaged(source) if source == MINILM else Path(source.removeprefix(_FOLDER))
    local = path.is_dir() if kind == "text" else source.startswith(_FOLDER)
    if kind != "checkpoint" and not local:
        return f"{kind} {source}, {MAX_TOKENS} tokens"
    found = [path] if kind == "checkpoint" else sorted(path.glob("*"))
    found = [entry for entry in found if entry.is_file()]
    if not found:
        raise UserError(
            f"The teacher {source} does not exist or is empty: check "
            "--data.init_args.teacher_source."
        )
    digest = hashlib.sha256()
    for entry in found:
        if kind != "checkpoint":
            digest.update(entry.name.encode() + b"\n")
        digest.update(_content(entry, entry.stat().st_mtime_ns))
    return f"{kind} {path.name} of sha256 {digest.hexdigest()[:16]}, {MAX_TOKENS} tokens"


@cache
def _content(path: Path, modified: int) -> bytes:
    """A file's hash, computed once per process and modification time."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").digest()
