"""The entry point: select the command before any slow import, and print errors."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

import amif_lightning
from amif_lightning.cli.config_files import check_configs, split_configs, suggestion
from amif_lightning.errors import UserError, printable


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line.

    With ``args`` None, ``sys.argv`` is read; ``--trainer.strategy ddp`` starts its other processes
    from it too.

    Returns:
        The exit code: 0 done; 1 ``audit`` found a leak or bad images, ``prepare data`` could not
        reduce an image or ``answer`` could not answer a question; 2 a UserError, printed on stderr;
        130 interrupted; 143 terminated. Any other exception is a bug and is raised.
    """
    argv = list(sys.argv[1:] if args is None else args)
    if args is None and not sys.flags.safe_path:
        # As `python -m` does, so that the console script also finds `--data my_data.MyQA`.
        sys.path.append("")
    debug = "--debug" in argv or os.environ.get("AMIF_DEBUG", "") not in {"", "0"}
    argv = [word for word in argv if word != "--debug"]
    try:
        return _dispatch(argv)
    except UserError as error:
        if debug:
            raise
        print(printable(f"error: {message_of(error)}", keep="\n"), file=sys.stderr)
        return 2
    except RuntimeError as error:
        from amif_lightning.cli.processes import fault

        sentence = None if debug else fault(error)
        if sentence is None:
            raise
        print(f"error: {sentence}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as interrupt:
        print(str(interrupt) or "interrupted: run the same command again", file=sys.stderr)
        return 130
    except SystemExit as stop:  # argparse after --help, and a run after SIGTERM
        if stop.code is None or isinstance(stop.code, int):
            return stop.code or 0
        raise


def _dispatch(argv: list[str]) -> int:
    if not argv or argv[0] in {"-h", "--help"}:
        print(help_text(), end="")
        return 0
    if argv[0] == "--version":
        print(version_text())
        return 0
    command, rest = argv[0], argv[1:]
    if command.startswith("-"):
        raise UserError(
            f"`{command}` comes before the command; write the command first, such as "
            f"`python -m amif_lightning fit {command} ...`."
        )
    if command not in COMMANDS:
        raise UserError(f"there is no command `{command}`{suggestion(command, COMMANDS)}")
    # Each command imports only what it needs: torch and Lightning take about 6 s.
    if command in OTHER_COMMANDS:
        module = import_module(f"amif_lightning.cli.commands.{command.replace('-', '_')}")
        code: int = module.main(rest)
        return code
    check_configs(split_configs(rest)[0])  # before the slow import
    from amif_lightning.cli.app import run

    run(argv)
    return 0


def message_of(error: UserError) -> str:
    """Return the sentence alone: an error of a loader's worker contains its traceback."""
    text = str(error)
    if text.startswith("Caught "):
        text = text.rsplit(f"{UserError.__name__}: ", 1)[-1]
    return text.strip()


# Run by Lightning's Trainer; a test compares these names with the real parser's.
TRAINER_COMMANDS = {
    "fit": "train, and keep best.ckpt (by validation) and last.ckpt in the run folder",
    "validate": "score a checkpoint on the validation set",
    "test": "score a checkpoint on the test set and write the result record",
    "predict": "answer the questions of the test set",
}
OTHER_COMMANDS = {
    "answer": "ask a checkpoint about an image, a folder of images or a file of pairs",
    "demo": "show a page on this machine that asks a checkpoint about images",
    "audit": "count a data set, report leaks and bad images (exit code 1); needs no model",
    "export-questions": "write the questions of a split for another model, with its controls",
    "prepare": "data: download and unpack a set; weights: fetch models; teacher: store features",
    "share": "write a checkpoint as a folder for the Hugging Face hub, and upload it",
    "report": "print the results table of a folder of runs",
    "score": "judge the answers of any model, read from a file, as `test` judges a checkpoint",
    "sweep": "train and test the runs of a comparison, seed by seed, then report",
}
COMMANDS = {**TRAINER_COMMANDS, **OTHER_COMMANDS}


def help_text() -> str:
    """Return the help of the whole command line, printed by ``--help`` and by a bare call."""
    rows = "\n".join(f"  {name:<18}{text}" for name, text in COMMANDS.items())
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
  --runs DIR             folder of the run folders: DIR/NAME/PROTOCOL/seedK (default: runs)
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
  python -m amif_lightning prepare weights --to data/weights
  python -m amif_lightning prepare teacher --config experiments/pretrain/base.yaml
  python -m amif_lightning answer --ckpt_path best.ckpt --image scan.png --question "..."
  python -m amif_lightning demo --ckpt_path best.ckpt
  python -m amif_lightning share best.ckpt --to FOLDER
  python -m amif_lightning report runs
  python -m amif_lightning score answers.jsonl --data VQARAD --data.root data/vqa_rad
  python -m amif_lightning sweep experiments/sweep/demo.yaml --seeds 0 1 2
"""


def version_text() -> str:
    """Return the versions of the suite, Python, torch and Lightning without importing them."""
    parts = [f"python {platform.python_version()}"]
    for name in ("torch", "lightning"):
        try:
            parts.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            parts.append(f"{name} not installed")
    return f"amif-lightning {amif_lightning.__version__} ({', '.join(parts)})"
