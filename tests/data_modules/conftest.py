"""A release of a few pictures, and what the data module prints."""

from __future__ import annotations

from pathlib import Path

import pytest

from data_modules import base, studies, texts
from data_modules.rows import Release
from tests.data_modules.tiny_release import tiny_release


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
