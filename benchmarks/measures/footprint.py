"""Localisation of findings by the transport plan of a trained pre-training run.

Run ``python benchmarks/measures/footprint.py --ckpt_path CHECKPOINT --root data/phantom``. For the
first test studies whose view 1 shows a finding, it computes the transport plan of the report's
words onto the image's patches, with the run's transport tokens. The rows of all tokens that name
the finding's kind are averaged and scaled to mass 1. It prints means over findings:

- inside: mass inside the stored footprint, if each patch's mass is spread evenly over its cell (the
  part of the image nearest to the patch's centre);
- area: the footprint's share of the image, which is inside for mass spread over the whole image;
- even: inside for equal mass on every patch, as for all words of a report together (balanced
  transport); it differs from area if outer patches are cut off;
- the ratio and the differences, with 95 % bootstrap intervals over images.

Controls are one other word of the same report that names no finding, drawn by the seed; and the
finding's words with the footprint of another study, of any kind and of the same kind.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor

from amif_lightning.batch import StudyBatch
from amif_lightning.callbacks.image_figures import INK, Card, cards_figure
from amif_lightning.checkpoint_file import read_checkpoint
from amif_lightning.errors import UserError
from amif_lightning.metrics.localisation import covered, found_regions
from amif_lightning.models.words import words_of
from amif_lightning.reports.analysis.statistics import (
    Interval,
    bootstrap_difference,
    bootstrap_mean,
)
from amif_lightning.tasks.pretrain import AMiFPretrain
from data_modules.phantom.module import PhantomStudies

Array = NDArray[np.float64]

_MAPS = 24  # most maps that are drawn


@dataclass(frozen=True)
class Sample:
    """One finding on one image."""

    study: str
    kind: str
    mask: NDArray[np.bool_]  # (H, W) its footprint on the image
    named: Array  # (P,) mass on the patches of the words that name it; sums to 1
    other: Array | None  # (P,) the same for one word that names no finding; None without one
    image: Tensor  # (3, h, w) the network's input


@dataclass(frozen=True)
class Measured:
    """Measures of one map and one footprint, see the module's docstring."""

    study: str
    inside: float
    area: float
    even: float


def compare(study: str, mass: Array, mask: NDArray[np.bool_], centres: Array) -> Measured:
    """Measure one map (P,) of mass 1 against one footprint (H, W)."""
    shares = covered(mask, centres)
    return Measured(study, float(mass @ shares), float(mask.mean()), float(shares.mean()))


@torch.no_grad()
def plans(task: AMiFPretrain, batch: StudyBatch) -> Array:
    """Compute plans (B, L, P) of the reports' words onto the patches of view 1."""
    states = task.text(batch.text.ids, batch.text.mask)
    plan, _ = task.local_tokens(batch.text, states, task.vision(batch.first)).plan(task.transport)
    made: Array = plan.double().cpu().numpy()
    return made


def collect(task: AMiFPretrain, data: PhantomStudies, images: int, seed: int) -> list[Sample]:
    """Collect the findings of the first ``images`` test images that show one; print the omissions.

    ``seed`` draws the other words. The task must be in evaluation mode and the data must have its
    tokenizer. A UserError is raised if no image shows a finding that its report names.
    """
    if task.tokenizer is None:
        raise UserError(
            "The checkpoint contains no tokenizer: give one that `fit` wrote as --ckpt_path."
        )
    tokenizer = Tokenizer.from_str(task.tokenizer)
    names, centres = data.region_words(), task.vision.patch_centres
    rng = np.random.default_rng(seed)
    samples: list[Sample] = []
    taken, unnamed = 0, 0
    for batch in data.test_dataloader():
        if taken >= images:
            break
        made = plans(task, batch)
        for row, name in enumerate(batch.study_ids):
            regions = data.regions(name, batch.first_ids[row])
            if not regions or taken >= images:
                continue
            words = words_of(batch.text.ids[row], batch.text.mask[row], tokenizer)
            found = found_regions(made[row], words, regions, names, centres, rng)
            masks = {region.kind: region.mask for region in regions}
            unnamed += len(regions) - len(found)
            samples += [
                Sample(
                    name,
                    one.kind,
                    masks[one.kind],
                    one.mass,
                    one.other if one.other.any() else None,
                    batch.first[row],
                )
                for one in found
            ]
            taken += bool(found)
    if not samples:
        raise UserError(
            f"No test image of {data.root} shows a finding that its report names: give the folder "
            "of a phantom data set with test studies as --root."
        )
    print(f"{len(samples)} findings on {taken} images; {unnamed} findings named by no token.")
    return samples


