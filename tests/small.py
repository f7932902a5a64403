"""Set-ups that several tests share: the smallest task, its data and a trainer that keeps quiet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L

from data_modules.phantom.module import Phantom

#: A task that a step of takes milliseconds.
SMALL: dict[str, Any] = {
    "vision": "conv",
    "vision_pretrained": None,
    "text": "small",
    "text_layers": 1,
    "image_size": 32,
    "width": 32,
    "heads": 2,
    "fusion_layers": 1,
    "dropout": 0.0,
    "attention": "eager",
}

#: Studies per split.
SIZES: dict[str, int] = {"train_studies": 24, "validation_studies": 8, "test_studies": 8}


def phantom(root: Path | str, **options: Any) -> Phantom:
    """Generated data for :data:`SMALL`, without augmentation or worker processes."""
    given: dict[str, Any] = {
        "image_size": 32,
        "tokenizer": "words",
        "augmentation": "none",
        "num_workers": 0,
    }
    return Phantom(str(root), **(given | SIZES | options))


def trainer(folder: Path | str, **options: Any) -> L.Trainer:
    """On the CPU, without files and without a word."""
    given: dict[str, Any] = {
        "accelerator": "cpu",
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    return L.Trainer(default_root_dir=folder, **(given | options))
