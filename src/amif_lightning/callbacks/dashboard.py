"""TensorBoard's layout: charts grouped by what they answer, and hyper-parameters with scores."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.trainer.states import TrainerFn

from amif_lightning.callbacks.final_scores import final_scores, plain, write_scores

Charts = dict[str, list[Any]]

_PAIRS = "(image_text|view_view|text_text)"

# A chart takes every tag that its regular expression matches from the tag's beginning on.
_ANSWERS: Charts = {
    "loss": ["Multiline", ["train/answer_loss", "val/answer_loss"]],
    "accuracy by stratum": ["Multiline", [r"val/(overall|closed.*|open.*)"]],
    "accuracy by question type": ["Multiline", [r"val/type/.*"]],
}
_KNOWLEDGE: Charts = {
    "gate mean": ["Multiline", [r"(train|val)/gate_mean"]],
    "attention on the answer's entries, and its even share": [
        "Multiline",
        [r"val/knowledge_(mass|even)"],
    ],
    "effective entries": ["Multiline", [r"val/knowledge_effective"]],
    "share of questions whose top entry is in the answer": ["Multiline", [r"val/knowledge_top"]],
}
_POINTER: Charts = {"pointer loss": ["Multiline", [r"train/knowledge_loss"]]}
_ALIGNMENT: Charts = {
    "loss of each pair": ["Multiline", [rf"train/{_PAIRS}_loss"]],
    "temperature of each pair": ["Multiline", [rf"train/{_PAIRS}_temperature"]],
}
_RETRIEVAL: Charts = {
    "precision at k": ["Multiline", [r"val/precision@\d+$"]],
    "recall at k": ["Multiline", [r"val/recall@.*"]],
    "precision by direction": ["Multiline", [r"val/(image_to_text|text_to_image)/precision@.*"]],
    "zero-shot accuracy": ["Multiline", [r"val/zero_shot.*"]],
    "divergence from the teacher": ["Multiline", [r"val/teacher_kl"]],
}
_TRANSPORT: Charts = {"loss of each view": ["Multiline", [r"train/(view_)?transport_loss"]]}
_PLANS: Charts = {
    "cost of own pairs, and how much dearer others are": [
        "Multiline",
        [r"val/transport_(own|margin)"],
    ],
    "cosine of words and patches of other pairs (1: collapsed)": [
        "Multiline",
        [r"val/transport_cosine"],
    ],
    "mass inside findings over their area (1: chance)": ["Multiline", [r"val/localisation.*"]],
}
_NEGATIVES: Charts = {
    "loss": ["Multiline", [r"train/matching_loss"]],
    "share of rows that drew one": ["Multiline", [r"train/drawn_share"]],
    "accuracy of matching": ["Multiline", [r"train/matching_accuracy"]],
    "AUC of matching on fixed pairs": ["Multiline", [r"val/matching_auc.*"]],
    "precision at 5, re-ranked by matching": ["Multiline", [r"val/precision@5(_reranked)?"]],
}
_OPTIMISER: Charts = {"learning rate": ["Multiline", [r"lr.*"]]}


class Dashboard(Callback):
    """Groups the scalars in TensorBoard's *Custom Scalars* tab and fills its *HParams* tab.

    The best validation score is carried in checkpoints, so that a later `test` command shows it
    beside its own scores.
    """

    def __init__(self) -> None:
        self._best: float | None = None

    def state_dict(self) -> dict[str, Any]:
        """The best validation score so far."""
        return {} if self._best is None else {"best": self._best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from the score that the checkpoint knows."""
        self._best = state_dict.get("best")

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the layout once."""
        logger = trainer.logger
        if trainer.is_global_zero and isinstance(logger, TensorBoardLogger):
            logger.experiment.add_custom_scalars(layout(pl_module))

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Keep the best score of training; this validation's checkpoints are written later."""
        if trainer.sanity_checking or trainer.state.fn is not TrainerFn.FITTING:
            return
        monitor, mode = selection(trainer, pl_module)
        value = float(trainer.callback_metrics.get(monitor, math.nan))
        if math.isnan(value):
            return
        better = max if mode == "max" else min
        self._best = value if self._best is None else better(value, self._best)

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Put the hyper-parameters beside the best validation score."""
        self._write(trainer, pl_module, tested=False)

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Put the hyper-parameters beside the final scores, unless a part alone was tested."""
        limit = trainer.limit_test_batches
        if isinstance(limit, float) and limit == 1.0:  # the number 1 is one batch
            self._write(trainer, pl_module, tested=True)

    def _write(self, trainer: L.Trainer, task: L.LightningModule, *, tested: bool) -> None:
        logger = trainer.logger
        if not trainer.is_global_zero or not isinstance(logger, TensorBoardLogger):
            return
        monitor, _ = selection(trainer, task)
        scores = final_scores(monitor, self._best, trainer.callback_metrics, tested=tested)
        parameters = plain(task.hparams)
        space = getattr(task, "space", None)
        if space is not None:
            parameters["protocol"] = space.protocol  # scores of two protocols do not compare
        write_scores(Path(logger.log_dir), parameters, scores, trainer.global_step)


def selection(trainer: L.Trainer, task: Any) -> tuple[str, str]:
    """The score that chooses checkpoints, and whether ``max`` or ``min`` is best.

    Args:
        trainer: Its checkpoint callbacks are asked first: the command line lets users choose.
        task: Names the score (``monitor``, ``mode``) where no callback does.
    """
    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, ModelCheckpoint) and callback.monitor is not None:
            return callback.monitor, callback.mode
    return task.monitor, task.mode


def layout(task: Any) -> dict[str, Charts]:
    """The groups of charts that a task fills, by the parts that it has.

    Args:
        task: A task. One with a ``decoder`` answers, and with ``knowledge`` reads a vocabulary, one
            with an ``alignment`` aligns, one with a ``transport`` moves words onto patches, one
            with a ``matching_head`` draws negatives; a part that is None is not there, nor are
            negatives where ``fuses`` is false.
    """
    fuses = getattr(task, "fuses", True)
    parts: dict[str, bool] = {
        name: getattr(task, name, None) is not None
        for name in ("decoder", "knowledge", "alignment", "transport", "matching_head")
    }
    groups: dict[str, Charts] = {}
    if parts["decoder"]:
        groups["answers"] = _ANSWERS
    if parts["decoder"] and parts["knowledge"]:
        pointed = bool(task.knowledge_supervision)
        groups["knowledge"] = _KNOWLEDGE | _POINTER if pointed else _KNOWLEDGE
    if parts["alignment"]:
        # A task that answers is not judged by what it retrieves.
        groups["alignment"] = _ALIGNMENT if parts["decoder"] else _ALIGNMENT | _RETRIEVAL
    if parts["transport"]:
        # A task that answers scores no plan in validation.
        groups["transport"] = _TRANSPORT if parts["decoder"] else _TRANSPORT | _PLANS
    if parts["matching_head"] and fuses:
        groups["negatives"] = _NEGATIVES
    return groups | {"optimiser": _OPTIMISER}
