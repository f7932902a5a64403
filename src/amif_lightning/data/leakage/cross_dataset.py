"""Audit across data sets: which training images occur in another data set's splits."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, get_args

from amif_lightning.data.audit.findings import NAMED, table
from amif_lightning.data.leakage.dataset_images import ComparedDataset, DatasetImages
from amif_lightning.data.leakage.image_hash import (
    Look,
    Looks,
    content_pairs,
    name_pairs,
    unit,
)
from amif_lightning.data.schema.questions import SplitName


def across(module: ComparedDataset, held_out: Sequence[ComparedDataset], look: Look) -> Across:
    """Find images that would train and that other data sets hold.

    Within one data set images are the same if their paths are; between two, if their file names
    are, whatever the folder and the ending, or if they look the same.

    Args:
        module: What would train.
        held_out: Data sets that the weights will be scored on.
        look: Computes the perceptual hashes, such as ``HashStore(...).look``.

    Returns:
        The findings, with train splits of ``held_out`` apart.

    Raises:
        UserError: If a release cannot be read.
    """
    trained = module.trained_images()
    seen = look(trained.files)
    found = []
    for other in held_out:
        splits = {name: other.images_of(name) for name in get_args(SplitName)}
        theirs = look({name: f for one in splits.values() for name, f in one.files.items()})
        found.append(
            HeldOutAcross(
                dataset=other.dataset,
                kind=other.kind,
                splits={
                    name: shared(trained, one, seen, theirs)
                    for name, one in splits.items()
                    if one.files
                },
                unread=len(theirs.damaged),
                absent={
                    what: sentence
                    for what, sentence in other.absent.items()
                    if what in ("validation", "test") and not splits[what].files
                },
            )
        )
    return Across(
        dataset=module.dataset,
        protocol=module.protocol_label,
        trained=len(trained.files),
        unread=len(seen.damaged),
        held_out=tuple(found),
    )


def shared(
    trained: DatasetImages, held_out: DatasetImages, seen: Looks, theirs: Looks
) -> SplitAcross:
    """Compare two sets of images.

    Args:
        trained: What trains.
        held_out: A split of another data set.
        seen: What the images that train look like.
        theirs: What those of the other data set look like, further splits included.

    Returns:
        The pairs and what they concern.
    """
    named = _named(trained.files, held_out.files)
    alike = {(p.first, p.second): p for p in content_pairs(seen, theirs.only(held_out.files))}
    apart = _apart(named - alike.keys(), seen, theirs)
    pairs = []
    for key in sorted(named | alike.keys()):
        pair = alike.get(key)
        bits, correlation = (pair.bits, pair.correlation) if pair else apart.get(key, (None, None))
        pairs.append(SharedImage(*key, key in named, pair is not None, bits, correlation))

    def extent(some: Iterable[SharedImage]) -> Extent:
        some = list(some)
        images = {pair.held_out for pair in some}
        rows = {row for image in images for row in held_out.rows[image]}
        return Extent(len({pair.trained for pair in some}), len(images), len(rows))

    return SplitAcross(
        images=len(held_out.files),
        rows=len({row for rows in held_out.rows.values() for row in rows}),
        by_name=extent(pair for pair in pairs if pair.by_name),
        by_content=extent(pair for pair in pairs if pair.by_content),
        either=extent(pairs),
        pairs=tuple(pairs),
    )


def _named(trained: Iterable[str], held_out: Iterable[str]) -> set[tuple[str, str]]:
    """Pairs of names that mean the same image, each data set with each."""
    pairs = set()
    for one, paths in _by_dataset(trained).items():
        for other, others in _by_dataset(held_out).items():
            # Names count anew in each split of one data set, so there the whole path decides.
            same = (
                [(path, path) for path in set(paths) & set(others)]
                if one == other
                else name_pairs(paths, [others])
            )
            pairs |= {(f"{one}/{a}", f"{other}/{b}") for a, b in same}
    return pairs


def _by_dataset(names: Iterable[str]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = defaultdict(list)
    for name in names:
        dataset, _, path = name.partition("/")
        groups[dataset].append(path)
    return groups


def _apart(
    pairs: Iterable[tuple[str, str]], seen: Looks, theirs: Looks
) -> dict[tuple[str, str], tuple[int, float]]:
    """Bits and correlation of pairs of equal name that do not look the same."""
    first = {name: place for place, name in enumerate(seen.names)}
    second = {name: place for place, name in enumerate(theirs.names)}
    found = {}
    for one, other in pairs:
        if one in first and other in second:
            a, b = first[one], second[other]
            correlation = float(unit(seen.pixels[a]) @ unit(theirs.pixels[b]))
            found[one, other] = (int((seen.hashes[a] ^ theirs.hashes[b]).sum()), correlation)
    return found


@dataclass(frozen=True)
class SharedImage:
    """An image that trains and one of a held-out set that is the same or looks the same.

    Attributes:
        trained: ``<data set>/<path>`` of the one that trains.
        held_out: The same of the held-out one.
        by_name: Whether they are found by file name.
        by_content: Whether they are found by what they look like.
        bits: Number of bits in which their perceptual hashes differ; None where not compared.
        correlation: Correlation of their small copies; None where not compared.
    """

    trained: str
    held_out: str
    by_name: bool
    by_content: bool
    bits: int | None
    correlation: float | None


@dataclass(frozen=True)
class Extent:
    """How much is concerned.

    Attributes:
        trained: Images that train.
        images: Images of the held-out set.
        rows: Questions, or studies, of the held-out set that show them.
    """

    trained: int
    images: int
    rows: int


@dataclass(frozen=True)
class SplitAcross:
    """What one split of a held-out data set shares with the images that train.

    Attributes:
        images: Number of its images.
        rows: Number of its questions or studies.
        by_name: What is found by file name.
        by_content: What is found by what it looks like.
        either: What is found in one way or both.
        pairs: All pairs.
    """

    images: int
    rows: int
    by_name: Extent
    by_content: Extent
    either: Extent
    pairs: tuple[SharedImage, ...]


@dataclass(frozen=True)
class HeldOutAcross:
    """What one held-out data set shares with the images that train.

    Attributes:
        dataset: Its name.
        kind: What its rows are.
        splits: By split. ``test`` holds all that is released for scoring or scored by this data
            module; ``train`` what is left, of which another split seed holds out other rows for
            validation.
        unread: Its images that are not on disk or damaged, and told by name only.
        absent: Splits that are not on disk, each with its sentence.
    """

    dataset: str
    kind: str
    splits: dict[SplitName, SplitAcross]
    unread: int
    absent: dict[str, str]


@dataclass(frozen=True)
class Across:
    """The findings.

    Attributes:
        dataset: Name of the data set that trains.
        protocol: Its protocol.
        trained: Number of images that it trains on.
        unread: Those that are not on disk or damaged, and told by name only.
        held_out: By held-out data set, in the order given.
    """

    dataset: str
    protocol: str
    trained: int
    unread: int
    held_out: tuple[HeldOutAcross, ...]

    @property
    def leaks(self) -> int:
        """Number of trained images that a held-out validation or test set shows."""
        return len(
            {
                pair.trained
                for one in self.held_out
                for name, split in one.splits.items()
                if name != "train"
                for pair in split.pairs
            }
        )

    @property
    def failed(self) -> bool:
        """Whether something must be mended: such an image under the protocol ``clean``."""
        return self.protocol == "clean" and self.leaks > 0

    def to_json(self) -> str:
        """Gives the findings with all pairs as indented JSON text."""
        fields: dict[str, Any] = asdict(self) | {"leaks": self.leaks, "failed": self.failed}
        return json.dumps(fields, indent=2, ensure_ascii=False)

    def to_text(self) -> str:
        """Gives the findings as a page for the terminal, without a final line break."""
        lines = [f"across data sets: {self.dataset} trains on {self.trained} images", ""]
        for one in self.held_out:
            lines += _held_out_text(one)
        if self.unread:
            lines.append(f"{self.unread} trained images cannot be read and are told by name only")
        if self.leaks:
            lines.append(
                f"NOT CLEAN ({self.protocol}): {self.leaks} trained images are in a held-out "
                "validation or test set: leave them out of training (`held_out` of "
                "CaptionsFromQA, Mixture and QuestionMixture does) or score elsewhere"
            )
        else:
            lines.append("clean: no trained image found in a held-out validation or test set")
        return "\n".join(lines)


def _held_out_text(one: HeldOutAcross) -> list[str]:
    rows = [(f"in {one.dataset}", "found", "trained images", "its images", f"its {one.kind}")]
    named = []
    for name, split in one.splits.items():
        for way in ("by_name", "by_content", "either"):
            extent: Extent = getattr(split, way)
            numbers = (
                str(extent.trained),
                f"{extent.images}/{split.images}",
                f"{extent.rows}/{split.rows}",
            )
            rows.append((name, way.replace("_", " "), *numbers))
        named += [f"{name}: {pair.trained} = {pair.held_out}" for pair in split.pairs[:NAMED]]
        if len(split.pairs) > NAMED:
            named.append(f"{name}: {len(split.pairs) - NAMED} further pairs, listed by --json")
    lines = [*table(rows), *named]
    lines += [f"absent: {what} of {one.dataset}: {why}" for what, why in one.absent.items()]
    if one.unread:
        lines.append(f"{one.unread} images of {one.dataset} cannot be read: told by name only")
    if (train := one.splits.get("train")) and train.pairs:
        lines.append(
            f"warning: another split seed holds out other training rows of {one.dataset} for "
            f"validation, and {train.either.images} of their images are trained on"
        )
    return [*lines, ""]
