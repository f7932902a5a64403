"""A release of a few images, and what the data module prints."""

from __future__ import annotations

from pathlib import Path

import pytest

from amif_lightning.data.loading import base_module as texts
from amif_lightning.data.loading import pretrain_module as studies
from amif_lightning.data.loading import vqa_module as base
from amif_lightning.data.schema.questions import Release
from tests.data.tiny_release import tiny_release


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tiny")


@pytest.fixture(scope="module")
def release(root: Path) -> Release:
    return tiny_release(root)


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    for module in (base, studies, texts):
        monkeypatch.setattr(module, "rank_zero_info", lines.append)
    return lines
