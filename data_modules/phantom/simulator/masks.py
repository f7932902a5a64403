"""Masks of an image as runs of pixels, short enough for a line of text."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from data_modules.phantom.simulator.geometry import IMAGE_SIZE


def encode_runs(mask: NDArray[np.bool_]) -> list[int]:
    """Encode a mask (H, W) as start, length, start, length ... over its flattened pixels."""
    padded = np.concatenate([[0], mask.reshape(-1).astype(np.int8), [0]])
    edges = np.flatnonzero(np.diff(padded))
    starts, stops = edges[::2], edges[1::2]
    runs: list[int] = np.stack([starts, stops - starts], axis=1).reshape(-1).tolist()
    return runs


def decode_runs(runs: Iterable[int]) -> NDArray[np.bool_]:
    """Undo :func:`encode_runs` for a mask of the images' size (112, 112)."""
    mask = np.zeros(IMAGE_SIZE * IMAGE_SIZE, dtype=np.bool_)
    values = list(runs)
    for start, length in zip(values[::2], values[1::2], strict=True):
        mask[start : start + length] = True
    return mask.reshape(IMAGE_SIZE, IMAGE_SIZE)
