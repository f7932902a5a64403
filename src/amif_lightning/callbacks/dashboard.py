"""TensorBoard layout: grouped charts, and hyper-parameters with scores."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.trainer.states import TrainerFn
from torch.utils.tensorboard.summary import hparams, scalar
from torch.utils.tensorboard.writer import FileWriter

_PAIRS = "(image_text|view_view|text_text)"

# Chart titles with regular expressions for tags, matched from the start of the tag.
_ANSWERS = {
    "loss": ["train/answer_loss", "val/answer_loss"],
    "accuracy by stratum": [r"val/(overall|closed.*|open.*)"],
    "accuracy by question type": [r"val/type/.*"],
}
_KNOWLEDGE = {
    "gate mean": [r"(train|val)/gate_mean"],
    "attention on the answer's entries, and its even share": [r"val/knowledge_(mass|even)"],
    "effective entries": [r"val/knowledge_effective"],
    "share of questions whose top entry is in the answer": [r"val/knowledge_top"],
}
_POINTER = {"pointer loss": [r"train/knowledge_loss"]}
_ALIGNMENT = {
    "loss of each pair": [rf"train/{_PAIRS}_loss"],
    "temperature of each pair": [rf"train/{_PAIRS}_temperature"],
}
_RETRIEVAL = {
    "precision at k": [r"val/precision@\d+$"],
    "recall at k": [r"val/recall@.*"],
    "precision by direction": [r"val/(image_to_text|text_to_image)/precision@.*"],
    "zero-shot accuracy": [r"val/zero_shot.*"],
    "divergence from the teacher": [r"val/teacher_kl"],
}
_TRANSPORT = {"loss of each view": [r"train/(view_)?transport_loss"]}
_PLANS = {
    "cost of own pairs, and additional cost of other pairs": [r"val/transport_(own|margin)"],
    "cosine of words and patches of other pairs (1: collapsed)": [r"val/transport_cosine"],
    "mass inside findings over their area (1: chance)": [r"val/localisation.*"],
}
_NEGATIVES = {
    "loss": [r"train/matching_loss"],
    "share of rows that drew one": [r"train/drawn_share"],
    "accuracy of matching": [r"train/matching_accuracy"],
    "AUC of matching on fixed pairs": [r"val/matching_auc.*"],
    "precision at 5, re-ranked by matching": [r"val/precision@5(_reranked)?"],
}
_OPTIMISER = {"learning rate": [r"lr.*"]}

#: Folder of the final scores inside the run folder. The *HParams* tab shows every scalar of a
#: folder as a final score, so they need a folder apart from the curves.
FOLDER = "scores"
_CONTROLS = ("control/overall", "blank/overall")
# Beginnings of the names of final scores, besides the monitored one.
_FINAL = ("overall", "closed", "open", "precision@", "recall@", "zero_shot", "teacher_kl")


class Dashboard(Callback):
    """Groups the scalars in TensorBoard's *Custom Scalars* tab and fills its *HParams* tab.

    Checkpoints contain the best validation score, which a later ``test`` command displays.
    """

    def __init__(self) -> None:
        self._best: float | None = None

    def state_dict(self) -> dict[str, Any]:
        """Best validation score so far."""
        return {} if self._best is None else {"best": self._best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the best score."""
        self._best = state_dict.get("best")

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the layout."""
        logger = trainer.logger
        if trainer.is_global_zero and isinstance(logger, TensorBoardLogger):
            logger.experiment.add_custom_scalars(layout(pl_module))

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Update the best score before checkpoints are written."""
        if trainer.sanity_checking or trainer.state.fn is not TrainerFn.FITTING:
            return
        monitor, mode = selection(trainer, pl_module)
        value = float(trainer.callback_metrics.get(monitor, math.nan))
        if math.isnan(value):
            return
        better = max if mode == "max" else min
        self._best = value if self._best is None else better(value, self._best)

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write hyper-parameters and the best validation score."""
        self._write(trainer, pl_module, tested=False)

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write hyper-parameters and final scores, unless only a part was tested."""
        limit = trainer.limit_test_batches
        if isinstance(limit, float) and limit == 1.0:  # the number 1 is one batch
            self._write(trainer, pl_module, tested=True)

    def _write(self, trainer: L.Trainer, task: L.LightningModule, *, tested: bool) -> None:
        logger = trainer.logger
        if not trainer.is_global_zero or not isinstance(logger, TensorBoardLogger):
            return
        monitor, _ = selection(trainer, task)
        scores = final_scores(monitor, self._best, trainer.callback_metrics, tested=tested)
        # The tab shows numbers and texts; keys with a leading underscore are Lightning's.
        parameters = {
            key: value if type(value) in (int, float, str) else str(value)
            for key, value in task.hparams.items()
            if not key.startswith("_")
        }
        space = getattr(task, "space", None)
        if space is not None:
            parameters["protocol"] = space.protocol  # scores of two protocols are not comparable
        write_scores(Path(logger.log_dir), parameters, scores, trainer.global_step)


