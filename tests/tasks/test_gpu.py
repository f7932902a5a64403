"""Both stages on a GPU, on generated data: precision, agreement with the CPU, synchronisation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch

from amif_lightning.tasks import AMiFTask, AMiFVQA
from tests.small import SMALL, phantom, trainer
from tests.tasks.study_small import phantom_studies, pretraining

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]

STAGES = ("pre-training", "answering")
GPU: dict[str, Any] = {"accelerator": "gpu", "devices": 1}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gpu") / "phantom"


def fitted(root: Path, stage: str, **options: Any) -> tuple[L.Trainer, AMiFTask, Any]:
    """A trainer that has fitted a seeded task, with the task and its data."""
    task: AMiFTask
    data: Any
    if stage == "answering":
        torch.manual_seed(0)
        task, data = AMiFVQA(**SMALL), phantom(root, batch_size=6, eval_batch_size=6)
    else:
        task = pretraining(stage="joint", labels="soft", negatives="hard")
        data = phantom_studies(root)
    running = trainer(root.parent, num_sanity_val_steps=0, **options)
    running.fit(task, datamodule=data)
    return running, task, data


def losses(running: L.Trainer) -> dict[str, float]:
    """The losses of the last step."""
    found = running.callback_metrics
    return {name: float(found[name]) for name in found if name.endswith("loss")}


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_trains_and_is_tested_in_mixed_precision(root: Path, stage: str) -> None:
    given = GPU | {"precision": "bf16-mixed", "max_steps": 2, "limit_val_batches": 1}
    running, task, data = fitted(root, stage, **given)
    found = losses(running)
    assert found
    assert all(torch.tensor(list(found.values())).isfinite())
    assert all(values.isfinite().all() for values in task.state_dict().values())
    assert running.test(task, datamodule=data, verbose=False)[0]


@pytest.mark.parametrize("stage", STAGES)
def test_the_losses_are_those_of_the_cpu(
    root: Path, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    given: dict[str, Any] = {"max_steps": 1, "limit_val_batches": 0}
    there, here = (losses(fitted(root, stage, **given, **where)[0]) for where in (GPU, {}))
    assert there == pytest.approx(here, rel=1e-3)


class _NoSynchronisation(L.Callback):
    """Makes torch raise if a training step after the first waits for the GPU."""

    def on_train_batch_start(
        self, trainer: L.Trainer, module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx:
            torch.cuda.set_sync_debug_mode("error")

    def on_train_batch_end(self, *_: Any) -> None:
        torch.cuda.set_sync_debug_mode("default")

    def on_exception(self, *_: Any) -> None:
        torch.cuda.set_sync_debug_mode("default")


@pytest.fixture
def allowed_afterwards() -> Iterator[None]:
    yield
    torch.cuda.set_sync_debug_mode("default")


@pytest.mark.xfail(
    strict=True,
    raises=RuntimeError,
    reason="transformers reads the text mask on the host, as the transport reads its longest text",
)
@pytest.mark.usefixtures("allowed_afterwards")
@pytest.mark.parametrize("stage", STAGES)
def test_a_step_never_waits_for_the_gpu(root: Path, stage: str) -> None:
    given = GPU | {"precision": "bf16-mixed", "max_steps": 3, "limit_val_batches": 0}
    fitted(root, stage, **given, callbacks=[_NoSynchronisation()])
