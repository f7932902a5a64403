"""The loader benchmark at a tiny size: all ways show the same image, the output can be read."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from benchmarks import loader


def test_the_table_and_the_last_line(capsys: pytest.CaptureFixture[str]) -> None:
    loader.main(["--sides", "64", "128", "--size", "32", "--images", "2", "--repeats", "1"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["pixels", "plain", "draft", "reduced", "copy"]
    assert [line.split()[0] for line in lines[2:4]] == ["64", "128"]
    assert re.fullmatch(r"ratio: \d+\.\d\d", lines[-1])


def test_the_ratio_is_that_of_the_largest_images(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {
        8: {"plain": 1.0, "draft": 1.0, "reduced copy": 1.0},
        9: {"plain": 6.0, "draft": 2.0, "reduced copy": 0.5},
    }
    monkeypatch.setattr(loader, "measure", lambda *_: found)
    loader.main([])
    printed = capsys.readouterr().out
    assert printed.splitlines()[-1] == "ratio: 3.00"
    assert "(12.0 x plain)" in printed


def test_another_image_stops_the_benchmark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader, "ours", lambda path, size: torch.zeros(3, size, size))
    with pytest.raises(RuntimeError, match="grey levels"):
        loader.measure([64], 32, 1, 1, tmp_path)
