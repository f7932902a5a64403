"""The smallest task, its data and a quiet trainer, shared by several tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch

from amif_lightning.answer_space import AnswerSpace
from amif_lightning.models.knowledge import DecoderInput
from amif_lightning.tasks import AMiFVQA
from data_modules.phantom.module import Phantom

#: A task with steps of milliseconds.
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

#: Options of a quiet command on phantoms: a small network in float32.
RUN_OPTIONS = (
    "--model.init_args.width=32",
    "--model.init_args.heads=2",
    "--model.init_args.fusion_layers=1",
    "--model.init_args.image_size=64",
    "--data.init_args.image_size=64",
    *(f"--data.init_args.{name}={number}" for name, number in SIZES.items()),
    "--data.init_args.num_workers=0",
    "--trainer.precision=32-true",
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
)


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
    """A quiet trainer on the CPU that writes no files."""
    given: dict[str, Any] = {
        "accelerator": "cpu",
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    return L.Trainer(default_root_dir=folder, **(given | options))


def saved(folder: Path, **options: Any) -> tuple[Phantom, Path]:
    """Generated data below ``folder``, and the checkpoint of a task that took one step on them."""
    torch.manual_seed(0)
    task, data = AMiFVQA(**SMALL), phantom(folder / "phantom", batch_size=8, **options)
    running = trainer(folder, max_steps=1, limit_val_batches=0)
    running.fit(task, datamodule=data)
    running.save_checkpoint(folder / "best.ckpt")
    return data, folder / "best.ckpt"


def ready(data: Phantom, **options: Any) -> AMiFVQA:
    """A task with the data's answer space, in evaluation mode."""
    torch.manual_seed(0)
    task = AMiFVQA(**(SMALL | options))
    running = trainer(data.root, limit_val_batches=1)
    running.validate(task, datamodule=data, verbose=False)
    return task.eval()


def space_of(task: AMiFVQA) -> AnswerSpace:
    """The answer space of a task that has one."""
    assert task.space is not None
    return task.space


@torch.no_grad()
def slow_likelihood(
    task: AMiFVQA, fused: DecoderInput, row: int, written: Sequence[int], smoothing: float = 0.0
) -> float:
    """Log-likelihood of the tokens that are written after [CLS], one decoder call for each.

    Args:
        task: The task.
        fused: What its decoder reads.
        row: The question.
        written: Token ids, the end token too where it counts.
        smoothing: Weight of the mean over all tokens in each term.
    """
    total, prefix = 0.0, [space_of(task).cls_id]
    states, mask = fused.states[row : row + 1], fused.mask[row : row + 1]
    for token in written:
        ids = torch.tensor([prefix])
        log_p = task.decoder(ids, torch.ones_like(ids).bool(), states, mask)[0, -1].log_softmax(-1)
        total += (1 - smoothing) * float(log_p[token]) + smoothing * float(log_p.mean())
        prefix.append(token)
    return total
