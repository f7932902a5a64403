"""Count training time and tests, and write the results of a run."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities.rank_zero import rank_zero_info

from amif_lightning.callbacks.answer_results import Answers, gather, write_answers, write_test
from amif_lightning.callbacks.retrieval_results import searches, write_search
from amif_lightning.errors import UserError
from amif_lightning.evaluation import RetrievalContext
from amif_lightning.reports.records.provenance import git_state, machine, now, package_versions
from amif_lightning.reports.records.run import Durations, RunRecord
from amif_lightning.reports.records.store import count_test_run


class ResultWriter(Callback):
    """Collects the results of a test, checks them against the logged scores, and writes them.

    A test is counted in ``test-runs-<split>.json`` when it starts. It writes
    ``result-<split>.json`` and either ``predictions-<split>.jsonl`` (answering) or
    ``studies-<split>.jsonl`` (retrieval). ``predict`` writes ``answers-<split>.jsonl`` and
    ``.csv``. Checkpoints contain the seconds of training for the records of later commands.

    Args:
        experiment: Name of the configuration; runs that differ only in the seed share it.
        seed: The training seed.
        folder: Run folder; None: the logger's.
        config: The configuration of this call for the record; None: the task's hyper-parameters.
    """

    def __init__(
        self,
        experiment: str = "unnamed",
        seed: int = 0,
        folder: str | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        self.experiment, self.seed, self.folder, self.config = experiment, seed, folder, config
        self._reset()
        self._test_runs = 0
        self._trained = 0.0
        self._since: float | None = None

    # ---- training time ------------------------------------------------------------------------

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the timer."""
        self._since = time.monotonic()

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop the timer."""
        self._trained, self._since = self._train_seconds(), None

    def _train_seconds(self) -> float:
        running = 0.0 if self._since is None else time.monotonic() - self._since
        return self._trained + running

    def state_dict(self) -> dict[str, Any]:
        """Seconds of training."""
        return {"train_seconds": self._train_seconds()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the seconds of training."""
        self._trained = float(state_dict.get("train_seconds", 0.0))

    # ---- test ---------------------------------------------------------------------------------

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Reset, and count this test even if it fails later; a UserError if counting fails."""
        self._reset()
        if trainer.is_global_zero:
            self._facts = _facts(trainer)
            if isinstance(self._facts, RetrievalContext) != searches(pl_module):
                raise TypeError(f"{type(pl_module).__name__} does not fit the data module")
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
        if not searches(pl_module):
            self._keep(outputs["predictions"], dataloader_idx)
        present = time.monotonic()
        self._seconds[dataloader_idx] += present - self._last
        self._last = present

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Gather from all processes and write both files, the record last."""
        task: Any = pl_module
        folder, logged = self._folder(trainer), trainer.callback_metrics
        if searches(task):  # scores are equal in all processes
            if trainer.is_global_zero:
                run = self._run(trainer, task)
                rank_zero_info(write_search(folder, self._facts, task.study_scores, run, logged))
            return
        given = [gather(answers) for answers in self._answers]
        if trainer.is_global_zero:
            run = self._run(trainer, task)
            rank_zero_info(write_test(folder, self._facts, given, run, task.answer_by, logged))

    # ---- predict ------------------------------------------------------------------------------

    def on_predict_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Reset; a UserError if the task answers no questions."""
        if searches(pl_module):
            raise UserError(
                f"`predict` answers questions and {type(pl_module).__name__} answers none: score "
                "it with `test`."
            )
        self._reset()

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
        """Gather the answers of all processes and write them."""
        answered = gather(self._answers[0])
        if trainer.is_global_zero:
            data: Any = trainer.datamodule  # type: ignore[attr-defined]  # set by the Trainer
            warnings_of = partial(data.tokenizer.warnings, limit=data.max_question_tokens)
            facts, folder = _facts(trainer), self._folder(trainer)
            rank_zero_info(write_answers(folder, facts, answered, warnings_of))

    def _reset(self) -> None:
        # Of the test and of its controls with shuffled and blank images.
        self._answers: list[Answers] = [{}, {}, {}]
        self._seconds = [0.0, 0.0, 0.0]

    def _keep(self, given: Any, loader: int) -> None:
        self._answers[loader].update((answer.question_id, answer) for answer in given)

    # ---- the record ---------------------------------------------------------------------------

    def _folder(self, trainer: L.Trainer) -> Path:
        return Path(self.folder or trainer.log_dir or trainer.default_root_dir)

    def _run(self, trainer: L.Trainer, task: Any) -> RunRecord:
        """Fields of the record about the run."""
        commit, dirty = git_state()
        origin = task.origin
        before = None if origin is None else origin.seconds
        gpu = torch.cuda.get_device_name(task.device) if task.device.type == "cuda" else None
        return RunRecord(
            experiment=self.experiment,
            dataset=self._facts.dataset,
            layout=self._facts.layout,
            split=self._facts.split,
            seed=self.seed,
            test_runs=self._test_runs,
            warnings=(*self._facts.warnings, *(() if origin is None else origin.warnings)),
            config=dict(task.hparams if self.config is None else self.config),
            versions=package_versions(),
            git_commit=commit,
            git_dirty=dirty,
            hardware=machine(gpu, trainer.world_size),
            durations=Durations(
                train=round(self._train_seconds(), 1) or None,
                test=round(self._seconds[0], 1),
                control=round(self._seconds[1], 1) if self._answers[1] else None,
                blank=round(self._seconds[2], 1) if self._answers[2] else None,
                before=None if before is None else round(before, 1),
            ),
            checkpoint=str(trainer.ckpt_path) if trainer.ckpt_path else task.init_from,
            finished=now(),
            untrained=bool(task.untrained),
        )


def _facts(trainer: L.Trainer) -> Any:
    """The data module's `EvaluationContext` or `RetrievalContext`."""
    data: Any = trainer.datamodule  # type: ignore[attr-defined]  # set by the Trainer
    return data.evaluation_context()
