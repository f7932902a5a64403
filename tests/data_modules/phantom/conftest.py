from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from amif_lightning.data.schema.questions import SplitName
from data_modules.phantom.generate import generate

SIZES: dict[SplitName, int] = {"train": 160, "validation": 30, "test": 60}
#: Options of either data module for a set of 24, 8 and 8 studies.
SMALL: dict[str, Any] = {
    "train_studies": 24,
    "validation_studies": 8,
    "test_studies": 8,
    "tokenizer": "words",
    "image_size": 32,
    "num_workers": 0,
    "augmentation": "none",
}


@pytest.fixture(scope="session")
def phantom_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One generated data set for all tests that only read."""
    root: Path = tmp_path_factory.mktemp("phantom") / "set"
    generate(root, seed=3, studies=SIZES, progress=False)
    return root


@pytest.fixture(scope="session")
def small_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data set of the options :data:`SMALL`."""
    root: Path = tmp_path_factory.mktemp("small") / "set"
    generate(root, studies={"train": 24, "validation": 8, "test": 8}, progress=False)
    return root
