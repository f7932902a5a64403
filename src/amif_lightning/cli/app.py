"""``fit``, ``validate``, ``test``, ``predict``: LightningCLI with run folders and short errors."""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import yaml
from jsonargparse import Namespace
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities.exceptions import MisconfigurationException, SIGTERMException
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from amif_lightning.callbacks.divergence import DivergenceGuard
from amif_lightning.checkpoint_file import read_checkpoint
from amif_lightning.cli.checkpoints import LastCheckpoint, WholeFileCheckpointIO, check_checkpoint
from amif_lightning.cli.config_files import (
    CLASSES,
    current_words,
    given_options,
    split_configs,
    value_at,
)
from amif_lightning.cli.data_command import data_base
from amif_lightning.cli.error_messages import (
    check_groups,
    parser_error,
    raised_by_lightning,
    sentence_behind,
    state_mismatch,
)
from amif_lightning.cli.processes import fault, keep_on_loopback, silence
from amif_lightning.cli.run_start import RunStart, best_of, dump
from amif_lightning.cli.runs import LOCK_FILES, MAX_SEED, RunFolder, RunLock
from amif_lightning.cli.trainer_options import (
    LearningRate,
    MonitorCheck,
    check_trainer,
    loggers,
    replace_folder,
)
from amif_lightning.errors import UserError, first_line

# Set by the run folder, so that `best` and `last` are found again.
_FIXED = ("checkpoint.dirpath", "checkpoint.filename", "last.dirpath", "last.filename")

CLASS_HELP = """\
The options of a class: --model.help CLASS and --data.help CLASS, such as --model.help AMiFVQA or
--data.help VQARAD."""

UNTRAINED = """\
+------------------------------------------------------------------------------+
|  NO --ckpt_path: EVERY SCORE BELOW COMES FROM UNTRAINED WEIGHTS.             |
|  Give --ckpt_path best (or a file) to score what was trained.                |
+------------------------------------------------------------------------------+"""


@dataclass(frozen=True)
class Suite:
    """The classes that the parser accepts; tests pass toys."""

    model: type[LightningModule]  # base of the tasks, which have `monitor` and `mode`
    data: type[LightningDataModule]  # base of the data modules
    #: Makes the callback that writes records, from experiment, seed, folder and configuration.
    records: Callable[..., Callback]
    callbacks: Mapping[str, type[Callback]]  # further ones of every run, by key of their arguments
    show: Callable[[Path], None]  # prints the scores of a run folder


def load_suite() -> Suite:
    """Import the suite's classes, so that the parser knows their short names."""
    from amif_lightning.callbacks import AlignmentImages, AnswerImages, Dashboard, ResultWriter
    from amif_lightning.cli.commands.report import show
    from amif_lightning.tasks import pretrain, vqa
    from amif_lightning.tasks.base import AMiFTask

    assert pretrain  # imported for the short names only
    assert vqa
    return Suite(
        model=AMiFTask,
        data=data_base(),
        records=ResultWriter,
        callbacks={
            "answer_images": AnswerImages,
            "alignment_images": AlignmentImages,
            "dashboard": Dashboard,
        },
        show=show,
    )


def run(argv: Sequence[str], suite: Suite | None = None) -> AmifCLI:
    """Parse and run one of Lightning's commands; every mistake of the user is a UserError."""
    silence()
    return AmifCLI(suite or load_suite(), argv)


