"""Base of mixtures of data sets: parts, held-out data sets, weights."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils.data import Dataset

from amif_lightning.data.leakage.held_out import (
    DatasetImages,
    hashes_of,
    leaking_images,
    leaking_rows,
    not_compared,
)
from amif_lightning.data.loading.base_module import Row, TextDataModule
from amif_lightning.data.loading.vqa_module import VQADataModule
from amif_lightning.data.schema.questions import DroppedRow, Release, SplitName
from amif_lightning.errors import UserError
from amif_lightning.seeding import stable_seed

Sample_co = TypeVar("Sample_co", covariant=True)


class Mixed(Dataset[Sample_co]):
    """Weighted samples of several parts that are concatenated in ``data``.

    An epoch shows ``round(weight * n)`` samples of a part of n: weight 1 (the default) each once,
    0.5 a half and the other half in the next epoch, 2 each twice. A part repeats a sample only
    after showing all others, except samples that a loader drops with an incomplete batch. A part's
    epochs are consecutive slices of an endless sequence of permutations ("passes"), drawn from
    (seed, part, pass). Augmentation and drawn views change with the pass; ``data`` is indexed by
    ``(pass, index)``.

    Raises:
        UserError: If an epoch would show no sample of a part.
    """

    def __init__(
        self,
        data: Dataset[Sample_co],
        sizes: Sequence[int],
        weights: Sequence[float] | None = None,
        seed: int = 0,
    ) -> None:
        self.data, self.sizes, self.seed = data, tuple(sizes), seed
        weights = weights or [1.0] * len(sizes)
        self.shown = [round(w * size) for w, size in zip(weights, sizes, strict=True)]
        for part, number in enumerate(self.shown):
            if number < 1:
                raise UserError(
                    f"Part {part} of the mixture has {sizes[part]} samples to train on, and with "
                    f"weight {weights[part]} an epoch would show none of them: check which rows "
                    "are dropped and why, give a greater weight, or leave the part out."
                )
        self._starts = [0, *accumulate(self.sizes)]
        self._ends = list(accumulate(self.shown))
        self._orders: list[dict[int, Tensor]] = [{} for _ in self.sizes]  # by part and pass

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, key: tuple[int, int]) -> Sample_co:
        epoch, place = key
        part = bisect_right(self._ends, place)
        within = place - (self._ends[part] - self.shown[part])
        turn, position = divmod(epoch * self.shown[part] + within, self.sizes[part])
        return self.data[turn, self._starts[part] + int(self._order(part, turn)[position])]

    def _order(self, part: int, turn: int) -> Tensor:
        orders = self._orders[part]
        if turn not in orders:
            generator = torch.Generator().manual_seed(stable_seed("mix", self.seed, part, turn))
            orders[turn] = torch.randperm(self.sizes[part], generator=generator)
            # Shuffled samples need an epoch's passes in any order, so all of them are kept.
            while len(orders) > self.shown[part] // self.sizes[part] + 2:
                del orders[min(orders)]
        return orders[turn]


def check_weights(parts: int, weights: Sequence[float] | None) -> None:
    """Check that there are parts and, if given, one positive finite weight for each."""
    if parts < 1:
        raise UserError("data.init_args.parts is empty: name at least one data module.")
    if weights is None:
        return
    if len(weights) != parts:
        raise UserError(
            f"data.init_args.weights has {len(weights)} numbers for {parts} parts: give one for "
            "each, in their order."
        )
    for weight in weights:
        if not 0 < weight < float("inf"):
            raise UserError(f"data.init_args.weights holds {weight}: give numbers above 0.")


class MixtureModule(TextDataModule[Row]):
    """Base of a mixture; a subclass also inherits from the base of its kind of rows."""

    parts: Sequence[TextDataModule[Row]]
    weights: list[float] | None  # passes per epoch of each part; None: one
    held_out: list[VQADataModule]  # data sets that are scored but not trained on
    hashes: str  # folder of the image hashes

    def prepare_data(self) -> None:
        """Prepare all data sets and hash the images that are compared."""
        modules = self._modules()
        for module in modules:
            module.prepare_data()
        if len(modules) > 1:
            hashes_of(modules, self.hashes)
        super().prepare_data()

    def _modules(self) -> list[TextDataModule[Any]]:
        return [*self.parts, *self.held_out]

    def training_texts(self) -> list[str]:
        """Return the training texts of all parts, one part after the other."""
        return [text for part in self.parts for text in part.training_texts()]

    def selection(self) -> dict[str, str | int | float | bool]:
        """Return the mixture's name, each part's values as ``<data set>.<key>``, and ``held_out``.

        ``held_out`` lists, comma-separated, the held-out data sets with all images compared.
        """
        joint: dict[str, str | int | float | bool] = {"dataset": type(self).__name__}
        for part in self.parts:
            joint |= {f"{part.dataset}.{key}": value for key, value in part.selection().items()}
        whole = [m for m in self.held_out if not not_compared(m, m.released_images())]
        names = ", ".join(sorted({module.dataset for module in whole}))
        return joint | ({"held_out": names} if names else {})

    def _check_parts(self) -> None:
        """Check that no data set occurs twice, since ids begin with its name."""
        seen: dict[str, TextDataModule[Row]] = {}
        for part in self.parts:
            if isinstance(part, MixtureModule):
                raise UserError(
                    f"{type(part).__name__} is a part of a mixture and a mixture itself: name its "
                    "parts directly."
                )
            if part.dataset in seen:
                raise UserError(
                    f"Two parts of the mixture are {part.dataset} ({seen[part.dataset].root} and "
                    f"{part.root}) and would have the same ids: name every data set once."
                )
            seen[part.dataset] = part
        for module in self.held_out:
            if module.dataset in seen:
                raise UserError(
                    f"{module.dataset} is a part of the mixture and held out of it: remove it "
                    "from held_out, since no part trains on validation or test images of another."
                )

    def _joined(
        self,
        splits: dict[SplitName, tuple[Row, ...]],
        dropped: Iterable[DroppedRow],
        notes: Iterable[str],
    ) -> Release[Row]:
        releases: list[Release[Row]] = [part.release for part in self.parts]
        return Release(
            dataset=type(self).__name__,
            layout=" + ".join(f"{one.dataset} {one.layout}" for one in releases),
            splits=splits,
            absent={
                f"{one.dataset} {what}": why for one in releases for what, why in one.absent.items()
            },
            dropped=tuple(dropped),
            notes=(*(f"{one.dataset}: {note}" for one in releases for note in one.notes), *notes),
        )

    def _without_leaks(
        self, scored_by: Mapping[SplitName, Callable[[Any], Sequence[DatasetImages]]]
    ) -> tuple[dict[SplitName, list[Row]], dict[str, str]]:
        """Rows by split without images or patients of scored sets, and reasons of removed rows."""
        outside: list[DatasetImages] = [
            images for module in self.held_out for images in module.released_images()
        ]
        scored: dict[SplitName, list[Sequence[DatasetImages]]] = {
            split: [images_of(part) for part in self.parts]
            for split, images_of in scored_by.items()
        }
        modules = self._modules()
        hashes = hashes_of(modules, self.hashes) if len(modules) > 1 else None
        kept: dict[SplitName, list[Row]] = {split: [] for split in scored_by}
        leaking: dict[str, str] = {}
        for part in self.parts:
            for split, by_part in scored.items():
                rows = part.rows(split)
                compared = [*outside]
                for other, images in zip(self.parts, by_part, strict=True):
                    compared += images if other is not part else []
                found: dict[str, str] = {}
                if hashes is not None:
                    shown = part.images_in(rows)
                    reasons = leaking_images(shown.files, compared, hashes)
                    found = leaking_rows(shown, {row.row_id: row.group for row in rows}, reasons)
                kept[split].extend(r for r in rows if r.row_id not in found)
                leaking |= found
        return kept, leaking

    def _train_data(self) -> Mixed[Any]:
        """Samples of all parts, repeated by weight."""
        data = super()._train_data()
        counts = Counter(data.sources())
        sizes = [counts[part.dataset] for part in self.parts]
        return Mixed(data, sizes, self.weights, self.seed)


def folder_of(parts: Sequence[TextDataModule[Any]]) -> str:
    """Return the folder that contains all parts, for messages."""
    return os.path.commonpath([os.path.abspath(part.root) for part in parts])
