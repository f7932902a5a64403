"""Fixtures shared by all tests: no network, real data only when its folder is named."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

# Hubs are out of bounds in tests; with these set a forgotten download fails at once and clearly.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
# One thread each: the tests are small, and threads that wait for a core shared with other work made
# the suite three times as slow.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture
def two_threads() -> Iterator[None]:
    """As a run on two cores has: what threads add in any order is seen."""
    import torch  # after the variables above

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def limit_files() -> Iterator[Callable[[int], None]]:
    """Sets the largest size of a file in bytes: the system reports it as it does a full disk."""
    import resource  # POSIX only

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of the real data sets, named by the variable AMIF_DATA."""
    folder = os.environ.get("AMIF_DATA")
    if not folder:
        pytest.skip("real data: set AMIF_DATA to a folder with vqa_rad/, vqa_med_2019/ and slake/")
    return Path(folder).resolve()
