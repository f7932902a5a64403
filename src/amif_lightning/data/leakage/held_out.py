"""Find training images that also occur in another data set's validation or test set."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from amif_lightning.data.leakage.hash_cache import HashStore
from amif_lightning.data.leakage.image_hash import Looks, content_pairs, name_pairs
from amif_lightning.data.schema.answers import candidates
from amif_lightning.data.schema.question_splits import Splits, images_of, patients_of
from amif_lightning.data.schema.questions import DroppedRow
from amif_lightning.errors import UserError

SAME = "a set that is scored holds the same image"
NAME = "a set that is scored holds an image of the same name"
CONTENT = "a set that is scored holds an image that looks the same"
PATIENT = "a set that is scored holds another image of the same patient or group"


@dataclass(frozen=True)
class DatasetImages:
    """Images by ``<data set>/<path below its root>``, and the ids of the rows that show each."""

    files: Mapping[str, Path]
    rows: Mapping[str, frozenset[str]]

    @classmethod
    def of(cls, shown: Iterable[tuple[str, Mapping[str, Path]]]) -> DatasetImages:
        """Collect images from pairs of a row's id and its image files by name."""
        files: dict[str, Path] = {}
        rows: dict[str, set[str]] = {}
        for row, images in shown:
            files |= images
            for name in images:
                rows.setdefault(name, set()).add(row)
        return cls(files, {name: frozenset(ids) for name, ids in rows.items()})


def not_compared(module: Any, scored: Iterable[DatasetImages]) -> list[str]:
    """Return a sentence for each group of scored images of a data module not fully compared."""
    notes = [
        f"the {split} images of {module.dataset} are not compared: {why}"
        for split, why in module.absent.items()
        if split in ("validation", "test")
    ]
    files = {name: file for one in scored for name, file in one.files.items()}
    if absent := sum(not file.is_file() for file in files.values()):
        notes.append(
            f"{absent} of {len(files)} scored images of {module.dataset} are not on disk and are "
            "compared by name only"
        )
    return notes


def hashes_of(modules: Sequence[Any], folder: str) -> Looks:
    """Hash the images of data modules on disk, cached in ``folder`` (default ``data/hashes``).

    Raises:
        UserError: If the cache cannot be written.
    """
    shown = [i for m in modules for i in (*m.released_images(), *m.scored_images())]
    return hash_images(shown, folder, max(module.max_image_pixels for module in modules))


def hash_images(shown: Iterable[DatasetImages], folder: str, max_pixels: int) -> Looks:
    """Hash the images on disk; see :func:`hashes_of`."""
    files = {name: file for images in shown for name, file in images.files.items()}
    on_disk = {name: file for name, file in files.items() if file.is_file()}
    return HashStore(folder or "data/hashes", max_pixels=max_pixels).look(on_disk)


def leaking_images(
    files: Mapping[str, Path],
    scored: Sequence[DatasetImages],
    hashes: Looks,
    by_content_only: Sequence[DatasetImages] = (),
) -> dict[str, str]:
    """Find the training images that another data set scores, and the reason for each.

    Args:
        files: Training images by ``<data set>/<path>``; missing files are compared by name only.
        scored: The images that other data sets score, by split.
        hashes: Hashes of all these images; a damaged one raises a UserError.
        by_content_only: Scored images whose file names carry no meaning and are not compared.
    """
    paths = [[name.partition("/")[2] for name in one.files] for one in scored]
    names = {name for name, _ in name_pairs(files, paths)}
    reasons = {name: NAME for name in files if name in names}
    held_out = {name for one in (*scored, *by_content_only) for name in one.files}
    left = files.keys() - reasons.keys()
    for name, sentence in hashes.damaged.items():
        if held_out and (name in left or name in held_out):
            raise UserError(sentence)
    pairs = content_pairs(hashes, hashes, left, held_out)
    return reasons | {pair.first: CONTENT for pair in pairs}


def leaking_rows(
    images: DatasetImages, groups: Mapping[str, str], reasons: Mapping[str, str]
) -> dict[str, str]:
    """Find the training rows to remove because of their image or patient, and the reason for each.

    ``images`` are those of all training rows, ``groups`` the patients by row id (empty: unknown),
    which also gives the order, and ``reasons`` the result of :func:`leaking_images`.
    """
    found: dict[str, str] = {}
    for image, reason in reasons.items():
        for row in images.rows[image]:
            found.setdefault(row, reason)
    leaking = {groups[row] for row in found} - {""}
    return {
        row: found.get(row, PATIENT)
        for row, group in groups.items()
        if row in found or group in leaking
    }


def disjoint(module: Any, parts: Splits) -> Splits:
    """Drop the training rows that share an image or a patient with validation or test.

    Args:
        module: The :class:`VQADataModule` of the rows. All released splits except the training
            split count as held out, whichever of them is scored. Images are the same if their keys
            are equal or, with ``compares_content`` and both files on disk, if they are
            near-duplicates.
        parts: The splits under ``clean``. Candidates, vocabulary, baselines and ceilings of the
            result come from its trained rows. Validation is unchanged.

    Raises:
        UserError: An image is damaged, or no training row is left.
    """
    released = [rows for split, rows in module.release.splits.items() if split != "train"]
    scored = [module.images_in(rows) for rows in (parts.validation, *released)]
    held_out = [row for rows in (parts.validation, *released) for row in rows]
    keys, patients = images_of(held_out), patients_of(held_out)
    shown = module.images_in(parts.train)
    # File names may repeat within a data set, so keys and content decide.
    reasons: dict[str, str] = {}
    if module.compares_content:
        hashes = hash_images([shown, *scored], module.hashes, module.max_image_pixels)
        reasons = leaking_images(shown.files, [], hashes, by_content_only=scored)
    reasons |= {module.image_id_of(row): SAME for row in parts.train if row.image_key in keys}
    groups = {row.row_id: row.group for row in parts.train}
    leaking = {row: PATIENT for row, group in groups.items() if group in patients}
    leaking |= leaking_rows(shown, groups, reasons)
    train = tuple(row for row in parts.train if row.row_id not in leaking)
    if not train:
        raise UserError(
            f"{module.where}: every training row shares an image or a patient with validation or "
            "test, so the protocol 'disjoint' leaves nothing to train on: use 'clean'."
        )
    images = {row.row_id: row.image for row in parts.train}
    dropped = [DroppedRow(row, reason, images[row]) for row, reason in leaking.items()]
    return replace(
        parts,
        train=train,
        dropped=(*parts.dropped, *dropped),
        candidates=tuple(candidates(train)),
        answer_rows=train,
        notes=(
            *parts.notes,
            f"disjoint: {len(train)} of {len(parts.train)} training rows share no image or patient "
            "with validation or test, and only these give candidates, vocabulary and baselines",
            *(not_compared(module, scored) if module.compares_content else ()),
        ),
    )
