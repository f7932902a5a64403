"""The answering task on generated data, made once for the files that ask questions of it."""

from __future__ import annotations

import pytest

from amif_lightning.batch import VQABatch
from amif_lightning.tasks import AMiFVQA
from data_modules.phantom.module import Phantom
from tests.small import phantom, ready


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Phantom:
    root = tmp_path_factory.mktemp("vqa") / "phantom"
    return phantom(root, batch_size=6, eval_batch_size=6, questions_per_image=2)


@pytest.fixture(scope="module")
def task(data: Phantom) -> AMiFVQA:
    return ready(data)


@pytest.fixture(scope="module")
def batch(task: AMiFVQA, data: Phantom) -> VQABatch:
    """Test questions, as the task's set-up encodes them."""
    loaded: VQABatch = next(iter(data.test_dataloader()[0]))
    return loaded
