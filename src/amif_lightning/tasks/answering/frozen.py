"""The frozen encoders of a task, whose tokens a data module caches."""

from __future__ import annotations

import hashlib

from torch import Tensor, nn

from amif_lightning.batch import Tokens, VQABatch
from amif_lightning.data.loading.token_cache import FrozenEncoders
from amif_lightning.models.eval_mode import evaluation_mode
from amif_lightning.models.fusion import EncodedPair
from amif_lightning.models.timm_tower import TimmTower
from amif_lightning.tasks.base import AMiFTask


def frozen_encoders(task: AMiFTask) -> FrozenEncoders:
    """Return the encoders that ``freeze_vision`` and ``freeze_text`` keep as they are."""
    vision, text = task.vision, task.text

    def image(pixels: Tensor) -> Tensor:
        with evaluation_mode(vision):
            pixels = pixels.to(task.device)
            tokens: Tensor = (
                vision.encode(pixels) if isinstance(vision, TimmTower) else vision(pixels)
            )
            return tokens.cpu()

    def states(tokens: Tokens) -> Tensor:
        with evaluation_mode(text):
            tokens = tokens.to(task.device)
            found: Tensor = text(tokens.ids, tokens.mask)
            return found.cpu()

    frozen = {id(part) for part in task.frozen}
    of_image = id(getattr(vision, "visual", vision)) in frozen
    of_text = id(text) in frozen
    return FrozenEncoders(
        image=image if of_image else None,
        text=states if of_text else None,
        image_name=f"{_digest(vision)} {getattr(vision, 'grid', None)}" if of_image else "",
        text_name=_digest(text) if of_text else "",
    )


def encode_batch(task: AMiFTask, batch: VQABatch) -> EncodedPair:
    """Encode and fuse a batch, whose images and questions may be cached tokens."""
    tokens, states = batch.images, batch.question_states
    if tokens.ndim == 4:
        tokens = task.vision(tokens)
    else:
        tokens = tokens.to(task.dtype)
        tokens = task.vision.place(tokens) if isinstance(task.vision, TimmTower) else tokens
    mask = batch.question.mask
    states = task.text(batch.question.ids, mask) if states is None else states.to(task.dtype)
    return task.fuse(states, mask, tokens, batch.image_index)


def _digest(part: nn.Module) -> str:
    """Hash of the weights that a frozen encoder keeps."""
    digest = hashlib.sha256()
    for name, value in part.state_dict().items():
        if name != "position":  # trained, and added after the cached tokens
            digest.update(f"{name} {tuple(value.shape)} ".encode())
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
