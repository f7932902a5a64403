"""Generated studies, made once for each file."""

from __future__ import annotations

import pytest

from amif_lightning.batch import StudyBatch
from data_modules.phantom.module import PhantomStudies
from tests.tasks.study_small import first_batch, phantom_studies


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PhantomStudies:
    return phantom_studies(tmp_path_factory.mktemp("studies") / "phantom")


@pytest.fixture(scope="module")
def batch(data: PhantomStudies) -> StudyBatch:
    return first_batch(data)
