"""Fetch the pretrained models of the paper's size into a folder that works without network."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from amif_lightning.data.files.repositories import fetch_repository
from amif_lightning.errors import UserError

_TERMS = ("LICENSE*", "README.md")
_TOKENIZER = ("vocab.txt", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
#: In the order in which open_clip looks for them.
_OPEN_CLIP = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")


@dataclass(frozen=True)
class Pretrained:
    """A repository on the hub, and the part of it that the suite reads.

    ``options`` are those of a run, with ``{}`` for the folder. The first existing file of
    ``weights`` is fetched.
    """

    repository: str
    files: tuple[str, ...]
    weights: tuple[str, ...]
    options: str


PARTS = {
    "vision": Pretrained(
        "timm/vit_base_patch16_clip_224.openai",  # open_clip's source of ViT-B-16, tag openai
        ("open_clip_config.json", *_TERMS),
        _OPEN_CLIP,
        "--model.init_args.vision local-dir:{}",
    ),
    "text": Pretrained(
        "emilyalsentzer/Bio_ClinicalBERT",
        ("config.json", *_TOKENIZER, *_TERMS),
        ("model.safetensors", "pytorch_model.bin"),
        "--model.init_args.text {} --data.init_args.tokenizer {}",
    ),
    "teacher": Pretrained(
        "microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224",
        ("open_clip_config.json", *_TOKENIZER, *_TERMS),
        _OPEN_CLIP,
        "--data.init_args.teacher_source local-dir:{}",
    ),
}


def fetch_weights(folder: Path, parts: Sequence[str] = tuple(PARTS)) -> list[Path]:
    """Fetch the named :data:`PARTS` into sub-folders of their names; return these.

    Raises:
        UserError: If a file cannot be fetched or is damaged.
    """
    return [_fetch(PARTS[part], folder / part) for part in parts]


def _fetch(part: Pretrained, folder: Path) -> Path:
    name = part.repository
    revision = fetch_repository(name, folder, part.files, kind="model", one_of=part.weights)
    print(f"{folder}: {name}, revision {revision}")
    bert = _text_tower(folder)
    if bert is not None:
        # The weights include this BERT's, so its configuration suffices. The path is the name in
        # open_clip_config.json, which therefore stays as published (`amif_lightning.hub`).
        inner = folder / bert
        revision = fetch_repository(bert, inner, ("config.json", *_TERMS), kind="model")
        print(f"{inner}: {bert}, revision {revision}, without weights")
    return folder


def _text_tower(folder: Path) -> str | None:
    """Return the BERT whose configuration an open_clip model needs."""
    path = folder / "open_clip_config.json"
    if not path.exists():
        return None
    try:
        name = json.loads(path.read_text(encoding="utf-8"))["model_cfg"]["text_cfg"].get(
            "hf_model_name"
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path} is not a configuration of open_clip ({type(error).__name__}): delete it and "
            "run the command again."
        ) from error
    return name or None