def lines(
    samples: Sequence[Sample],
    centres: Array,
    seed: int,
    own_map: str = "words of the finding",
    other_map: str = "another word",
) -> list[tuple[str, list[Measured]]]:
    """Measure the maps of all findings, of each kind, and the controls; the maps have titles."""

    def own(chosen: Sequence[Sample]) -> list[Measured]:
        return [compare(s.study, s.named, s.mask, centres) for s in chosen]

    made = [(own_map, own(samples))]
    for kind in dict.fromkeys(sorted(sample.kind for sample in samples)):
        made.append((f"  {kind}", own([sample for sample in samples if sample.kind == kind])))
    with_other = [(s, s.other) for s in samples if s.other is not None]
    made.append(
        (
            f"control: {other_map}",
            [compare(s.study, other, s.mask, centres) for s, other in with_other],
        )
    )
    for title, same_kind in (("any kind", False), ("the same kind", True)):
        rng = np.random.default_rng(seed)
        pairs = [(s, exchanged(samples, s, rng, same_kind=same_kind)) for s in samples]
        made.append(
            (
                f"control: another study's footprint, {title}",
                [compare(s.study, s.named, o.mask, centres) for s, o in pairs if o is not None],
            )
        )
    return made


def exchanged(
    samples: Sequence[Sample], own: Sample, rng: np.random.Generator, *, same_kind: bool
) -> Sample | None:
    """Draw a finding of another study; None if there is none."""
    others = [s for s in samples if s.study != own.study and (s.kind == own.kind or not same_kind)]
    return others[int(rng.integers(len(others)))] if others else None


def table(rows: Sequence[tuple[str, Sequence[Measured]]]) -> str:
    """Format the measures, one line for each comparison."""
    width = max(len(name) for name, _ in rows)
    heads = "".join(f"{head:>9}" for head in ("images", "inside", "area", "even"))
    wide = "".join(f"{head:<27}" for head in ("inside/area", "inside - area", "inside - even"))
    out = [f"{'':{width}}{heads}  {wide}".rstrip()]
    for name, found in rows:
        if not found:
            out.append(f"{name:{width}}{0:>9}")
            continue
        images = [each.study for each in found]
        inside, area, even = (
            [getattr(each, part) for each in found] for part in ("inside", "area", "even")
        )
        ratios = [a / b for a, b in zip(inside, area, strict=True)]
        cells = [
            f"{statistics.fmean(ratios):.2f} {_between(bootstrap_mean(ratios, images), '.2f')}"
        ]
        for other in (area, even):
            apart = statistics.fmean(inside) - statistics.fmean(other)
            interval = bootstrap_difference(inside, other, images)
            cells.append(f"{apart:+.4f} {_between(interval, '+.4f')}")
        means = "".join(f"{statistics.fmean(part):>9.4f}" for part in (inside, area, even))
        wide = "".join(f"{cell:<27}" for cell in cells)
        out.append(f"{name:{width}}{len(set(images)):>9}{means}  {wide}".rstrip())
    return "\n".join(out)


def _between(interval: Interval | None, how: str) -> str:
    if interval is None:  # too few images
        return "[-]"
    return f"[{interval.low:{how}}, {interval.high:{how}}]"


PLANS = (
    "Where the transport plan sends the words that name a finding (share of their mass on each "
    "patch), and the finding's footprint."
)


def maps(samples: Sequence[Sample], centres: Array, note: str = PLANS, side: int = 224) -> Figure:
    """Draw maps of the first findings over their images, with outlined footprints."""
    few = samples[:_MAPS]
    cards = []
    for sample in few:
        found = compare(sample.study, sample.named, sample.mask, centres)
        caption = f"inside {found.inside:.1%}, area {found.area:.1%}"
        grid = sample.named.reshape(len(centres), len(centres))
        texts = ((sample.kind, 1, INK), (caption, 1, INK))
        cards.append(Card(texts, sample.image.numpy(), grid, centres, sample.mask))
    rows = [cards[start : start + 6] for start in range(0, len(cards), 6)]
    return cards_figure(rows, side, note)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print the table; a UserError if checkpoint or data cannot be used."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--ckpt_path", type=Path, required=True, help="a run of AMiFPretrain")
    parser.add_argument("--root", type=Path, required=True, help="folder of the phantom data set")
    parser.add_argument("--images", type=int, default=50, help="most images")
    parser.add_argument("--batch", type=int, default=16, help="images encoded at once")
    parser.add_argument("--max_text_tokens", type=int, default=120, help="as in training")
    parser.add_argument("--seed", type=int, default=0, help="draws the controls")
    parser.add_argument("--image", type=Path, help="PNG file for the first maps")
    given = parser.parse_args(arguments)
    read_checkpoint(given.ckpt_path)  # for its errors
    task = AMiFPretrain.load_from_checkpoint(given.ckpt_path, map_location="cpu").eval()
    print(f"The plan is that of {task.transport_tokens} tokens.")
    data = PhantomStudies(
        str(given.root),
        image_size=task.image_size,
        max_text_tokens=given.max_text_tokens,
        eval_batch_size=given.batch,
        tokenizer="words",
        teacher="none",
        num_workers=0,
    )
    if task.tokenizer is not None:
        data.adopt_tokenizer(task.tokenizer)
    samples = collect(task, data, given.images, given.seed)
    centres = task.vision.patch_centres
    print(f"{len(centres)} x {len(centres)} patches, torch {torch.__version__}")
    print(table(lines(samples, centres, given.seed)))
    if given.image is not None:
        maps(samples, centres).savefig(given.image)
        print(f"maps in {given.image}")


if __name__ == "__main__":
    main()
