"""Compare runs on the same validation questions.

Run ``python benchmarks/measures/validation.py RUN RUN --config EXPERIMENT --config SIZE``, each RUN
a folder of seeds such as ``runs/vqa_rad-tiny/clean``. The test set is not used; the numbers are for
model selection, not for reporting.

The data options select the validation questions and candidates: a run trained on a mixture answers
each data set's questions with that set's candidates only, as in `test`. By default the last
checkpoint of each seed is used, after equal steps. The best one (``--checkpoint best``) was
selected on validation questions, so its numbers are biased upwards. The bias differs between runs
selected on these questions and runs selected on a mixture's.

For each run it prints correct answers of every seed, their mean, a 95 % bootstrap interval over
images, the paired difference from the first run with its interval, and the training time of each
seed. It also prints the question-only and majority baselines.
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

from amif_lightning.checkpoint_file import read_checkpoint
from amif_lightning.cli.data_command import build, data_parser
from amif_lightning.data.loading.vqa_module import VQADataModule
from amif_lightning.data.schema import baselines
from amif_lightning.data.schema.answers import is_correct
from amif_lightning.errors import UserError
from amif_lightning.evaluation import Prediction
from amif_lightning.reports.analysis.statistics import bootstrap_difference, bootstrap_mean
from amif_lightning.reports.render import numbers
from amif_lightning.reports.render.markdown import markdown
from amif_lightning.tasks.checkpoints import trained_seconds
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
    """Keeps the answers of a validation."""

    def __init__(self) -> None:
        self.correct: dict[str, bool] = {}  # by question id

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the batch's predictions."""
        given: list[Prediction] = outputs["predictions"]
        self.correct.update((answer.question_id, answer.correct) for answer in given)


@dataclass(frozen=True)
class Run:
    """Answers of the seeds of one run."""

    name: str  # the folder's name below the runs
    correct: tuple[Mapping[str, bool], ...]  # per seed, correctness by question id
    # training time of each seed; None if its checkpoint does not store it
    seconds: tuple[float | None, ...] = ()

    def rows(self, questions: Sequence[str]) -> list[list[bool]]:
        """Return the correct answers (S, Q) of S seeds to Q questions."""
        return [[seed[question] for question in questions] for seed in self.correct]


def answer(checkpoint: Path, data: VQADataModule) -> dict[str, bool]:
    """Answer all validation questions of a data set; return correctness by question id."""
    read_checkpoint(checkpoint)  # for its errors
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
    """Find each seed's checkpoint (``last`` or ``best``) in a run's folder; a UserError if none."""
    seeds = [path for path in folder.glob(f"seed*/{name}.ckpt") if path.parent.name[4:].isdigit()]
    found = sorted(seeds, key=lambda path: int(path.parent.name[4:]))
    if not found:
        raise UserError(
            f"{folder} contains no seed<k>/{name}.ckpt: give a folder such as "
            "runs/EXPERIMENT/clean."
        )
    return found


def table(runs: Sequence[Run], images: Mapping[str, str]) -> str:
    """Format the runs as Markdown; the first is the baseline, ``images`` are by question id."""
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


def baseline_scores(data: VQADataModule) -> str:
    """Score the baselines that use training answers only on the validation questions."""
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
    """Measure and print the table; a UserError if a checkpoint or the data cannot be used."""
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
            seconds.append(trained_seconds(read_checkpoint(path)))
        runs.append(Run(f"{folder.parent.name}/{folder.name}", tuple(answered), tuple(seconds)))
    seeds = {run.name: len(run.correct) for run in runs}
    if len(set(seeds.values())) > 1:
        raise UserError(
            f"The runs have different numbers of seeds ({seeds}), but the paired difference needs "
            "equal numbers: finish them."
        )
    parts = data.splits
    where = "held out from training" if parts.held_out_from_train else "released"
    print(
        f"{parts.dataset} {parts.layout} [{parts.label}], validation ({where}), "
        f"{len(parts.validation)} questions on "
        f"{len({row.image_key for row in parts.validation})} images; {baseline_scores(data)}"
    )
    print(table(runs, {row.question_id: row.image_key for row in parts.validation}))


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
