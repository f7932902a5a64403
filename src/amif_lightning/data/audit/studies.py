"""Audit of studies: statistics of a corpus, and every leak in its training studies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from amif_lightning.data.audit.findings import Findings, dropped_by_reason, image_check, table
from amif_lightning.data.preprocessing.images import MAX_PIXELS
from amif_lightning.data.preprocessing.normalization import normalise
from amif_lightning.data.schema.studies import (
    NO_TEXT,
    StudyRelease,
    StudyRow,
    StudySplits,
    kind_of,
    unusable,
)
from amif_lightning.errors import UserError

#: Whether a text fits into ``StudyDataModule.max_text_tokens``.
Fits = Callable[[str], bool]


@dataclass(frozen=True)
class StudyCounts:
    """The size of a set of studies."""

    studies: int
    images: int  # distinct ones
    groups: int  # patients; studies without a patient count as one each
    per_study: dict[int, int]  # number of studies by number of images
    views: dict[str, int]  # number of images by frontal, lateral, another released word, unknown
    empty_texts: int  # studies with images and without a text
    cut_texts: int | None  # by the token limit; None: the tokenizer is not available
    distinct_texts: int  # after normalisation


@dataclass(frozen=True)
class StudyOverlap:
    """Numbers of images and groups (patients) shared by two sets, and of those in the second."""

    first: str
    second: str
    images: int
    images_of_second: int
    groups: int
    groups_of_second: int


@dataclass(frozen=True, kw_only=True)
class StudyAudit(Findings):
    """The findings on studies."""

    kind = "studies"
    sizes: dict[str, StudyCounts]  # released splits, then trained, validation and test studies
    overlaps: tuple[StudyOverlap, ...]  # printed as warnings, since releases have overlaps

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
    release: StudyRelease,
    splits: StudySplits,
    fits: Callable[[], Fits],
    max_pixels: int | None = MAX_PIXELS,
) -> StudyAudit:
    """Count, compare and judge the studies of a pre-training run.

    ``fits`` loads the tokenizer and returns whether a text fits; if it raises a UserError, a note
    replaces the count of truncated texts. Images of at most ``max_pixels`` are decoded, at
    reduced size (None: not at all).
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
    # In a mixture the names of data sets stay: equal paths are different images there.
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
        images=None if max_pixels is None else image_check(images, max_pixels),
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
    # A validation set that is held out from the training split overlaps with it by definition.
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
    images, images_of_second = ({p.image_id for r in s for p in r.images} for s in (rows, others))
    groups, groups_of_second = ({r.group for r in s if r.group} for s in (rows, others))
    return StudyOverlap(
        first,
        second,
        len(images & images_of_second),
        len(images_of_second),
        len(groups & groups_of_second),
        len(groups_of_second),
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
