"""What pre-training would see of a corpus of studies, in numbers, and whatever is not clean."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from amif_lightning.data.audit import image_check as images_check
from amif_lightning.data.audit.findings import Findings, dropped_by_reason, table
from amif_lightning.data.preprocessing.normalization import normalise
from amif_lightning.data.schema.studies import StudyRelease, StudyRow
from amif_lightning.data.schema.study_splits import NO_TEXT, StudySplits, unusable
from amif_lightning.data.schema.views import kind_of
from amif_lightning.errors import UserError

#: Tells whether a text keeps all of its words, see ``StudyDataModule.max_text_tokens``.
Fits = Callable[[str], bool]


@dataclass(frozen=True)
class StudyCounts:
    """The size of a set of studies.

    Attributes:
        studies: Number of studies.
        images: Number of distinct images.
        groups: Number of patients; studies that stand alone count as one each.
        per_study: Number of studies by their number of images.
        views: Number of images by kind of view: ``frontal``, ``lateral``, another released word,
            or ``unknown``.
        empty_texts: Studies that have images and no text to align them with.
        cut_texts: Texts that lose their ends to the token limit; None where the tokenizer is not
            at hand.
        distinct_texts: Texts that differ after normalisation.
    """

    studies: int
    images: int
    groups: int
    per_study: dict[int, int]
    views: dict[str, int]
    empty_texts: int
    cut_texts: int | None
    distinct_texts: int


@dataclass(frozen=True)
class StudyOverlap:
    """Images and groups of one set of studies that another one has as well.

    Attributes:
        first: Name of the one set.
        second: Name of the other set.
        images: Images in both.
        images_of_second: Images in the other set.
        groups: Groups (patients) in both.
        groups_of_second: Named groups in the other set.
    """

    first: str
    second: str
    images: int
    images_of_second: int
    groups: int
    groups_of_second: int


@dataclass(frozen=True, kw_only=True)
class StudyAudit(Findings):
    """The findings on studies.

    Attributes:
        sizes: Counts by name of the set: each released split, then what trains, validates, tests.
        overlaps: What sets share; a warning where a release comes that way.
    """

    kind = "studies"
    sizes: dict[str, StudyCounts]
    overlaps: tuple[StudyOverlap, ...]

    def _text(self) -> list[str]:
        columns = ("studies", "images", "groups", "empty texts", "cut texts", "distinct texts")
        rows: list[tuple[str, ...]] = [("", *columns)]
        for name, size in self.sizes.items():
            cut = "not counted" if size.cut_texts is None else str(size.cut_texts)
            numbers = (size.studies, size.images, size.groups, size.empty_texts)
            rows.append((name, *map(str, numbers), cut, str(size.distinct_texts)))
        return [
            f"{self.dataset}, layout {self.layout}, studies",
            "",
            *table(rows),
            "",
            *(f"{n}: images per study: {_listing(s.per_study)}" for n, s in self.sizes.items()),
            *(f"{n}: views: {_listing(s.views)}" for n, s in self.sizes.items()),
            "",
            *(
                f"warning: {found.images} of {found.images_of_second} {found.second} images and "
                f"{found.groups} of {found.groups_of_second} {found.second} groups also in "
                f"{found.first}"
                for found in self.overlaps
                if found.images or found.groups
            ),
        ]


def _listing(counts: dict[Any, int]) -> str:
    return ", ".join(f"{name} ({number})" for name, number in counts.items()) or "none"


def study_audit(
    release: StudyRelease, splits: StudySplits, fits: Callable[[], Fits], check_images: bool = True
) -> StudyAudit:
    """Counts, compares and judges what a pre-training run would see.

    Args:
        release: What a reader returned.
        splits: What trains, validates and tests of it.
        fits: Loads the tokenizer and returns whether a text keeps all of its words. Where it fails
            with a UserError, cut texts are not counted and a note says why.
        check_images: Whether to decode every image once (at reduced size).

    Returns:
        The findings. Absent splits and image folders are named and their checks left out.
    """
    notes = list(release.notes)
    whole: Fits | None = None
    try:
        whole = fits()
    except UserError as error:
        notes.append(f"cut texts are not counted: {error}")
    released = {f"released {name}": rows for name, rows in release.splits.items()}
    used = {"trained": splits.train, "validation": splits.validation, "test": splits.test}
    sets: dict[str, Sequence[StudyRow]] = {**released, **used}
    # Of several data sets their names stay: equal paths are different images there.
    images = {
        p.image_id.removeprefix(f"{release.dataset}/"): p.file
        for rows in sets.values()
        for row in rows
        for p in row.images
    }
    return StudyAudit(
        dataset=release.dataset,
        layout=release.layout,
        sizes={name: _counts(rows, whole) for name, rows in sets.items() if rows},
        overlaps=_overlaps(sets),
        not_clean=_not_clean(used),
        dropped=dropped_by_reason(splits.dropped),
        images=images_check.check_images(images) if check_images else None,
        absent=dict(release.absent),
        notes=tuple(notes),
    )


def _counts(rows: Sequence[StudyRow], fits: Fits | None) -> StudyCounts:
    per_study = Counter(len(row.images) for row in rows)
    # An image that several studies show is counted once.
    views = {p.image_id: kind_of(p.view) or "unknown" for row in rows for p in row.images}
    return StudyCounts(
        studies=len(rows),
        images=len(views),
        groups=len({row.hold_out_group for row in rows}),
        per_study=dict(sorted(per_study.items())),
        views=dict(Counter(views.values()).most_common()),
        empty_texts=sum(unusable(row) == NO_TEXT for row in rows),
        cut_texts=None if fits is None else sum(not fits(row.text) for row in rows),
        distinct_texts=len({normalise(row.text) for row in rows}),
    )


def _overlaps(sets: dict[str, Sequence[StudyRow]]) -> tuple[StudyOverlap, ...]:
    pairs = (
        ("released train", "validation"),
        ("released train", "test"),
        ("trained", "validation"),
        ("trained", "test"),
        ("validation", "test"),
    )
    # A held-out validation set was part of the released training split: that is no finding.
    from_train = "released validation" not in sets
    return tuple(
        _overlap(first, sets[first], second, sets[second])
        for first, second in pairs
        if sets.get(first) and sets[second]
        if not (from_train and (first, second) == ("released train", "validation"))
    )


def _overlap(
    first: str, rows: Sequence[StudyRow], second: str, others: Sequence[StudyRow]
) -> StudyOverlap:
    images, groups = _images(others), _groups(others)
    return StudyOverlap(
        first,
        second,
        images=len(_images(rows) & images),
        images_of_second=len(images),
        groups=len(_groups(rows) & groups),
        groups_of_second=len(groups),
    )


def _not_clean(used: dict[str, tuple[StudyRow, ...]]) -> list[str]:
    found = []
    for name in ("validation", "test"):
        shared = _overlap("trained", used["trained"], name, used[name])
        if shared.images:
            found.append(f"{shared.images} {name} images are in the trained studies")
        if shared.groups:
            found.append(f"{shared.groups} {name} groups (patients) are in the trained studies")
    return found


def _images(rows: Sequence[StudyRow]) -> set[str]:
    return {image.image_id for row in rows for image in row.images}


def _groups(rows: Sequence[StudyRow]) -> set[str]:
    return {row.group for row in rows if row.group}
