"""Where each data set comes from, under which licence, and what may be downloaded for the user."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import Any

from amif_lightning.data.files.archives import extract, is_archive, stem
from amif_lightning.data.files.downloads import RemoteFile, download
from amif_lightning.data.files.listings import hugging_face, osf, zenodo
from amif_lightning.errors import UserError


@dataclass(frozen=True)
class ReleaseSource:
    """Origin of a data set.

    Attributes:
        page: The publisher's page.
        licence: Its terms.
        listing: Lists the publisher's files; None where they must not be downloaded for the user.
        wanted: Patterns of the files that are read.
        unpack: Folder, relative to the root, by archive; others become a folder of their own name.
        how: What a user has to do, where there is no listing.
    """

    page: str
    licence: str
    listing: Callable[[], list[RemoteFile]] | None = None
    wanted: tuple[str, ...] = ("*",)
    unpack: Mapping[str, str] = field(default_factory=dict)
    how: str = ""


SOURCES: dict[str, ReleaseSource] = {
    "VQARAD": ReleaseSource(
        page="https://osf.io/89kps/",
        licence="CC0 1.0",
        listing=partial(osf, "89kps"),
        wanted=("VQA_RAD Dataset Public.json", "VQA_RAD Image Folder/*"),
    ),
    "VQAMed2019": ReleaseSource(
        page="https://zenodo.org/records/10499039",
        licence="CC BY 4.0",
        listing=partial(zenodo, "10499039"),
    ),
    "SLAKE": ReleaseSource(
        page="https://huggingface.co/datasets/BoKelvin/SLAKE",
        licence="CC BY 4.0",
        listing=partial(hugging_face, "BoKelvin/SLAKE"),
        wanted=("*.json", "imgs.zip"),
    ),
    "ROCO v2": ReleaseSource(
        page="https://zenodo.org/records/8333645",
        licence="CC BY 4.0, and that of each image's article",
        listing=partial(zenodo, "8333645"),
        wanted=("*_captions.csv", "*_images.zip"),
        unpack={f"{split}_images.zip": split for split in ("train", "valid", "test")},
    ),
    "ROCO v1": ReleaseSource(
        page="https://github.com/razorx89/roco-dataset",
        licence="that of each image's article",
        how="run the fetch script of that page, which asks PubMed Central for every image, and "
        "put its folder data/ in the root",
    ),
    "PathVQA": ReleaseSource(
        page="https://huggingface.co/datasets/flaviagiammarino/path-vqa",
        licence="the images must not be redistributed",
        how="accept the terms there, and put the folder data/ with the parquet files in the root",
    ),
    "MIMICCXR": ReleaseSource(
        page="https://physionet.org/content/mimic-cxr-jpg/",
        licence="PhysioNet Credentialed Health Data License 1.5.0",
        how="apply for credentialed access, and put files/, mimic-cxr-2.0.0-metadata.csv.gz and "
        "mimic-cxr-2.0.0-split.csv.gz in the root, and from physionet.org/content/mimic-cxr/ the "
        "reports as mimic-cxr-reports/files/",
    ),
    "MIMIC5x200": ReleaseSource(
        page="https://physionet.org/content/mimic-cxr-jpg/",
        licence="PhysioNet Credentialed Health Data License 1.5.0",
        how="apply for credentialed access, and put files/, mimic-cxr-2.0.0-metadata.csv.gz, "
        "mimic-cxr-2.0.0-split.csv.gz and mimic-cxr-2.0.0-chexpert.csv.gz in the root",
    ),
    "CheXpert5x200": ReleaseSource(
        page="https://aimi.stanford.edu/datasets/chexpert-chest-x-rays",
        licence="Stanford University Dataset Research Use Agreement",
        how="register there, and put train.csv and train/ (or valid.csv and valid/) in the root",
    ),
    "MedICaT": ReleaseSource(
        page="https://github.com/allenai/medicat",
        licence="that of each image's article, on request",
        how="fill in the form of that page, and put the folder release/ in the root",
    ),
}


def source_of(data: Any) -> ReleaseSource | None:
    """Origin of a data module's files; None where nothing is published, as for generated data."""
    name = type(data).__name__
    version = getattr(data, "version", None)
    return SOURCES.get(f"{name} {version}") or SOURCES.get(name)


def fetch(
    source: ReleaseSource, root: Path, *, checksum: bool = True, say: Callable[[str], None] = print
) -> None:
    """Download the files of a data set and unpack its archives; what is there is kept.

    Args:
        source: Where it comes from.
        root: Folder of the data set; made if missing.
        checksum: Whether the publisher's checksums are compared.
        say: Takes a line for the user.

    Raises:
        UserError: If it must not be downloaded for the user, or a file cannot be had.
    """
    if source.listing is None:
        raise UserError(
            f"This data set is not downloaded for you ({source.licence}): go to {source.page}, "
            f"{source.how}."
        )
    files = [
        file
        for file in source.listing()
        if any(fnmatch(file.name, pattern) for pattern in source.wanted)
    ]
    if not files:
        raise UserError(
            f"{source.page} lists none of the files that are read ({', '.join(source.wanted)}): "
            "fetch them by hand."
        )
    size = sum(file.size or 0 for file in files)
    say(f"{len(files)} files, {size / 2**20:.1f} MiB, from {source.page} ({source.licence})")
    unchecked = sum(file.algorithm is None for file in files)
    if unchecked or not checksum:
        say(f"{len(files) if not checksum else unchecked} of them are not compared by checksum")
    for file in files:
        path = download(file, root, checksum=checksum)
        if is_archive(path):
            _unpack(path, root / source.unpack.get(file.name, stem(file.name)))


def _unpack(archive: Path, target: Path) -> None:
    extract(archive, target)
    for inner in sorted(path for path in target.rglob("*") if path.is_file() and is_archive(path)):
        extract(inner, inner.with_name(stem(inner.name)))
