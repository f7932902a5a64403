"""Time of image loading: plain decoding, the loaders' decoding, and reduced copies.

Run ``python benchmarks/loader.py [--repeats 5] [--images 8]``. Generated JPEG files of 512, 1024
and 2500 pixels a side (grey, smooth shapes, detector noise, quality 90) are converted to squares of
``--size`` pixels (288, the paper's) in three ways, in turn, in one process:

- plain: PIL decodes the whole image, converts it to RGB and resizes it;
- draft, used by the loaders: libjpeg decodes at the smallest scale that suffices for the smallest
  crop, then the image is reduced (`decode_image`, `to_square`);
- reduced copy: the same on copies made once by ``prepare data --resize``.

It prints the images per second of one loader process (median of the repeats, files in the system's
cache) and the ratio to plain; last ``ratio: <plain time / draft time>`` of the largest images.
"""

from __future__ import annotations

import argparse
import math
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import PIL
import torch
from PIL import Image

from amif_lightning.data.files.reduced_copies import resize_all, resized_path
from amif_lightning.data.preprocessing.images import decode_image
from amif_lightning.data.preprocessing.transforms import SMALLEST_CROP, to_square

SIDES = (512, 1024, 2500)
WAYS = ("plain", "draft", "reduced copy")


def write_image(path: Path, side: int, seed: int) -> None:
    """Write a grey JPEG file that compresses like a radiograph: shapes, a gradient, some noise."""
    rng = np.random.default_rng(seed)
    across = np.linspace(-1, 1, side, dtype=np.float32)
    values = np.full((side, side), 60, dtype=np.float32) + 40 * across[:, None]
    for _ in range(12):
        x, y = rng.uniform(-0.8, 0.8, 2)
        wide, high = rng.uniform(0.05, 0.6, 2)
        inside = ((across[None] - x) / wide) ** 2 + ((across[:, None] - y) / high) ** 2
        values += rng.uniform(10, 60) * np.exp(-(inside**2))
    values += rng.normal(0, 3, (side, side)).astype(np.float32)
    Image.fromarray(values.clip(0, 255).astype(np.uint8)).save(path, "JPEG", quality=90)


def plain(path: Path, size: int) -> torch.Tensor:
    """Decode the whole image, then resize."""
    with Image.open(path) as image:
        resized = image.convert("RGB").resize((size, size), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(resized)).permute(2, 0, 1).contiguous()


def ours(path: Path, size: int) -> torch.Tensor:
    """Decode as the data sets do."""
    return to_square(decode_image(path, size), size)


def measure(
    sides: Sequence[int], size: int, images: int, repeats: int, folder: Path
) -> dict[int, dict[str, float]]:
    """Measure the median seconds per image, by side of the generated images and way.

    ``sides`` and ``size`` are in pixels: of the generated images, and of decoded images and reduced
    copies. ``images`` counts those of each size and ``repeats`` the passes over all of them.
    """
    found = {}
    for side in sides:
        files = {f"Bench/{side}/{n}.jpg": folder / f"{side}_{n}.jpg" for n in range(images)}
        for seed, path in enumerate(files.values()):
            write_image(path, side, seed)
        copies = folder / "copies"
        resize_all(files, copies, short_side=size, workers=0)
        originals, reduced = list(files.values()), [resized_path(copies, name) for name in files]
        ways: dict[str, tuple[Callable[[Path, int], torch.Tensor], list[Path]]] = {
            "plain": (plain, originals),
            "draft": (ours, originals),
            "reduced copy": (ours, reduced),
        }
        _agree(originals[0], reduced[0], size)
        times: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(repeats):
            for way, (read, paths) in ways.items():  # in turn: other load affects all ways
                start = time.perf_counter()
                for path in paths:
                    read(path, size)
                times[way].append((time.perf_counter() - start) / images)
        found[side] = {way: statistics.median(values) for way, values in times.items()}
    return found


def _agree(original: Path, copy: Path, size: int) -> None:
    """Raise if a fast way gives another image."""
    whole = plain(original, size).float()
    for read in (ours(original, size), ours(copy, size)):
        apart = (read.float() - whole).abs().mean().item()
        if apart > 6:
            raise RuntimeError(f"{original} differs by {apart:.1f} grey levels on average")


def table(found: dict[int, dict[str, float]]) -> str:
    """Format images per second by size and way, and the ratio to plain."""
    lines = [f"{'pixels':>7}" + "".join(f"{way:>24}" for way in WAYS)]
    for side, seconds in found.items():
        cells = []
        for way in WAYS:
            times = "" if way == "plain" else f" ({seconds['plain'] / seconds[way]:.1f} x plain)"
            cells.append(f"{1 / seconds[way]:.1f}/s{times}")
        lines.append(f"{side:>7}" + "".join(f"{cell:>24}" for cell in cells))
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sides", type=int, nargs="+", default=list(SIDES))
    parser.add_argument("--size", type=int, default=288, help="the network's input in pixels")
    parser.add_argument("--images", type=int, default=8, help="of each size")
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)  # one loader process
    size = math.ceil(given.size / SMALLEST_CROP**0.5)
    print(
        f"input {given.size} pixels, decoded to {size} for crops of {SMALLEST_CROP} of the area; "
        f"Pillow {PIL.__version__}, one process"
    )
    with tempfile.TemporaryDirectory() as folder:
        found = measure(given.sides, size, given.images, given.repeats, Path(folder))
    print(table(found))
    largest = found[max(found)]
    print(f"ratio: {largest['plain'] / largest['draft']:.2f}")


if __name__ == "__main__":
    main()
