"""The options of ``answer`` and ``demo`` that name a model."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from amif_lightning.errors import UserError

if TYPE_CHECKING:
    from amif_lightning.tasks.vqa import AMiFVQA


def add_source(parser: argparse.ArgumentParser) -> None:
    """Add ``--ckpt_path`` and ``--model``."""
    parser.add_argument(
        "--ckpt_path",
        metavar="CKPT",
        help="checkpoint of the answering stage, such as best.ckpt of a run folder; a file or an "
        "address",
    )
    parser.add_argument(
        "--model",
        metavar="MODEL",
        help="instead of --ckpt_path: a folder that `share` wrote, or NAMESPACE/NAME[@REVISION] on "
        "the Hugging Face hub",
    )


def named_source(options: argparse.Namespace) -> str:
    """Return the given one; a UserError unless exactly one is given."""
    if (options.ckpt_path is None) == (options.model is None):
        raise UserError("give the checkpoint as --ckpt_path, or a shared model as --model.")
    return str(options.ckpt_path or options.model)


def load_source(options: argparse.Namespace) -> AMiFVQA:
    """Load the model on ``options.device``; a UserError if it is unusable."""
    from amif_lightning.inference.load import restore  # imports torch
    from amif_lightning.tasks.answering.shared_folder import fetch_shared

    return restore(options.ckpt_path or fetch_shared(options.model), options.device)
