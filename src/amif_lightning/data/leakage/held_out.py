"""Find training images that also occur in another data set's validation or test set."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from amif_lightning.data.leakage.dataset_images import ComparedDataset, DatasetImages
from amif_lightning.data.leakage.hash_cache import HashStore
from amif_lightning.data.leakage.image_hash import Looks, content_pairs, same_names
from amif_lightning.errors import UserError

NAME = "a set that is scored holds an image of the same name"
CONTENT = "a set that is scored holds an image that looks the same"
PATIENT = "a set that is scored holds another image of the same patient or group"


def not_compared(module: ComparedDataset, scored: Iterable[DatasetImages]) -> list[str]:
    """Say which scored images could not be looked for, or by name only.

    Args:
        module: A data set that is scored.
        scored: Those of its images that are.

    Returns:
        One sentence for each gap; none where all were compared in full.
    """
    notes = [
        f"the {split} images of {module.dataset} are not compared: {why}"
        for split, why in module.absent.items()
        if split in ("validation", "test")
    ]
    files = {name: file for one in scored for name, file in one.files.items()}
    if absent := sum(not file.is_file() for file in files.values()):
        notes.append(
            f"{absent} of {len(files)} scored images of {module.dataset} are not on disk and are "
            "told by name only"
        )
    return notes


def hashes_of(modules: Iterable[ComparedDataset], folder: str) -> Looks:
    """Hash the images of data sets that are on disk.

    Args:
        modules: The data sets.
        folder: Where hashes are kept, so that each image is read once; empty: ``data/hashes``.

    Raises:
        UserError: If nothing can be written there.
    """
    files: dict[str, Path] = {}
    for module in modules:
        for images in (*module.released_images(), *module.scored_images()):
            files |= images.files
    on_disk = {name: file for name, file in files.items() if file.is_file()}
    return HashStore(folder or "data/hashes").look(on_disk)


def leaking_images(
    files: Mapping[str, Path],
    scored: Sequence[DatasetImages],
    hashes: Looks,
    by_content_only: Sequence[DatasetImages] = (),
) -> dict[str, str]:
    """Find the images of a data set that another one scores.

    Args:
        files: Where the images lie that would train, by ``<data set>/<path>``; those that are not
            on disk are compared by name only.
        scored: What other data sets score, each split by itself.
        hashes: Of all these images.
        by_content_only: Further scored images, of sets whose names say nothing.

    Returns:
        The reason by name, for the images that must not train.

    Raises:
        UserError: If an image is damaged.
    """
    names = same_names(files, [[_path(name) for name in one.files] for one in scored])
    reasons = dict.fromkeys((name for name in files if name in names), NAME)
    held_out = {name for one in (*scored, *by_content_only) for name in one.files}
    left = files.keys() - reasons.keys()
    for name, sentence in hashes.damaged.items():
        if held_out and (name in left or name in held_out):
            raise UserError(sentence)
    pairs = content_pairs(hashes.only(left), hashes.only(held_out))
    return reasons | {pair.first: CONTENT for pair in pairs}


def leaking_rows(
    images: DatasetImages, groups: Mapping[str, str], reasons: Mapping[str, str]
) -> dict[str, str]:
    """Find the rows that must not train, for their image or for its patient.

    Args:
        images: The images of all rows that would train.
        groups: The patient of each row by its id, in the order of the rows; empty where unknown.
        reasons: What :func:`leaking_images` found among the images.

    Returns:
        The reason by row, in the order of the rows.
    """
    found: dict[str, str] = {}
    for image, reason in reasons.items():
        for row in images.rows[image]:
            found.setdefault(row, reason)
    leaking: Collection[str] = {groups[row] for row in found} - {""}
    return {
        row: found.get(row, PATIENT)
        for row, group in groups.items()
        if row in found or group in leaking
    }


def _path(name: str) -> str:
    return name.partition("/")[2]