class AmifCLI(LightningCLI):
    """LightningCLI with run folders, named checkpoints and readable errors."""

    def __init__(self, suite: Suite, argv: Sequence[str]) -> None:
        """Parse ``argv`` and run its command (see :func:`run`)."""
        self.suite = suite
        self.argv = list(argv)
        self.parser_of_command: LightningArgumentParser
        self.run_folder: RunFolder | None = None
        self.ckpt_path: str | None = None
        self.read: dict[str, dict[str, Any]] = {}  # the checkpoint of `ckpt_path`
        self.lock: RunLock | None = None
        self.before: frozenset[Path] | None = None  # the folder's files before this call
        self.start: RunStart | None = None  # None for fast_dev_run, which writes nothing
        strict: dict[str, Any] = {"allow_abbrev": False, "exit_on_error": False}
        try:
            super().__init__(
                suite.model,
                suite.data,
                save_config_callback=None,  # RunStart saves it
                parser_kwargs={"prog": "amif-lightning", **strict, self.argv[0]: dict(strict)},
                subclass_mode_model=True,
                subclass_mode_data=True,
                auto_configure_optimizers=False,  # the tasks configure their own
                args=self.argv,
            )
        except SIGTERMException:  # a SystemExit without a code, which would mean success
            rank_zero_only(print)(f"interrupted; {self._how_to_resume()}", file=sys.stderr)
            raise SystemExit(128 + signal.SIGTERM) from None
        except SystemExit as stop:
            # After Ctrl-C Lightning tears down and exits with 1.
            if isinstance(stop.__context__, KeyboardInterrupt):
                if threading.current_thread() is threading.main_thread():
                    signal.signal(signal.SIGINT, signal.default_int_handler)  # Lightning ignores it
                raise KeyboardInterrupt(f"interrupted; {self._how_to_resume()}") from None
            raise
        except MisconfigurationException as error:  # Lightning's own class for users' mistakes
            raise UserError(" ".join(str(error).split())) from error
        except (OSError, RuntimeError, TypeError, ValueError) as error:
            sentence = state_mismatch(str(error), self.ckpt_path) if self.ckpt_path else None
            folder = None if self.run_folder is None else self.run_folder.path
            started = self.start is None or self.start.done
            if sentence is None and (reason := fault(error, folder)) is not None:
                sentence = f"{reason}; then {self._how_to_resume()}"
            if sentence is None and not started and raised_by_lightning(error):  # wrong options
                sentence = " ".join(str(error).split())
            if sentence is None:
                raise
            raise UserError(sentence) from error
        finally:
            if self.before is not None and not (self.start and self.start.done):
                assert self.run_folder is not None
                locked = LOCK_FILES if self.lock and self.lock.held else ()
                rank_zero_only(self.run_folder.forget)(self.before, *locked)
            if self.lock is not None:
                self.lock.release()

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]  # static in the base
        """Return this call's command only: the parsers of all four take half a second."""
        return {self.argv[0]: super().subcommands()[self.argv[0]]}

    # ---- the parser ---------------------------------------------------------------------------

    def add_default_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the suite's options; unlike Lightning's random default seed, the seed is fixed."""
        parser.add_argument(
            "--seed_everything", type=int, default=0, help="Seed of everything random, 0 or more."
        )
        parser.add_argument(
            "--experiment", type=str | None, help="Folder below --runs; default: data and task."
        )
        parser.add_argument("--runs", type=str, default="runs", help="Folder of all run folders.")
        parser.add_argument(
            "--overwrite",
            action="store_true",
            help="fit: delete the run that its folder holds.",
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the callbacks of every run, with arguments such as ``--checkpoint.monitor``."""
        self.parser_of_command = parser
        parser.usage = f"amif-lightning {self.argv[0]} [--config FILE ...] [options]"
        parser.epilog = CLASS_HELP
        for key, callback in self._callbacks().items():
            parser.add_lightning_class_args(callback, key)
        parser.set_defaults(
            {
                "checkpoint.enable_version_counter": False,
                "last.enable_version_counter": False,
                "last.save_on_train_epoch_end": True,
                "lr_monitor.logging_interval": "step",
            }
        )
        for key in CLASSES:  # one number seeds everything; classes without `seed` are unaffected
            parser.link_arguments("seed_everything", f"{key}.init_args.seed")

    def _callbacks(self) -> dict[str, type[Callback]]:
        # Two checkpoints: with save_last=True a single one updates last.ckpt only in epochs with a
        # new best score, and a resumed run would repeat the others.
        own = {"checkpoint": ModelCheckpoint, "last": LastCheckpoint, "lr_monitor": LearningRate}
        return {**own, **self.suite.callbacks}

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse, and reduce an error of the parser to one sentence."""
        files, words = split_configs(self.argv)
        given = given_options(files, words[1:])
        for key in CLASSES:  # a link silently drops an explicit value
            if value_at(given, [key, "init_args", "seed"]) is not None:
                raise UserError(f"{key}.init_args.seed follows --seed_everything: leave it out.")
        groups: dict[str, type] = {"trainer": Trainer, **self._callbacks()}
        check_groups(given, groups, files, words[1:])
        try:
            self.config = parser.parse_args(current_words(self.argv))
        except argparse.ArgumentError as error:
            bases = {"model": self.suite.model, "data": self.suite.data}
            parser = self.parser_of_command
            sentence = parser_error(str(error), files, words[1:], parser, bases, groups)
            raise UserError(sentence) from error
        config = self._own_config()
        if self.argv[0] == "test" and value_at(given, ["verbose"]) is None:
            part = config.trainer.limit_test_batches is not None or config.trainer.fast_dev_run
            config.verbose = bool(part)  # `Suite.show` prints the scores of a whole test
        if not 0 <= config.seed_everything <= MAX_SEED:
            raise UserError(f"--seed_everything takes a whole number from 0 to {MAX_SEED}.")
        # LightningCLI would merge the checkpoint's hyper-parameters OVER the command line and the
        # config files: `fit --ckpt_path last --model.lr 0.5` would silently run with the old rate.
        # The path is put back after that step, and `check_checkpoint` refuses a checkpoint that
        # contradicts the configuration.
        self.ckpt_path, config.ckpt_path = config.ckpt_path, None

    # ---- before the run -----------------------------------------------------------------------

    def before_instantiate_classes(self) -> None:
        """Set the run folder, the checkpoint and the selection score of the task."""
        config = self._own_config()
        self._refuse_fixed(config)
        for key, base in (("data", self.suite.data), ("model", self.suite.model)):
            if resolve_name(config[key].class_path) is base:
                raise UserError(f"no class is named for `{key}`: give --{key} CLASS or a --config.")
        data = config.data.get("init_args") or Namespace()
        if config.experiment is None:
            names = (config[key].class_path.rpartition(".")[2] for key in ("data", "model"))
            config.experiment = "-".join(names)
        self.run_folder = RunFolder.of(
            config.runs, config.experiment, _protocol(data), config.seed_everything
        )
        check_trainer(config.trainer, self.argv[0])
        replace_folder(config.trainer.logger, "", str(self.run_folder.path))
        if not config.trainer.fast_dev_run:
            rank_zero_only(self.run_folder.check_writable)()
        self.ckpt_path = config.ckpt_path = self.run_folder.checkpoint(self.ckpt_path)
        task: Any = resolve_name(config.model.class_path)
        if self.ckpt_path is not None:
            # Read once: a second copy from an address could differ.
            self.read[self.ckpt_path] = read_checkpoint(self.ckpt_path, mmap=False)
            check_checkpoint(
                self.read[self.ckpt_path],
                self.ckpt_path,
                self.argv[0],
                config.seed_everything,
                (config.model.get("init_args") or Namespace()).as_dict(),
                getattr(task, "kind", None),
            )
        if self.subcommand != "fit":
            self.run_folder.check_scored(self.argv[0], self.ckpt_path)
        if config.checkpoint.mode not in ("min", "max"):  # Lightning would not see it below
            raise UserError(f"--checkpoint.mode is {config.checkpoint.mode}: give min or max.")
        if config.checkpoint.monitor is None:
            config.checkpoint.monitor, config.checkpoint.mode = task.monitor, task.mode
        if config.trainer.num_nodes == 1:
            keep_on_loopback()
        if self.subcommand == "fit" and not config.trainer.fast_dev_run:
            # Other processes of a run start later and would see what this one has written.
            self.lock = RunLock(self.run_folder.path)
            rank_zero_only(self.lock.check)()
            rank_zero_only(self.run_folder.check_fit)(self.ckpt_path, overwrite=config.overwrite)

    def instantiate_classes(self) -> None:
        """Build data, task and Trainer, and raise a constructor's own UserError."""
        try:
            super().instantiate_classes()
        except (ImportError, ValueError) as error:
            sentence = sentence_behind(error)
            if sentence is None:
                raise
            raise UserError(sentence) from error

    def after_instantiate_classes(self) -> None:
        """Warn of untrained weights, and mark the task so that its records contain the warning."""
        if self.ckpt_path is not None:
            # The checkpoint replaces `init_from`, whose file may no longer exist.
            self.model.init_from = None
            return
        if self.subcommand == "fit" or getattr(self.model, "init_from", None) is not None:
            return
        self.model.untrained = True
        rank_zero_only(print)(UNTRAINED, file=sys.stderr)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Put logs, checkpoints and Lightning's own files into the run folder."""
        assert self.run_folder is not None
        folder = str(self.run_folder.path)
        config = self._own_config(self.config_init)
        for key, filename in (("checkpoint", "best"), ("last", "last")):
            config[key].dirpath, config[key].filename = folder, filename
        text = dump(self.parser_of_command, self._own_config(), folder)
        # Instances, not keys of the parser: their values are those of the run folder.
        self.trainer_defaults["callbacks"] = [
            self.suite.records(
                experiment=config.experiment,
                seed=config.seed_everything,
                folder=folder,
                config=yaml.safe_load(text),
            ),
            DivergenceGuard(folder),
        ]
        if not config.trainer.fast_dev_run:
            self.start = RunStart(self.run_folder, text, overwrite=config.overwrite)
            self.trainer_defaults["callbacks"].append(self.start)
        given = config.trainer.callbacks or []  # checked before they use their scores
        kwargs["callbacks"] = [MonitorCheck(), *(given if isinstance(given, list) else [given])]
        plugins = config.trainer.plugins or []
        plugins = list(plugins) if isinstance(plugins, list) else [plugins]
        kwargs.setdefault("plugins", [*plugins, WholeFileCheckpointIO(self.read)])
        kwargs.setdefault("logger", loggers(config.trainer.logger, folder))
        try:
            return super().instantiate_trainer(default_root_dir=folder, **kwargs)
        except (ImportError, RuntimeError, TypeError, ValueError) as error:
            what = f"the Trainer refuses its options: {first_line(error)}; change --trainer."
            raise UserError(what) from error

    def before_fit(self) -> None:
        """Lock the folder, after model and data were built."""
        self._remember()
        if self.lock is not None:
            rank_zero_only(self.lock.acquire)()

    def after_fit(self) -> None:
        """Print the best score, and the command that tests its checkpoint."""
        if self.start is not None and (best := best_of(self.trainer)) is not None:
            rank_zero_only(print)(f"{best}\nNext: {self._command('test', 'best')}")

    def before_validate(self) -> None:
        """Note what the folder contains, as the next two."""
        self._remember()

    before_test = before_predict = before_validate

    def after_test(self) -> None:
        """Print the scores of the run folder."""
        if self.start and self.run_folder and not self._own_config().verbose:
            rank_zero_only(self.suite.show)(self.run_folder.path)

    def _remember(self) -> None:
        if self.start is not None and self.run_folder is not None:
            self.before = self.run_folder.present()

    def _own_config(self, config: Namespace | None = None) -> Any:
        return (self.config if config is None else config)[self.argv[0]]

    def _refuse_fixed(self, config: Any) -> None:
        for name in _FIXED:
            if config.get(name) is not None:
                raise UserError(f"--{name} follows the run folder: use --runs and --experiment.")
        if config.trainer.default_root_dir is not None:
            raise UserError("--trainer.default_root_dir is the run folder here: use --runs.")
        if config.get("weights_only") is False:
            raise UserError("--weights_only false could run code from a checkpoint: leave it out.")
        if config.overwrite and self.subcommand != "fit":
            raise UserError(f"--overwrite belongs to `fit`; leave it out of `{self.subcommand}`.")

    def _how_to_resume(self) -> str:
        if self.subcommand != "fit":
            return "run the same command again"
        started = self.run_folder if self.start is not None and self.start.done else None
        name = None if started is None else started.resumable
        if name is None:
            return "run the same command again, since no checkpoint was saved"
        return f"resume with: {self._command('fit', name)}"

    def _command(self, name: str, checkpoint: str) -> str:
        words = [word for word in self.argv[1:] if word != "--overwrite"]
        # A second --ckpt_path wins over the first.
        command = [sys.executable, "-m", "amif_lightning", name, *words, "--ckpt_path", checkpoint]
        return shlex.join(command)


def _protocol(data: Namespace) -> str:
    """Return the protocol of a data module's arguments, or of the parts of a mixture."""
    protocol = data.get("protocol")
    for part in data.get("parts") or ():
        protocol = protocol or (part.get("init_args") or {}).get("protocol")
    return protocol or "clean"
