"""TensorBoard's layout: charts grouped by what they answer, and hyper-parameters with scores."""

from __future__ import annotations

from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger

Charts = dict[str, list[Any]]

_PAIRS = "(image_text|view_view|text_text)"

# A chart takes every tag that its regular expression matches from the tag's beginning on.
_ANSWERING: Charts = {
    "loss": ["Multiline", ["train/answer_loss", "val/answer_loss"]],
    "accuracy by stratum": ["Multiline", [r"val/(overall|closed.*|open.*)"]],
    "accuracy by question type": ["Multiline", [r"val/type/.*"]],
}
_KNOWLEDGE: Charts = {"gate mean": ["Multiline", [r".*/gate_mean"]]}
_ALIGNMENT: Charts = {
    "losses": ["Multiline", [rf"train/{_PAIRS}_loss"]],
    "temperatures": ["Multiline", [rf"train/{_PAIRS}_temperature"]],
}
_RETRIEVAL: Charts = {
    "precision": ["Multiline", [r"val/precision@.*"]],
    "recall": ["Multiline", [r"val/recall@.*"]],
    "precision by direction": ["Multiline", [r"val/(image_to_text|text_to_image)/precision@.*"]],
    "zero-shot": ["Multiline", [r"val/zero_shot.*"]],
    "divergence from the teacher": ["Multiline", [r"val/teacher_kl"]],
}
_TRANSPORT: Charts = {"losses": ["Multiline", [r"train/(view_)?transport_loss"]]}
_PLANS: Charts = {"cost of the plan": ["Multiline", [r"val/transport_cost"]]}
_NEGATIVES: Charts = {
    "loss": ["Multiline", [r"train/matching_loss"]],
    "share of rows that drew one": ["Multiline", [r"train/drawn_share"]],
    "accuracy of matching": ["Multiline", [r"(train|val)/matching_accuracy"]],
}
_OPTIMISER: Charts = {"learning rate": ["Multiline", [r"lr.*"]]}

#: What a final score begins with.
_SCORES = (
    "test/overall",
    "control/overall",
    "test/closed",
    "test/open",
    "test/precision@",
    "test/recall@",
    "test/zero_shot",
    "test/teacher_kl",
)


class Dashboard(Callback):
    """Groups the scalars in TensorBoard's *Custom Scalars* tab and fills its *HParams* tab."""

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the layout once."""
        logger = trainer.logger
        if trainer.is_global_zero and isinstance(logger, TensorBoardLogger):
            logger.experiment.add_custom_scalars(layout(pl_module))

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Put the hyper-parameters beside the final scores."""
        logger = trainer.logger
        if trainer.is_global_zero and isinstance(logger, TensorBoardLogger):
            scores = {
                name: float(value)
                for name, value in trainer.callback_metrics.items()
                if name.startswith(_SCORES)
            }
            plain: dict[str, Any] = {
                key: value if isinstance(value, int | float | str | bool) else str(value)
                for key, value in pl_module.hparams.items()
                if not key.startswith("_")
            }
            space = getattr(pl_module, "space", None)
            if space is not None:
                plain["protocol"] = space.protocol  # scores of two protocols do not compare
            logger.log_hyperparams(plain, scores)


def layout(task: Any) -> dict[str, Charts]:
    """The groups of charts that a task fills, by the parts that it has.

    Args:
        task: A task. One with a ``decoder`` answers, one with an ``alignment`` aligns, one with a
            ``transport`` moves words onto patches, one with a ``matching_head`` draws negatives; a
            part that is None is not there, nor are the last two where ``fuses`` is false.
    """
    fuses = getattr(task, "fuses", True)
    parts: dict[str, bool] = {
        name: getattr(task, name, None) is not None
        for name in ("decoder", "alignment", "transport", "matching_head")
    }
    groups: dict[str, Charts] = {}
    if parts["decoder"]:
        groups |= {"answers": _ANSWERING, "knowledge": _KNOWLEDGE}
    if parts["alignment"]:
        # A task that answers is not judged by what it retrieves.
        groups["alignment"] = _ALIGNMENT if parts["decoder"] else _ALIGNMENT | _RETRIEVAL
    if parts["transport"] and fuses:
        # A task that answers refines no plan in validation.
        groups["transport"] = _TRANSPORT if parts["decoder"] else _TRANSPORT | _PLANS
    if parts["matching_head"] and fuses:
        groups["negatives"] = _NEGATIVES
    return groups | {"optimiser": _OPTIMISER}
