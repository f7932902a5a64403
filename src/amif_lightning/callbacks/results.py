"""Writes the record and the predictions of a finished test, and the answers of ``predict``."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities.rank_zero import rank_zero_info

from amif_lightning.batch import Prediction, SplitFacts
from amif_lightning.reports import predictions as files
from amif_lightning.reports.files import write_atomically
from amif_lightning.reports.provenance import git_state, machine, now, package_versions
from amif_lightning.reports.record import (
    Durations,
    Floors,
    ResultRecord,
    Score,
    Scores,
    protocol_label,
    record_path,
    write_record,
)
from amif_lightning.reports.scorings import count_test_run


class ResultWriter(Callback):
    """Collects every answer of a test, checks the counts against the metric's, writes the record.

    A test leaves ``result-<split>.json`` and ``predictions-<split>.jsonl``, and counts itself in
    ``test-runs-<split>.json`` when it starts; ``predict`` leaves ``answers-<split>.jsonl``, which
    scores nothing.

    The seconds of training are carried in checkpoints, so that the record of a later `test` command
    says how long the weights it scored were trained.

    Args:
        experiment: Name of the configuration; runs that differ only in the seed share it.
        seed: The training seed.
        folder: Run folder; None takes the logger's.
        config: The configuration of this call, for the record; None takes the task's
            hyper-parameters.
    """

    def __init__(
        self,
        experiment: str = "unnamed",
        seed: int = 0,
        folder: str | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        self.experiment, self.seed, self.folder, self.config = experiment, seed, folder, config
        self._answers: list[dict[str, Prediction]] = [{}, {}]
        self._test_runs = 0
        self._seconds = [0.0, 0.0]
        self._trained = 0.0
        self._since: float | None = None

    # ---- training time ------------------------------------------------------------------------

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock."""
        self._since = time.monotonic()

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop the clock."""
        self._trained, self._since = self._train_seconds(), None

    def _train_seconds(self) -> float:
        running = 0.0 if self._since is None else time.monotonic() - self._since
        return self._trained + running

    def state_dict(self) -> dict[str, Any]:
        """Seconds trained so far."""
        return {"train_seconds": self._train_seconds()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue the count of an interrupted or finished training."""
        self._trained = float(state_dict.get("train_seconds", 0.0))

    # ---- test ---------------------------------------------------------------------------------

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Forget an earlier test, and count this one, whatever becomes of it.

        Raises:
            UserError: If the count of the run folder cannot be read or written.
        """
        self._answers, self._seconds = [{}, {}], [0.0, 0.0]
        if trainer.is_global_zero:
            self._facts = _facts(trainer)
            self._test_runs = count_test_run(self._folder(trainer), self._facts.split)
        self._last = time.monotonic()

    def on_test_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the batch's answers and add up the time of its loader."""
        self._keep(outputs["predictions"], dataloader_idx)
        present = time.monotonic()
        self._seconds[dataloader_idx] += present - self._last
        self._last = present

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Gather the answers of all processes and write both files, the record last."""
        answered = _gather(self._answers[0])
        control = _gather(self._answers[1])
        if not trainer.is_global_zero:
            return
        facts = self._facts
        needed = (answered, control) if control else (answered,)
        missing = [q for q in facts.rows if any(q not in given for given in needed)]
        if missing:
            rank_zero_info(
                f"No record written: {len(missing)} of {len(facts.rows)} test questions were not "
                f"answered (first: {missing[0]}); limit_test_batches or fast_dev_run is set."
            )
            return
        folder = self._folder(trainer)
        lines = [
            _line(question, facts, answered[question], control.get(question))
            for question in facts.rows
        ]
        scores = _tally(facts, {q: p.correct for q, p in answered.items()})
        _check_metric(scores, trainer.callback_metrics)
        record = self._record(trainer, pl_module, facts, scores, control)
        files.write_predictions(files.predictions_path(folder, facts.split), lines)
        write_record(record_path(folder, facts.split), record)
        _print_scores(record, folder)

    # ---- predict ------------------------------------------------------------------------------

    def on_predict_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Forget earlier answers."""
        self._answers = [{}, {}]

    def on_predict_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the batch's answers."""
        self._keep(outputs, dataloader_idx)

    def on_predict_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Gather the answers of all processes and write them in the release's order."""
        answered = _gather(self._answers[0])
        if not trainer.is_global_zero:
            return
        facts = _facts(trainer)
        path = answers_path(self._folder(trainer), facts.split)
        lines = [
            {
                "question_id": question,
                "image": answered[question].image_id,
                "question": row["question"],
                "answer": answered[question].answer,
                "log_likelihood": answered[question].log_likelihood,
            }
            for question, row in facts.rows.items()
            if question in answered
        ]
        write_atomically(path, "".join(json.dumps(x, ensure_ascii=False) + "\n" for x in lines))
        rank_zero_info(f"{len(lines)} of {len(facts.rows)} questions answered in {path}")

    def _keep(self, given: Sequence[Prediction], loader: int) -> None:
        self._answers[loader].update((answer.question_id, answer) for answer in given)

    def _folder(self, trainer: L.Trainer) -> Path:
        return Path(self.folder or trainer.log_dir or trainer.default_root_dir)

    # ---- the record ---------------------------------------------------------------------------

    def _record(
        self,
        trainer: L.Trainer,
        task: Any,
        facts: SplitFacts,
        scores: Scores,
        control: Mapping[str, Prediction],
    ) -> ResultRecord:
        commit, dirty = git_state()
        cuda = task.device.type == "cuda"
        by_rank = task.answer_by == "rank"
        return ResultRecord(
            experiment=self.experiment,
            dataset=facts.dataset,
            layout=facts.layout,
            protocol="literature" if facts.protocol == "literature" else "clean",
            split=facts.split,
            seed=self.seed,
            test_runs=self._test_runs,
            scores=scores,
            control=_tally(facts, {q: p.correct for q, p in control.items()}) if control else None,
            ceiling=_scores(facts.ceiling) if by_rank else None,
            floors=Floors(
                question_only=_scores(facts.floors["question_only"]),
                same_image_copy=_scores(facts.floors["same_image_copy"]),
                majority=_scores(facts.floors["majority"]),
            ),
            majority_answer=facts.majority,
            candidates=facts.candidates if by_rank else None,
            answers_from=facts.answers_from,
            method=task.answer_by,
            warnings=facts.warnings,
            config=dict(task.hparams) if self.config is None else self.config,
            versions=package_versions(),
            git_commit=commit,
            git_dirty=dirty,
            hardware=machine(
                torch.cuda.get_device_name(task.device) if cuda else None, trainer.world_size
            ),
            durations=Durations(
                train=round(self._train_seconds(), 1) or None,
                test=round(self._seconds[0], 1),
                control=round(self._seconds[1], 1) if control else None,
            ),
            checkpoint=str(trainer.ckpt_path) if trainer.ckpt_path else task.init_from,
            finished=now(),
            untrained=bool(task.untrained),
        )


