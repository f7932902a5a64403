"""What TensorBoard's *HParams* tab shows of a run: its hyper-parameters beside its final scores."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch.utils.tensorboard.summary import hparams, scalar
from torch.utils.tensorboard.writer import FileWriter

#: The folder of these events, inside the run folder. The tab takes every scalar of a folder for a
#: final score, so they cannot lie beside the curves.
FOLDER = "scores"

# Final scores beside the one that chooses checkpoints, by what their tag begins with.
_OTHERS = (
    "control/overall",
    "test/overall",
    "test/closed",
    "test/open",
    "test/precision@",
    "test/recall@",
    "test/zero_shot",
    "test/teacher_kl",
)


def final_scores(
    monitor: str, best: float | None, logged: Mapping[str, Any], *, tested: bool
) -> dict[str, float]:
    """The scores of a run by their name in the tab.

    The tab opens with the first five names in alphabetical order. What the score that chooses
    checkpoints was is therefore named after the score (``overall/test``); all others keep their
    tags, which begin with ``test/``.

    Args:
        monitor: Tag of the score that chooses checkpoints, such as ``val/overall``.
        best: Its best value in validation; None where no validation is known of.
        logged: What was logged, by tag.
        tested: Whether ``logged`` comes from a test; otherwise it is not read.

    Returns:
        Names and values.
    """
    chosen = monitor.removeprefix("val/")
    scores: dict[str, float] = {} if best is None else {f"{chosen}/best_val": best}
    if tested:
        for tag, value in logged.items():
            source, _, rest = tag.partition("/")
            if source in ("test", "control") and rest == chosen:
                scores[f"{chosen}/{source}"] = float(value)
            elif tag.startswith(_OTHERS):
                scores[tag] = float(value)
    return scores


def plain(parameters: Mapping[str, Any]) -> dict[str, float | str]:
    """Hyper-parameters as the tab can show them: numbers and texts, without Lightning's own.

    Args:
        parameters: A task's hyper-parameters.
    """
    return {
        key: value
        if isinstance(value, int | float | str) and not isinstance(value, bool)
        else str(value)
        for key, value in parameters.items()
        if not key.startswith("_")
    }


def write_scores(
    run: Path, parameters: Mapping[str, float | str], scores: Mapping[str, float], step: int
) -> None:
    """Write hyper-parameters and scores in place of those written before.

    ``TensorBoardLogger.log_hyperparams`` writes a list of columns as well. TensorBoard takes the
    columns of all runs from the first such list that it finds, so a run of another task would show
    neither its scores nor its own parameters. Without a list it gathers the columns from all runs.

    Args:
        run: The run folder.
        parameters: See :func:`plain`.
        scores: Values by name.
        step: The step that the scores are of.
    """
    folder = run / FOLDER
    # Of two files TensorBoard would believe the parameters of the first and the scores of both.
    for old in folder.glob("events.out.tfevents.*"):
        old.unlink()
    _, start, end = hparams(dict(parameters), {})
    writer = FileWriter(str(folder))
    writer.add_summary(start, step)
    for name, value in scores.items():
        writer.add_summary(scalar(name, value), step)
    writer.add_summary(end, step)
    writer.close()
