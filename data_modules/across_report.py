"""What an audit across data sets found, as text and JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

from data_modules.audit_text import NAMED, table
from data_modules.rows import SplitName
from data_modules.scored_pictures import Compare

Kind = Literal["questions", "studies"]


@dataclass(frozen=True)
class SharedPicture:
    """A picture that trains and one of a held-out set that is the same or looks the same.

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
        trained: Pictures that train.
        images: Pictures of the held-out set.
        rows: Questions, or studies, of the held-out set that show them.
    """

    trained: int
    images: int
    rows: int


@dataclass(frozen=True)
class SplitAcross:
    """What one split of a held-out data set shares with the pictures that train.

    Attributes:
        images: Number of its pictures.
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
    pairs: tuple[SharedPicture, ...]


@dataclass(frozen=True)
class HeldOutAcross:
    """What one held-out data set shares with the pictures that train.

    Attributes:
        dataset: Its name.
        kind: What its rows are.
        splits: By split. ``test`` holds all that is released for scoring or scored by this data
            module; ``train`` what is left, of which another split seed carves other rows for
            validation.
        unread: Its pictures that are not on disk or damaged, and told by name only.
        absent: Splits that are not on disk, each with its sentence.
    """

    dataset: str
    kind: Kind
    splits: dict[SplitName, SplitAcross]
    unread: int
    absent: dict[str, str]


@dataclass(frozen=True)
class Across:
    """The findings.

    Attributes:
        dataset: Name of the data set that trains.
        protocol: Its protocol.
        trained: Number of pictures that it trains on.
        unread: Those that are not on disk or damaged, and told by name only.
        compare: ``content``: by name and by what pictures look like; ``name``: by name only.
        held_out: By held-out data set, in the order given.
    """

    dataset: str
    protocol: str
    trained: int
    unread: int
    compare: Compare
    held_out: tuple[HeldOutAcross, ...]

    @property
    def leaks(self) -> int:
        """Number of trained pictures that a held-out validation or test set shows."""
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
        """Whether something must be mended: such a picture under the protocol ``clean``."""
        return self.protocol == "clean" and self.leaks > 0

    def to_json(self) -> str:
        """Gives the findings with all pairs as indented JSON text."""
        fields: dict[str, Any] = asdict(self) | {"leaks": self.leaks, "failed": self.failed}
        return json.dumps(fields, indent=2, ensure_ascii=False)

    def to_text(self) -> str:
        """Gives the findings as a page for the terminal, without a final line break."""
        lines = [f"across data sets: {self.dataset} trains on {self.trained} pictures", ""]
        for one in self.held_out:
            lines += _held_out_text(one, self.compare)
        if self.unread:
            lines.append(f"{self.unread} trained pictures cannot be read and are told by name only")
        if self.leaks:
            lines.append(
                f"NOT CLEAN ({self.protocol}): {self.leaks} trained pictures are in a held-out "
                "validation or test set: leave them out of training (`held_out` of "
                "CaptionsFromQA, Mixture and QuestionMixture does) or score elsewhere"
            )
        else:
            lines.append("clean: no trained picture found in a held-out validation or test set")
        return "\n".join(lines)


def _held_out_text(one: HeldOutAcross, compare: Compare) -> list[str]:
    ways = ("by_name", "by_content", "either") if compare == "content" else ("by_name",)
    rows = [(f"in {one.dataset}", "found", "trained pictures", "its images", f"its {one.kind}")]
    named = []
    for name, split in one.splits.items():
        for way in ways:
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
        lines.append(f"{one.unread} pictures of {one.dataset} cannot be read: told by name only")
    if (train := one.splits.get("train")) and train.pairs:
        lines.append(
            f"warning: another split seed carves other training rows of {one.dataset} for "
            f"validation, and {train.either.images} of their images are trained on"
        )
    return [*lines, ""]
