"""How several runs answer the same validation questions, and whether they differ.

Run ``python benchmarks/measures/validation.py RUN RUN --config EXPERIMENT --config SIZE``, each RUN
a folder of seeds such as ``runs/vqa_rad-tiny/clean``. This measures trained checkpoints; it is no
benchmark of speed. The test set is neither read nor counted as scored: what is printed is for
choices, not for reporting.

The data options say whose validation questions are asked, and with whose candidates: a run that was
trained on a mixture is asked each data set's own questions and may give that set's answers only, as
in `test`. The last checkpoint of each seed answers, the one after equal steps. The best one
(``--checkpoint best``) was chosen on validation questions, so its numbers are too high by what
choosing gains; that is not the same for a run chosen on these questions and one on a mixture's.

Printed for each run: right answers of every seed, their mean, and a 95 % bootstrap interval over
images; against the first run the difference, paired by question, with its interval; how long each
seed was trained; and the most frequent answer's share, below which nothing was learned.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback

from amif_lightning.cli.data_command import build, data_parser
from amif_lightning.data.loading.vqa_module import VQADataModule
from amif_lightning.data.schema import baselines
from amif_lightning.data.schema.answers import is_correct
from amif_lightning.errors import UserError
from amif_lightning.evaluation import Prediction
from amif_lightning.reports.analysis.statistics import bootstrap_difference, bootstrap_mean
from amif_lightning.reports.render import numbers
from amif_lightning.reports.render.markdown import markdown
from amif_lightning.tasks.checkpoints import load_checkpoint, trained_seconds
from amif_lightning.tasks.vqa import AMiFVQA

HEADER = (
    "run",
    "seeds",
    "accuracy %",
    "95 % interval",
    "right of asked",
    "minus first",
    "95 %",
    "training of each seed",
)


class Answers(Callback):
    """Keeps what a validation answered.

    Attributes:
        correct: Whether each question was answered rightly, by its id.
    """

    def __init__(self) -> None:
        self.correct: dict[str, bool] = {}

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Take the batch's predictions."""
        given: list[Prediction] = outputs["predictions"]
        self.correct.update((answer.question_id, answer.correct) for answer in given)


@dataclass(frozen=True)
class Run:
    """What the seeds of one run answered.

    Attributes:
        name: The folder's name below the runs.
        correct: For each seed, in order, whether each question was answered rightly, by its id.
        seconds: How long each seed was trained; None where its checkpoint does not say.
    """

    name: str
    correct: tuple[Mapping[str, bool], ...]
    seconds: tuple[float | None, ...] = ()

    def rows(self, questions: Sequence[str]) -> list[list[bool]]:
        """(S, Q) right answers of S seeds to Q questions."""
        return [[seed[question] for question in questions] for seed in self.correct]


def answer(checkpoint: Path, data: VQADataModule) -> dict[str, bool]:
    """Ask a checkpoint all validation questions of a data set, with its candidates.

    Args:
        checkpoint: A run of :class:`AMiFVQA`.
        data: The data set.

    Returns:
        Whether each question was answered rightly, by its id.
    """
    load_checkpoint(checkpoint)  # its errors say what to do
    task = AMiFVQA.load_from_checkpoint(checkpoint, map_location="cpu")
    kept = Answers()
    trainer = L.Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
        callbacks=[kept],
    )
    trainer.validate(task, datamodule=data, ckpt_path=checkpoint, verbose=False)
    return kept.correct


def checkpoints(folder: Path, name: str = "last") -> list[Path]:
    """A checkpoint of every seed of a run.

    Args:
        folder: The run's folder of seeds.
        name: ``last`` or ``best``.

    Raises:
        UserError: If there is none.
    """
    seeds = [path for path in folder.glob(f"seed*/{name}.ckpt") if path.parent.name[4:].isdigit()]
    found = sorted(seeds, key=lambda path: int(path.parent.name[4:]))
    if not found:
        raise UserError(
            f"{folder} holds no seed<k>/{name}.ckpt: give a folder such as runs/EXPERIMENT/clean."
        )
    return found


def table(runs: Sequence[Run], images: Mapping[str, str]) -> str:
    """The runs as Markdown, the first one the baseline.

    Args:
        runs: At least one.
        images: The image of every question that was asked, by the question's id.
    """
    questions = sorted(images)
    shown = [images[question] for question in questions]
    first = runs[0].rows(questions)
    lines = []
    for run in runs:
        rows = run.rows(questions)
        right = [sum(row) for row in rows]
        apart = interval = numbers.NONE
        if run is not runs[0]:
            mean = sum(right) / len(right) - sum(map(sum, first)) / len(first)
            apart = numbers.points(mean / len(questions))
            interval = numbers.points_interval(bootstrap_difference(rows, first, shown))
        lines.append(
            (
                run.name,
                str(len(rows)),
                numbers.percent(sum(right) / (len(right) * len(questions))),
                numbers.interval(bootstrap_mean(rows, shown)),
                numbers.share_of(right, len(questions)),
                apart,
                interval,
                ", ".join(numbers.NONE if s is None else f"{s:.0f} s" for s in run.seconds),
            )
        )
    return markdown(HEADER, lines)


def floor(data: VQADataModule) -> str:
    """What the training answers alone give on the validation questions."""
    rows, train = data.splits.validation, data.splits.baseline_rows("validation")
    guesses = {
        "question-only lookup": baselines.question_only(train, rows),
        "majority answer": [baselines.majority_answer(train)] * len(rows),
    }
    parts = []
    for name, made in guesses.items():
        right = sum(is_correct(guess, row) for guess, row in zip(made, rows, strict=True))
        parts.append(f"{name} {numbers.percent(right / len(rows))} % ({right})")
    return ", ".join(parts)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print the table.

    Raises:
        UserError: If a checkpoint or the data cannot be used.
    """
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="+", help="folders that hold seed<k>/last.ckpt")
    parser.add_argument("--checkpoint", choices=("last", "best"), default="last")
    given, options = parser.parse_known_args(arguments)
    reader = data_parser("validation", "Whose questions are asked.", VQADataModule)
    data = build(reader, VQADataModule, options)[0].data
    data.prepare_data()
    runs = []
    for folder in given.runs:
        answered, seconds = [], []
        for path in checkpoints(folder, given.checkpoint):
            print(f"answering from {path}", flush=True)
            answered.append(answer(path, data))
            seconds.append(trained_seconds(load_checkpoint(path)))
        runs.append(Run(f"{folder.parent.name}/{folder.name}", tuple(answered), tuple(seconds)))
    seeds = {run.name: len(run.correct) for run in runs}
    if len(set(seeds.values())) > 1:
        raise UserError(
            f"The runs have different numbers of seeds ({seeds}): finish them, for the difference "
            "is paired by question over equal seeds."
        )
    parts = data.splits
    where = "held out from training" if parts.held_out_from_train else "released"
    print(
        f"{parts.dataset} {parts.layout} [{parts.label}], validation ({where}), "
        f"{len(parts.validation)} questions on "
        f"{len({row.image_key for row in parts.validation})} images; {floor(data)}"
    )
    print(table(runs, {row.question_id: row.image_key for row in parts.validation}))


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
