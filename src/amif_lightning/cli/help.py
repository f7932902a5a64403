"""The static help: what ``--help`` and a bare call print without importing torch (5 s)."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

import amif_lightning

# Run by Lightning's Trainer; a test compares these names with the real parser's.
TRAINER_COMMANDS = {
    "fit": "train, and keep best.ckpt (by validation) and last.ckpt in the run folder",
    "validate": "score a checkpoint on the validation set",
    "test": "score a checkpoint on the test set and write the result record",
    "predict": "answer the questions of the test set",
}
OTHER_COMMANDS = {
    "answer": "ask a checkpoint about a picture, a folder of pictures or a file of pairs",
    "audit": "count a data set, report leaks and bad pictures (exit code 1); needs no model",
    "prepare": "with `data`: check or download a data set; with `teacher`: store its features",
    "report": "print the results table of a folder of runs",
}
COMMANDS = {**TRAINER_COMMANDS, **OTHER_COMMANDS}


def help_text() -> str:
    """The help of the whole command line, as printed by ``--help`` and by a bare call."""
    rows = "\n".join(f"  {name:<10}{text}" for name, text in COMMANDS.items())
    return f"""\
usage: python -m amif_lightning COMMAND [options]        (or: amif-lightning COMMAND [options])

AMiF: medical visual question answering by unified alignment and knowledge fusion.

commands:
{rows}

options of fit, validate, test and predict:
  --config FILE          an experiment; give several, later ones win (overlays)
  --model.X, --data.X    arguments of the task and of the data class
  --trainer.X            arguments of Lightning's Trainer, such as --trainer.max_epochs 3
  --experiment NAME      first folder below --runs (default: data class and task)
  --runs DIR             where run folders lie: DIR/NAME/PROTOCOL/seedK (default: runs)
  --seed_everything K    the seed, 0 unless given
  --ckpt_path PATH       a checkpoint, or `best` or `last` of the run folder
  --overwrite            fit only: delete what an earlier run left in the run folder
  --print_config         print the merged configuration and stop

  COMMAND --help lists every option of a command; --version prints the versions; --debug (or
  AMIF_DEBUG=1) shows the traceback behind an error message.

examples:
  python -m amif_lightning fit --config experiments/vqa/phantom.yaml
  python -m amif_lightning test --config experiments/vqa/phantom.yaml --ckpt_path best
  python -m amif_lightning audit --data Phantom --data.root data/phantom
  python -m amif_lightning prepare data --data VQARAD --data.root data/vqa_rad --download
  python -m amif_lightning prepare teacher --config experiments/pretrain/base.yaml
  python -m amif_lightning answer --ckpt_path best.ckpt --image scan.png --question "..."
  python -m amif_lightning report runs
"""


def version_text() -> str:
    """The suite's version and those of what its numbers depend on, read without importing them."""
    parts = [f"python {platform.python_version()}"]
    for name in ("torch", "lightning"):
        try:
            parts.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            parts.append(f"{name} not installed")
    return f"amif-lightning {amif_lightning.__version__} ({', '.join(parts)})"
