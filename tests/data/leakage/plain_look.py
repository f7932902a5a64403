"""Hashes of images, each computed anew: what the store must give as well."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from amif_lightning.data.leakage.image_hash import BITS, PIXELS, Looks, look_at


def look(images: Mapping[str, Path]) -> Looks:
    """Read all images."""
    read = {name: look_at(file) for name, file in images.items()}
    found = {name: one for name, one in read.items() if isinstance(one, tuple)}
    return Looks(
        names=tuple(found),
        hashes=np.array([bits for bits, _ in found.values()], dtype=bool).reshape(-1, BITS),
        pixels=np.array([p for _, p in found.values()], dtype=np.uint8).reshape(-1, PIXELS),
        damaged={name: one for name, one in read.items() if isinstance(one, str)},
    )
