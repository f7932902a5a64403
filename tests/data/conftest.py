"""Releases of a few images, and the lines that the data modules print."""

from __future__ import annotations

from pathlib import Path

import pytest

from amif_lightning.data.loading import base_module, pretrain_module, vqa_module
from amif_lightning.data.schema.questions import Release
from amif_lightning.data.schema.studies import StudyRelease
from tests.data.tiny_release import tiny_release
from tests.data.tiny_studies import tiny_studies


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tiny")


@pytest.fixture(scope="module")
def release(root: Path) -> Release:
    return tiny_release(root)


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> StudyRelease:
    return tiny_studies(tmp_path_factory.mktemp("studies"))


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    for module in (base_module, pretrain_module, vqa_module):
        monkeypatch.setattr(module, "rank_zero_info", lines.append)
    return lines
