"""Write a run folder only once nothing can refuse the run any more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser
from lightning.pytorch.trainer.states import TrainerFn

from amif_lightning.checkpoint_file import read_checkpoint
from amif_lightning.cli.runs import RunFolder
from amif_lightning.cli.trainer_options import replace_folder
from amif_lightning.data.files.atomic import write_atomically

# Options of one call, not of the run; the saved configuration omits them, so that every
# command accepts it.
_OF_ONE_CALL = ("config", "ckpt_path", "overwrite", "verbose", "weights_only", "return_predictions")


class RunStart(Callback):
    """Save the configuration when the work begins, and handle the earlier run of the folder.

    All checks of data, task and trainer are done by then, the sanity check of ``fit`` included. The
    first process writes ``config.yaml`` for ``fit``, and for other commands if there is none yet.

    Attributes:
        done: Whether the work has begun.

    Args:
        folder: The run folder.
        config: Text of the file ``config.yaml``.
        overwrite: Whether ``fit`` deletes the earlier run; else its records are set aside.
    """

    def __init__(self, folder: RunFolder, config: str, *, overwrite: bool) -> None:
        self.done = False
        self._folder, self._config, self._overwrite = folder, config, overwrite
        self._earlier: list[Path] = folder.written()

    def on_train_batch_start(self, trainer: Trainer, *args: Any) -> None:
        """Begin ``fit``. A resume within an epoch does not start that epoch again."""
        self._begin(trainer)

    def on_train_epoch_end(self, trainer: Trainer, *args: Any) -> None:
        """Begin a ``fit`` that resumes after the last batch of an epoch."""
        self._begin(trainer)

    def on_validation_start(self, trainer: Trainer, *args: Any) -> None:
        """Begin ``validate``, or a ``fit`` that resumes before a validation."""
        if not trainer.sanity_checking:
            self._begin(trainer)

    def on_test_start(self, trainer: Trainer, *args: Any) -> None:
        """Begin ``test``."""
        self._begin(trainer)

    def on_predict_start(self, trainer: Trainer, *args: Any) -> None:
        """Begin ``predict``."""
        self._begin(trainer)

    def _begin(self, trainer: Trainer) -> None:
        if self.done:
            return
        self.done = True
        if not trainer.is_global_zero:
            return
        path = self._folder.path / "config.yaml"
        if trainer.state.fn is TrainerFn.FITTING:
            if self._overwrite:
                self._folder.clear(self._earlier)
            else:
                self._folder.set_aside()
        elif path.exists():
            return
        write_atomically(path, self._config)


def dump(parser: LightningArgumentParser, config: Namespace, folder: str) -> str:
    """Dump the merged configuration as YAML that every command and run folder accepts."""
    config = config.clone()
    replace_folder(config.trainer.logger, folder, "")
    for name in _OF_ONE_CALL:
        config.pop(name, None)
    text: str = parser.dump(config, skip_unset=False)
    return text


def best_of(trainer: Trainer) -> str | None:
    """Describe the checkpoint that the validation score chose; None if there is none.

    Only the first process reads the file: those of other machines may not see it.
    """
    if not trainer.is_global_zero:
        return None
    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, ModelCheckpoint) and callback.monitor and callback.best_model_path:
            score, path = callback.best_model_score, callback.best_model_path
            assert score is not None
            step = read_checkpoint(path)["global_step"]
            return f"Best {callback.monitor} {score:.4f} at step {step}: {path}"
    return None