def selection(trainer: L.Trainer, task: Any) -> tuple[str, str]:
    """Return the monitored score and its mode, from the checkpoint callback or else the task."""
    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, ModelCheckpoint) and callback.monitor is not None:
            return callback.monitor, callback.mode
    return task.monitor, task.mode


def layout(task: Any) -> dict[str, dict[str, list[Any]]]:
    """Group the charts of the modules that a task has."""
    answers, reads, aligns, transports, draws = (
        getattr(task, name, None) is not None
        for name in ("decoder", "knowledge", "alignment", "transport", "matching_head")
    )
    groups: dict[str, dict[str, list[str]]] = {}
    if answers:
        groups["answers"] = _ANSWERS
    if answers and reads:
        groups["knowledge"] = _KNOWLEDGE | (_POINTER if task.knowledge_supervision else {})
    if aligns:  # answering is not evaluated by retrieval
        groups["alignment"] = _ALIGNMENT if answers else _ALIGNMENT | _RETRIEVAL
    if transports:  # answering does not score plans
        groups["transport"] = _TRANSPORT if answers else _TRANSPORT | _PLANS
    if draws and getattr(task, "fuses", True):
        groups["negatives"] = _NEGATIVES
    groups["optimiser"] = _OPTIMISER
    return {
        group: {title: ["Multiline", tags] for title, tags in charts.items()}
        for group, charts in groups.items()
    }


def final_scores(
    monitor: str, best: float | None, logged: Mapping[str, Any], *, tested: bool
) -> dict[str, float]:
    """Name the scores of a run for the *HParams* tab.

    The tab opens with the alphabetically first names, so the monitored score gets a name like
    ``overall/test``; all others keep their tags.

    Args:
        monitor: Tag of the monitored score, such as ``val/overall``.
        best: Its best value in validation; None if unknown.
        logged: Logged values by tag; ignored unless ``tested``.
        tested: Whether ``logged`` comes from a test.
    """
    chosen = monitor.removeprefix("val/")
    scores: dict[str, float] = {} if best is None else {f"{chosen}/best_val": best}
    if tested:
        for tag, value in logged.items():
            source, _, rest = tag.partition("/")
            if source in ("test", "control", "blank") and rest == chosen:
                scores[f"{chosen}/{source}"] = float(value)
            elif tag in _CONTROLS or (source == "test" and rest.startswith(_FINAL)):
                scores[tag] = float(value)
    return scores


def write_scores(
    run: Path, parameters: Mapping[str, float | str], scores: Mapping[str, float], step: int
) -> None:
    """Replace the hyper-parameters and scores in the run folder.

    ``TensorBoardLogger.log_hyperparams`` is not used: it also writes a list of columns, and
    TensorBoard applies the first list to all runs and hides the columns of other tasks.
    """
    folder = run / FOLDER
    # With two files TensorBoard would show the parameters of the first and the scores of both.
    for old in folder.glob("events.out.tfevents.*"):
        old.unlink()
    _, start, end = hparams(dict(parameters), {})
    writer = FileWriter(str(folder))
    writer.add_summary(start, step)
    for name, value in scores.items():
        writer.add_summary(scalar(name, value), step)
    writer.add_summary(end, step)
    writer.close()
