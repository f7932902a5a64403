"""Apply an evaluation protocol to a release: training, validation and test rows."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from amif_lightning.data.preprocessing.normalization import normalise
from amif_lightning.data.schema.answers import candidates
from amif_lightning.data.schema.questions import DroppedRow, Release, SplitName, VQAExample
from amif_lightning.errors import UserError
from amif_lightning.evaluation import Protocol

EvaluationSplit = Literal["validation", "test"]
QuestionKey = tuple[str, str]

RESTATED = "not clean: equal to a held-out question or its released rephrase or frame"


@dataclass(frozen=True)
class Splits:
    """A release under one protocol.

    Attributes:
        test_split: Released split that is scored as ``test``.
        released_train: All released training rows. Counts, candidates, vocabulary, ceilings and
            baselines use them.
        train: Rows that weights are trained on.
        validation: Rows that checkpoints are chosen on.
        test: Rows that are scored once per finished configuration; empty if absent.
        dropped: Rows that the reader dropped or that are not trained on.
        held_out_from_train: Whether ``validation`` was held out from ``released_train``.
        candidates: Normalised candidate answers, most frequent first.
        answer_rows: Rows that provide ``candidates`` and the vocabulary.
        absent, notes: As in :class:`Release`.
    """

    dataset: str
    layout: str
    protocol: Protocol
    test_split: EvaluationSplit
    released_train: tuple[VQAExample, ...]
    train: tuple[VQAExample, ...]
    validation: tuple[VQAExample, ...]
    test: tuple[VQAExample, ...]
    dropped: tuple[DroppedRow, ...]
    held_out_from_train: bool
    candidates: tuple[str, ...]
    answer_rows: tuple[VQAExample, ...]
    absent: dict[str, str]
    notes: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """Return the protocol label, which is printed next to every number."""
        return protocol_label(self.protocol, self.test_split, self.answers_from)

    @property
    def answers_from(self) -> str:
        """Return the splits that provide the candidates, such as ``train + validation``."""
        return " + ".join(dict.fromkeys(row.split for row in self.answer_rows))

    def baseline_rows(self, split: EvaluationSplit) -> tuple[VQAExample, ...]:
        """Return the released training rows that no-vision baselines may use for a split.

        For a validation set that was held out from these rows, rows on its images are excluded, so
        that no question is answered by itself. Under ``disjoint`` they are the trained rows.
        """
        if self.protocol == "disjoint":
            return self.train
        if split == "test" or not self.held_out_from_train:
            return self.released_train
        held_out = images_of(self.validation)
        return tuple(row for row in self.released_train if row.image_key not in held_out)


def protocol_label(protocol: str, split: str, answers_from: str) -> str:
    """Return the label of a protocol in all outputs (docs/datasets.md, "Protocols").

    ``split`` was scored; ``answers_from`` (``train + validation``) provides the candidates.
    """
    if protocol != "literature":
        return protocol
    if split in answers_from.split(" + "):
        return f"literature ({split} answers visible)"
    return f"literature (candidates from {answers_from})"


def split_questions(
    release: Release,
    protocol: Protocol,
    *,
    split_seed: int = 0,
    validation_fraction: float = 0.1,
    test_split: EvaluationSplit = "test",
) -> Splits:
    """Apply a protocol to a release. Checkpoints are always chosen on held-out validation rows.

    Args:
        release: The rows of a reader.
        protocol: ``clean``: candidates and vocabulary come from training answers only, and training
            rows that restate a validation or test question are dropped. ``disjoint`` starts from
            these splits (data/leakage/held_out.py). ``literature``: candidates and vocabulary also
            contain validation and test answers, and leaking rows stay, as in published results.
        split_seed: Seed of the hold-out, independent of the training seed.
        validation_fraction: Share of training images (of patients, if known) to hold out if no
            released set is left for model selection; between 0 and 1, exclusive.
        test_split: ``validation`` scores the released validation set (for releases without a test
            set on disk) and holds out another validation set from training.

    Raises:
        UserError: There are no training rows, ``test_split`` is ``validation`` without a released
            validation set, or a validation set cannot be held out from one image (or patient).
    """
    if not release.splits.get("train"):
        raise UserError(f"{release.dataset}: no usable training rows were found; run audit.")
    if test_split == "validation" and not release.splits.get("validation"):
        raise UserError(
            f"{release.dataset}: test_split 'validation' needs a released validation set, but "
            f"layout '{release.layout}' has none on disk; use test_split 'test'."
        )
    absent, notes, dropped = dict(release.absent), list(release.notes), list(release.dropped)
    released_train = release.splits["train"]
    test = release.splits.get(test_split, ())
    if not test:
        absent.setdefault("test", "the release on disk has no test set")
    validation = () if test_split == "validation" else release.splits.get("validation", ())
    from_train = not validation
    if from_train:
        images = hold_out_images(released_train, split_seed, validation_fraction)
        absent.pop("validation", None)
    else:
        images = images_of(validation)

    # Leaking rows are dropped first, since validation must not contain them either.
    usable = released_train
    if protocol != "literature":
        held_out = [r for name, rows in release.splits.items() if name != "train" for r in rows]
        leaking = {row.question_id: row for row in restating(released_train, held_out)}
        usable = tuple(row for row in released_train if row.question_id not in leaking)
        dropped += [DroppedRow(name, RESTATED, row.question) for name, row in leaking.items()]
    if from_train:
        validation = tuple(row for row in usable if row.image_key in images)
        train = tuple(row for row in usable if row.image_key not in images)
    else:
        train, on_validation = drop_images(usable, images, "shows a validation image")
        dropped += on_validation

    answer_rows: tuple[VQAExample, ...] = released_train
    if protocol == "literature":
        seen = [name for name in get_args(SplitName) if release.splits.get(name)]
        answer_rows = tuple(row for name in seen for row in release.splits[name])
        notes.append(
            "literature (test answers visible): candidates and vocabulary hold the answers of all "
            "splits."
            if "test" in seen
            else "literature: the test answers are not on disk, so candidates and vocabulary hold "
            f"the answers of {' and '.join(seen)} only."
        )
    return Splits(
        dataset=release.dataset,
        layout=release.layout,
        protocol=protocol,
        test_split=test_split,
        released_train=released_train,
        train=train,
        validation=validation,
        test=test,
        dropped=tuple(dropped),
        held_out_from_train=from_train,
        candidates=tuple(candidates(answer_rows)),
        answer_rows=answer_rows,
        absent=absent,
        notes=tuple(notes),
    )


def hold_out_images(rows: Iterable[VQAExample], split_seed: int, fraction: float) -> frozenset[str]:
    """Choose validation images by :func:`hold_out_groups`; images of a patient stay together."""
    groups: dict[str, set[str]] = {}
    for row in rows:
        groups.setdefault(row.hold_out_group, set()).add(row.image_key)
    chosen = hold_out_groups(groups, split_seed, fraction)
    return frozenset(image for group in chosen for image in groups[group])


def hold_out_groups(groups: Iterable[str], split_seed: int, fraction: float) -> frozenset[str]:
    """Choose a ``fraction`` between 0 and 1 of groups for validation: at least one, never all.

    Distinct groups are ranked by SHA-256 of ``<split_seed>/<group>`` and the first ones taken. The
    choice is independent of their order. A larger fraction adds groups to those of a smaller one.

    Raises:
        UserError: There are fewer than two groups.
    """
    distinct = set(groups)
    if len(distinct) < 2:
        raise UserError(
            f"A validation set, on which checkpoints are chosen, cannot be held out from "
            f"{len(distinct)} training image(s) or patient(s): use more data."
        )
    count = min(max(1, round(fraction * len(distinct))), len(distinct) - 1)
    ranked = sorted(distinct, key=lambda g: hashlib.sha256(f"{split_seed}/{g}".encode()).digest())
    return frozenset(ranked[:count])


def linked_groups(rows: Sequence[tuple[str, Iterable[str], str]]) -> list[str]:
    """Assign one group to rows that share an image or a group, directly or through others.

    Args:
        rows: The hold-out group, the image ids and the group (may be empty) of each row.

    Returns:
        The hold-out group of the first linked row, empty for rows that are linked to no other.
    """
    from scipy.cluster.hierarchy import DisjointSet  # slow to import, needed here only

    linked = DisjointSet(range(len(rows)))
    for place, (_, images, group) in enumerate(rows):
        names = [f"image {image}" for image in images] + ([f"group {group}"] if group else [])
        for name in names:
            linked.add(name)
            linked.merge(place, name)
    roots = [linked[place] for place in range(len(rows))]
    sizes = Counter(roots)
    first: dict[object, str] = {}
    for root, (own, _, _) in zip(roots, rows, strict=True):
        first.setdefault(root, own)
    return [first[root] if sizes[root] > 1 else "" for root in roots]


def images_of(rows: Iterable[VQAExample]) -> frozenset[str]:
    """Return the image keys of rows."""
    return frozenset(row.image_key for row in rows)


def patients_of(rows: Iterable[VQAExample]) -> frozenset[str]:
    """Return the groups of rows, without the empty one of rows whose patient is unknown."""
    return frozenset(row.group for row in rows) - {""}


@dataclass(frozen=True)
class Overlap:
    """Number of images that two named sets of rows share."""

    first: str
    second: str
    shared: int
    images_of_second: int  # number of images in the second set


def overlap(
    first: str, rows: Sequence[VQAExample], second: str, others: Sequence[VQAExample]
) -> Overlap:
    """Count the images that two named sets of rows share."""
    in_second = images_of(others)
    return Overlap(first, second, len(images_of(rows) & in_second), len(in_second))


def question_key(row: VQAExample) -> QuestionKey:
    """Return the identity of a question: image key and normalised text."""
    return row.image_key, normalise(row.question)


def _restatements(row: VQAExample) -> set[QuestionKey]:
    """Return the keys of a question and of its released rephrases and frames."""
    return {(row.image_key, normalise(wording)) for wording in (row.question, *row.variants)}


def restating(
    train: Iterable[VQAExample], held_out: Iterable[VQAExample]
) -> tuple[VQAExample, ...]:
    """Return training rows equal (image, normalised text) to a held-out question or its variant."""
    keys = {key for row in held_out for key in _restatements(row)}
    return tuple(row for row in train if question_key(row) in keys)


def restated(train: Iterable[VQAExample], held_out: Iterable[VQAExample]) -> tuple[VQAExample, ...]:
    """Return the held-out questions that a row found by :func:`restating` answers correctly."""
    known: dict[QuestionKey, set[str]] = {}
    for row in train:
        known.setdefault(question_key(row), set()).add(row.references[0])
    return tuple(
        row
        for row in held_out
        if any(known.get(key, set()) & set(row.references) for key in _restatements(row))
    )


def drop_images(
    train: tuple[VQAExample, ...], images: frozenset[str], reason: str
) -> tuple[tuple[VQAExample, ...], list[DroppedRow]]:
    """Return the rows to keep and, as "not clean: <reason>", the rows with one of ``images``."""
    found = [row for row in train if row.image_key in images]
    dropped = [DroppedRow(row.question_id, f"not clean: {reason}", row.image) for row in found]
    return tuple(row for row in train if row.image_key not in images), dropped
