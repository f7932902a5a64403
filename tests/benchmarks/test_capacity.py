"""Memory table: lines through measured peaks, and the rows that the document shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.measures.capacity import main, rows

ROOT = Path(__file__).parents[2]


def test_a_line_through_the_peaks_gives_the_batches() -> None:
    lines = []
    for step in ("pre-training", "answering"):
        for batch in (16, 64):
            lines.append(f"| {step}: batch {batch} | ms 1; peak GiB {2 + batch / 4} | 1 |")
        lines.append(f"| {step}: encoders with activation checkpointing | peak GiB 10.0 | 1 |")
    plain, less = rows("\n".join(lines))[:2]
    # 24 GB are 22.35 GiB: (0.9 * 22.35 - 2) / 0.25 = 72.5 samples.
    assert plain == "| pre-training | 2.0 | 0.25 | 72 | 120 | 256 |"
    assert less.startswith("| pre-training, encoders checkpointed | 2.0 | 0.12 | 144 |")


def test_the_document_shows_the_printed_rows(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(ROOT / "docs" / "results" / "gpu.txt")]) == 0
    shown = (ROOT / "docs" / "cluster.md").read_text(encoding="utf-8")
    assert capsys.readouterr().out in shown
