"""A task that was trained for one step, and its checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest

from amif_lightning.inference.load import restore
from amif_lightning.tasks import AMiFVQA
from data_modules.phantom.module import Phantom
from tests import small


class Saved(NamedTuple):
    """The data, and the checkpoint of a task that was trained on them."""

    data: Phantom
    path: Path


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Saved:
    return Saved(*small.saved(tmp_path_factory.mktemp("answering"), max_question_tokens=10))


@pytest.fixture(scope="module")
def restored(saved: Saved) -> AMiFVQA:
    return restore(saved.path, "cpu")
