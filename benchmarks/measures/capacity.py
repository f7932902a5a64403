"""Batches that fit cards of several sizes, from the measured peaks of docs/results/gpu.txt.

Run ``python benchmarks/measures/capacity.py docs/results/gpu.txt``. A peak is a fixed part plus a
part for each sample, the line through the smallest and the largest measured batch. Encoders with
activation checkpointing were measured at one batch and share the fixed part.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

CARDS = (24, 40, 80)  # GB
SHARE = 0.9  # of a card, for the step
CHECKPOINTED = 64  # batch at which the checkpointed encoders were measured


def rows(text: str) -> list[str]:
    """Return the table's rows for a text like ``gpu.txt``."""
    found = []
    for step in ("pre-training", "answering"):
        peaks = {
            int(batch): float(peak)
            for batch, peak in re.findall(rf"{step}: batch (\d+) \|.*?peak GiB ([\d.]+) ", text)
        }
        small, large = min(peaks), max(peaks)
        each = (peaks[large] - peaks[small]) / (large - small)
        fixed = peaks[small] - small * each
        (less,) = re.findall(rf"{step}: encoders with .*?peak GiB ([\d.]+) ", text)
        found.append(_row(step, fixed, each))
        name = f"{step}, encoders checkpointed"
        found.append(_row(name, fixed, (float(less) - fixed) / CHECKPOINTED))
    return found


def _row(name: str, fixed: float, each: float) -> str:
    usable = [SHARE * card * 1e9 / 2**30 - fixed for card in CARDS]
    batches = " | ".join(str(int(size / each) // 8 * 8) for size in usable)
    return f"| {name} | {fixed:.1f} | {each:.2f} | {batches} |"


def main(args: Sequence[str]) -> int:
    """Print the rows for the file that is named."""
    print("\n".join(rows(Path(args[0]).read_text(encoding="utf-8"))))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