def _facts(trainer: L.Trainer) -> SplitFacts:
    data: Any = trainer.datamodule  # type: ignore[attr-defined]  # set by the Trainer
    facts: SplitFacts = data.facts()
    return facts


def answers_path(folder: Path, split: str) -> Path:
    """``answers-<split>.jsonl`` inside a run folder: what ``predict`` answered."""
    return folder / f"answers-{split}.jsonl"


def _check_metric(scores: Scores, logged: Mapping[str, torch.Tensor]) -> None:
    """Refuse to record counts that the logged accuracy contradicts: one of the two has a bug."""
    for name, score in scores.items():
        value = logged.get(f"test/{name}")
        if value is not None and abs(float(value) - score.correct / score.count) > 1e-5:
            raise RuntimeError(
                f"test/{name} was logged as {float(value):.6f}, but the collected answers give "
                f"{score.correct} of {score.count}: no record is written"
            )


def _gather(mine: dict[str, Prediction]) -> dict[str, Prediction]:
    """Union over processes; a question that two of them answered is kept once."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return mine
    parts: list[dict[str, Prediction]] = [{}] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(parts, mine)
    return {question: answer for part in parts for question, answer in part.items()}


def _tally(facts: SplitFacts, correct: Mapping[str, bool]) -> Scores:
    counts: dict[str, list[int]] = {}
    for question, row in facts.rows.items():
        for name in row["strata"]:
            entry = counts.setdefault(name, [0, 0])
            entry[0] += correct[question]
            entry[1] += 1
    return {name: Score(right, total) for name, (right, total) in sorted(counts.items())}


def _scores(counts: Mapping[str, Sequence[int]]) -> Scores:
    return {name: Score(int(right), int(total)) for name, (right, total) in counts.items()}


def _line(
    question: str, facts: SplitFacts, given: Prediction, control: Prediction | None
) -> files.Prediction:
    row = facts.rows[question]
    return files.Prediction(
        question_id=question,
        qid=row["qid"],
        image=row["image_id"],
        question=row["question"],
        answer=row["answer"],
        references=tuple(row["references"]),
        prediction=given.answer,
        log_likelihood=given.log_likelihood,
        correct=given.correct,
        answer_type=row["answer_type"],
        question_type=row["question_type"],
        strata=tuple(row["strata"]),
        control_prediction=None if control is None else control.answer,
        control_correct=None if control is None else control.correct,
        floor_correct=facts.floor_correct[question],
    )


def _print_scores(record: ResultRecord, folder: Path) -> None:
    overall = record.scores["overall"]
    label = protocol_label(record.protocol, record.split, record.answers_from)
    untrained = "UNTRAINED WEIGHTS, " if record.untrained else ""
    rank_zero_info(
        f"{record.dataset} {record.split} [{label}], {untrained}test run {record.test_runs}: "
        f"{overall.correct}/{overall.count} correct; records in {folder}"
    )
