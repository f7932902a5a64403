"""From a release to what is trained, selected on and scored: the two evaluation protocols.

``clean`` (default): candidates and answer vocabulary from the training answers alone, checkpoints
chosen on validation, trained rows that restate a validation or test question left out.

``literature``: candidates and vocabulary also hold the validation and test answers, and leaky
training rows stay, as in the published numbers it is compared with. A validation set is held out
all the same, and every output carries :func:`protocol_label`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

from amif_lightning.arguments import check_choice
from amif_lightning.data.preprocessing.normalization import normalise
from amif_lightning.data.schema.answers import candidates
from amif_lightning.data.schema.questions import DroppedRow, Release, SplitName, VQAExample
from amif_lightning.errors import UserError

Protocol = Literal["clean", "literature"]
EvaluationSplit = Literal["validation", "test"]
QuestionKey = tuple[str, str]


@dataclass(frozen=True)
class Splits:
    """A release under one protocol.

    Attributes:
        dataset: Name of the data class.
        layout: Published layout that was read.
        protocol: ``clean`` or ``literature``.
        test_split: Released split in the role of ``test``.
        released_train: All released training rows; counts, candidates, vocabulary, ceilings and
            baselines use them.
        train: The rows that weights may see.
        validation: The rows that checkpoints are chosen on.
        test: The rows that are scored once per finished configuration; empty if absent.
        dropped: Rows that are used nowhere (the reader's) or not for training, with the reason.
        held_out_from_train: Whether ``validation`` was taken out of ``released_train``.
        candidates: Normalised candidate answers, most frequent first.
        answer_rows: The rows whose answers make ``candidates`` and must make the vocabulary.
        absent: What is not on disk, each with its sentence.
        notes: Sentences that every audit and record repeats.
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
        """The protocol as it must be printed beside every number."""
        return protocol_label(self.protocol, self.test_split, self.answers_from)

    @property
    def answers_from(self) -> str:
        """The splits whose answers are candidates, such as ``train + validation``."""
        return " + ".join(dict.fromkeys(row.split for row in self.answer_rows))

    def baseline_rows(self, split: EvaluationSplit) -> tuple[VQAExample, ...]:
        """Training rows that the no-vision baselines of one split may look things up in.

        Args:
            split: The split to be scored.

        Returns:
            All released training rows; for a validation set held out from them, those on other
            images, since a lookup of a question in a table that holds it would say nothing.
        """
        if split == "test" or not self.held_out_from_train:
            return self.released_train
        held_out = images_of(self.validation)
        return tuple(row for row in self.released_train if row.image_key not in held_out)


def protocol_label(protocol: str, split: str, answers_from: str) -> str:
    """The words every output uses for a protocol (docs/datasets.md, "Protocols").

    Args:
        protocol: ``clean`` or ``literature``.
        split: Released split that was scored.
        answers_from: Splits whose answers are candidates, such as ``train + validation``.
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
    """Applies a protocol to a release.

    Args:
        release: What a reader returned; it must hold a training split.
        protocol: ``clean`` or ``literature``.
        split_seed: Seed of the hold-out; not the training seed, so that all seeds share splits.
        validation_fraction: Share of the training images (of the patients, where rows name them)
            in a validation set, above 0 and below 1; one is held out where no released set is
            left for model selection.
        test_split: ``validation`` gives the released validation set the role of ``test`` (for
            releases whose test set is not on disk) and holds out ``validation`` from training.

    Returns:
        The partition. An absent test split leaves ``test`` empty with its sentence in ``absent``.

    Raises:
        UserError: A name is unknown, the fraction is out of range, there are no training rows,
            ``test_split`` is ``validation`` without a released validation set, or there is only
            one training image (or patient) to hold out from.
    """
    _check(release, protocol, validation_fraction, test_split)
    absent = dict(release.absent)
    notes = list(release.notes)
    released_train = release.splits["train"]
    released_validation = release.splits.get("validation", ())
    test = release.splits.get(test_split, ())
    if not test:
        absent.setdefault("test", "the release on disk has no test set")
    selection = () if test_split == "validation" else released_validation

    from_train = not selection
    if from_train:
        held_out = hold_out_images(released_train, split_seed, validation_fraction)
        absent.pop("validation", None)
    else:
        held_out = images_of(selection)

    # Leaky rows go first: a row that restates a test question must not choose checkpoints either.
    usable, dropped = released_train, list(release.dropped)
    if protocol == "clean":
        held_out_rows = [
            row for name, rows in release.splits.items() if name != "train" for row in rows
        ]
        usable, leaky = _drop_restated(released_train, held_out_rows)
        dropped += leaky
    if from_train:
        validation = tuple(row for row in usable if row.image_key in held_out)
        train = tuple(row for row in usable if row.image_key not in held_out)
    else:
        validation = selection
        train, on_validation = drop_images(usable, held_out, "shows a validation image")
        dropped += on_validation

    answer_rows: tuple[VQAExample, ...] = released_train
    if protocol == "literature":
        seen = [name for name in get_args(SplitName) if release.splits.get(name)]
        answer_rows = tuple(row for name in seen for row in release.splits[name])
        notes.append(_literature_note(seen))
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
    """Chooses validation images by a hash, whatever the order of the rows.

    The groups of images (single images, or a patient's where the data set names patients) are
    ranked by SHA-256 of seed and group and the first ones taken, so a larger fraction keeps the
    images of a smaller one.

    Args:
        rows: Training rows.
        split_seed: Seed of the hold-out.
        fraction: Share of groups, above 0 and below 1.

    Returns:
        Ids of the chosen images: at least one, and never all of them.

    Raises:
        UserError: The rows show fewer than two groups.
    """
    groups: dict[str, set[str]] = {}
    for row in rows:
        groups.setdefault(row.hold_out_group, set()).add(row.image_key)
    chosen = hold_out_groups(groups, split_seed, fraction)
    return frozenset(image for group in chosen for image in groups[group])


def hold_out_groups(groups: Iterable[str], split_seed: int, fraction: float) -> frozenset[str]:
    """Chooses what is held out by a hash, whatever the order of the groups.

    Args:
        groups: Names of what stays together, repeats allowed.
        split_seed: Seed of the hold-out.
        fraction: Share of groups, above 0 and below 1.

    Returns:
        The chosen groups: at least one, and never all of them.

    Raises:
        UserError: There are fewer than two groups.
    """
    distinct = set(groups)
    if len(distinct) < 2:
        raise UserError(
            f"A validation set cannot be held out from {len(distinct)} training image(s) or "
            "patient(s), and checkpoints are chosen on it: use more data."
        )
    count = min(max(1, round(fraction * len(distinct))), len(distinct) - 1)
    ranked = sorted(distinct, key=lambda g: hashlib.sha256(f"{split_seed}/{g}".encode()).digest())
    return frozenset(ranked[:count])


def images_of(rows: Iterable[VQAExample]) -> frozenset[str]:
    """Ids of the images that rows ask about.

    Args:
        rows: Any rows.

    Returns:
        The distinct image ids.
    """
    return frozenset(row.image_key for row in rows)


def shared_images(rows: Iterable[VQAExample], others: Iterable[VQAExample]) -> tuple[str, ...]:
    """Lists the images that two sets of rows have in common.

    Args:
        rows: Any rows.
        others: Any other rows.

    Returns:
        Sorted image ids.
    """
    return tuple(sorted(images_of(rows) & images_of(others)))


def question_key(row: VQAExample) -> QuestionKey:
    """What makes two questions the same one.

    Args:
        row: A question.

    Returns:
        Image id and normalised question.
    """
    return row.image_key, normalise(row.question)


def restatement_keys(rows: Iterable[VQAExample]) -> frozenset[QuestionKey]:
    """Keys of questions and of their released rephrases and frames.

    Args:
        rows: Validation or test rows.

    Returns:
        Image id and normalised wording of each question and each of its variants.
    """
    return frozenset(
        (row.image_key, normalise(wording))
        for row in rows
        for wording in (row.question, *row.variants)
    )


def restating(
    train: Iterable[VQAExample], held_out: Iterable[VQAExample]
) -> tuple[VQAExample, ...]:
    """Lists training rows equal to a held-out question or one of its released wordings.

    Args:
        train: Training rows.
        held_out: Validation or test rows.

    Returns:
        The training rows with the same image and normalised wording.
    """
    keys = restatement_keys(held_out)
    return tuple(row for row in train if question_key(row) in keys)


def restated(train: Iterable[VQAExample], held_out: Iterable[VQAExample]) -> tuple[VQAExample, ...]:
    """Lists held-out questions whose answer a training row gives away.

    Args:
        train: Training rows.
        held_out: Validation or test rows.

    Returns:
        The held-out rows for which a training row has the same image, a correct answer, and the
        normalised wording of the question or of its released rephrase or frame.
    """
    known: dict[QuestionKey, set[str]] = {}
    for row in train:
        known.setdefault(question_key(row), set()).add(row.references[0])
    return tuple(
        row
        for row in held_out
        if any(known.get(key, set()) & set(row.references) for key in restatement_keys([row]))
    )


def _drop_restated(
    train: tuple[VQAExample, ...], held_out: Iterable[VQAExample]
) -> tuple[tuple[VQAExample, ...], list[DroppedRow]]:
    leaky = {row.question_id for row in restating(train, held_out)}
    reason = "not clean: equal to a held-out question or its released rephrase or frame"
    return (
        tuple(row for row in train if row.question_id not in leaky),
        [DroppedRow(r.question_id, reason, r.question) for r in train if r.question_id in leaky],
    )


def drop_images(
    train: tuple[VQAExample, ...], images: frozenset[str], reason: str
) -> tuple[tuple[VQAExample, ...], list[DroppedRow]]:
    """Leave out the training rows on some images; with them go all rows equal to their questions.

    Args:
        train: Training rows.
        images: Ids of the images.
        reason: What the rows do that is not clean.
    """
    gone = [row for row in train if row.image_key in images]
    return (
        tuple(row for row in train if row.image_key not in images),
        [DroppedRow(row.question_id, f"not clean: {reason}", row.image) for row in gone],
    )


def _literature_note(seen: list[str]) -> str:
    if "test" in seen:
        return (
            "literature (test answers visible): candidates and vocabulary hold the answers of all "
            "splits."
        )
    return (
        "literature: the test answers are not on disk, so candidates and vocabulary hold the "
        f"answers of {' and '.join(seen)} only."
    )


def _check(release: Release, protocol: str, fraction: float, test_split: str) -> None:
    check_choice("protocol", protocol, Protocol)
    check_choice("test_split", test_split, EvaluationSplit)
    if not 0 < fraction < 1:
        raise UserError(f"validation_fraction must be between 0 and 1, got {fraction}.")
    if not release.splits.get("train"):
        raise UserError(f"{release.dataset}: no usable training rows were found; run audit.")
    if test_split == "validation" and not release.splits.get("validation"):
        raise UserError(
            f"{release.dataset}: test_split 'validation' needs a released validation set and "
            f"layout '{release.layout}' has none on disk; use test_split 'test'."
        )
