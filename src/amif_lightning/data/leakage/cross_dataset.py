"""Audit across data sets: find training images in another data set's splits."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, get_args

from amif_lightning.data.audit.findings import NAMED, table
from amif_lightning.data.leakage.held_out import DatasetImages
from amif_lightning.data.leakage.image_hash import Look, Looks, content_pairs, name_pairs, unit
from amif_lightning.data.schema.questions import SplitName
from amif_lightning.errors import printable


@dataclass(frozen=True)
class SharedImage:
    """A training image and an equal or near-duplicate held-out image, ``<data set>/<path>``."""

    trained: str
    held_out: str
    by_name: bool  # equal file names
    by_content: bool  # near-duplicates
    bits: int | None  # differing bits of the perceptual hashes; None: not compared
    correlation: float | None  # of the small copies; None: not compared


@dataclass(frozen=True)
class Extent:
    """Numbers of training images, held-out images and the held-out rows with these images."""

    trained: int
    images: int
    rows: int


@dataclass(frozen=True)
class SplitAcross:
    """The overlap of one split of a held-out data set with the training images."""

    images: int  # number of its images
    rows: int  # number of its questions or studies
    by_name: Extent
    by_content: Extent
    either: Extent
    pairs: tuple[SharedImage, ...]


@dataclass(frozen=True)
class HeldOutAcross:
    """The overlap of one held-out data set with the training images.

    The split ``test`` holds all rows that are released for testing or scored by this data module;
    ``train`` holds the rest, which depends on the split seed.
    """

    dataset: str
    kind: str  # "questions" or "studies"
    splits: dict[SplitName, SplitAcross]
    unread: int  # missing or damaged images, compared by name only
    absent: dict[str, str]  # a sentence for each split that is not on disk


@dataclass(frozen=True)
class Across:
    """The findings on a training data set."""

    dataset: str
    protocol: str
    trained: int  # number of training images
    unread: int  # missing or damaged ones, compared by name only
    held_out: tuple[HeldOutAcross, ...]

    @property
    def leaks(self) -> int:
        """Number of training images found in a held-out validation or test set."""
        scored = (s for one in self.held_out for n, s in one.splits.items() if n != "train")
        return len({pair.trained for split in scored for pair in split.pairs})

    @property
    def failed(self) -> bool:
        """Whether there are leaks, unless under `literature`."""
        return self.leaks > 0 and not self.protocol.startswith("literature")

    def to_json(self) -> str:
        """Return the findings with all pairs as indented JSON."""
        fields: dict[str, Any] = asdict(self) | {"leaks": self.leaks, "failed": self.failed}
        return printable(json.dumps(fields, indent=2, ensure_ascii=False), keep="\n")

    def to_text(self) -> str:
        """Return the findings as terminal text without a final line break."""
        lines = [f"across data sets: {self.dataset} trains on {self.trained} images", ""]
        for one in self.held_out:
            lines += _held_out_text(one)
        if self.unread:
            lines.append(f"{self.unread} trained images cannot be read: compared by name only")
        if self.leaks:
            lines.append(
                f"NOT CLEAN ({self.protocol}): {self.leaks} trained images are in a held-out "
                "validation or test set: leave them out of training (`held_out` of "
                "CaptionsFromQA, Mixture and QuestionMixture does) or score elsewhere"
            )
        else:
            lines.append("clean: no trained image found in a held-out validation or test set")
        return "\n".join(map(printable, lines))


def across(module: Any, held_out: Sequence[Any], look: Look) -> Across:
    """Find training images of a data module in others; unreadable releases raise a UserError.

    Within one data set images match by path. Between two data sets they match by file name,
    whatever the folder and the suffix, or as near-duplicates.
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
    """Compare the training images with a split of another data set, given the hashes of both."""
    named = _named(trained.files, held_out.files)
    similar = {(p.first, p.second): p for p in content_pairs(seen, theirs, held_out=held_out.files)}
    places = [{name: place for place, name in enumerate(looks.names)} for looks in (seen, theirs)]
    pairs = []
    for key in sorted(named | similar.keys()):
        bits = correlation = None
        if key in similar:
            bits, correlation = similar[key].bits, similar[key].correlation
        elif key[0] in places[0] and key[1] in places[1]:  # equal names, but different images
            a, b = places[0][key[0]], places[1][key[1]]
            bits = int((seen.hashes[a] ^ theirs.hashes[b]).sum())
            correlation = float(unit(seen.pixels[a]) @ unit(theirs.pixels[b]))
        pairs.append(SharedImage(*key, key in named, key in similar, bits, correlation))

    def extent(some: list[SharedImage]) -> Extent:
        images = {pair.held_out for pair in some}
        rows = {row for image in images for row in held_out.rows[image]}
        return Extent(len({pair.trained for pair in some}), len(images), len(rows))

    return SplitAcross(
        images=len(held_out.files),
        rows=len({row for rows in held_out.rows.values() for row in rows}),
        by_name=extent([pair for pair in pairs if pair.by_name]),
        by_content=extent([pair for pair in pairs if pair.by_content]),
        either=extent(pairs),
        pairs=tuple(pairs),
    )


def _named(trained: Iterable[str], held_out: Iterable[str]) -> set[tuple[str, str]]:
    """Pairs of images with equal names, for each pair of data sets."""
    pairs = set()
    for one, paths in _by_dataset(trained).items():
        for other, others in _by_dataset(held_out).items():
            # Splits of one data set may reuse file numbers, so its images match by whole path.
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
        lines.append(f"{one.unread} images of {one.dataset} cannot be read: compared by name only")
    if (train := one.splits.get("train")) and train.pairs:
        lines.append(
            f"warning: another split seed holds out other training rows of {one.dataset} for "
            f"validation, and {train.either.images} of their images are trained on"
        )
    return [*lines, ""]
