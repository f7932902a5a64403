from __future__ import annotations

from pathlib import Path

import pytest

from amif_lightning.data.schema.questions import SplitName
from data_modules.phantom.generate import generate

SIZES: dict[SplitName, int] = {"train": 160, "validation": 30, "test": 60}


@pytest.fixture(scope="session")
def phantom_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One small generated data set for all tests that only read."""
    root: Path = tmp_path_factory.mktemp("phantom") / "set"
    generate(root, seed=3, studies=SIZES, progress=False)
    return root
