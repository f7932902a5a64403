"""Where each data set comes from, under which licence, and what may be downloaded for the user."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from amif_lightning.data.files.archives import extract, is_archive, stem
from amif_lightning.data.files.downloads import RemoteFile, download
from amif_lightning.data.files.listings import osf, zenodo
from amif_lightning.errors import UserError, first_line


@dataclass(frozen=True)
class ReleaseSource:
    """Origin of a data set.

    Attributes:
        page: The publisher's page.
        licence: Its terms.
        listing: Lists the publisher's files.
        hub: The data set on the Hugging Face hub, instead of a listing.
        wanted: Patterns of the files that are read.
        unpack: Folder, relative to the root, by archive; others become a folder of their own name.
        how: What a user has to do where the files must not be downloaded for the user.
    """

    page: str
    licence: str
    listing: Callable[[], list[RemoteFile]] | None = None
    hub: str = ""
    wanted: tuple[str, ...] = ("*",)
    unpack: Mapping[str, str] = field(default_factory=dict)
    how: str = ""

    @property
    def instructions(self) -> str:
        """How to get the files, as the end of a sentence."""
        if self.how:
            return f"go to {self.page} ({self.licence}), {self.how}"
        return "run `python -m amif_lightning prepare data` with --download"


_PHYSIONET = "PhysioNet Credentialed Health Data License 1.5.0"
SOURCES: dict[str, ReleaseSource] = {
    "VQARAD": ReleaseSource(
        page="https://osf.io/89kps/",
        licence="CC0 1.0",
        listing=lambda: osf("89kps"),
        wanted=("VQA_RAD Dataset Public.json", "VQA_RAD Image Folder/*"),
    ),
    "VQAMed2019": ReleaseSource(
        page="https://zenodo.org/records/10499039",
        licence="CC BY 4.0",
        listing=lambda: zenodo("10499039"),
    ),
    "SLAKE": ReleaseSource(
        page="https://huggingface.co/datasets/BoKelvin/SLAKE",
        licence="CC BY 4.0",
        hub="BoKelvin/SLAKE",
        wanted=("*.json", "imgs.zip"),
    ),
    "ROCO v2": ReleaseSource(
        page="https://zenodo.org/records/8333645",
        licence="CC BY 4.0, and that of each image's article",
        listing=lambda: zenodo("8333645"),
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
        licence=_PHYSIONET,
        how="apply for credentialed access, and put files/, mimic-cxr-2.0.0-metadata.csv.gz and "
        "mimic-cxr-2.0.0-split.csv.gz in the root, and from physionet.org/content/mimic-cxr/ the "
        "reports as mimic-cxr-reports/files/",
    ),
    "MIMIC5x200": ReleaseSource(
        page="https://physionet.org/content/mimic-cxr-jpg/",
        licence=_PHYSIONET,
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


def fetch(source: ReleaseSource, root: Path, *, checksum: bool = True) -> None:
    """Download the files of a data set and unpack its archives; what is there is kept.

    Args:
        source: Where it comes from.
        root: Folder of the data set; made if missing.
        checksum: Whether the publisher's checksums are compared.

    Raises:
        UserError: If it must not be downloaded for the user, or a file cannot be had.
    """
    if source.how:
        raise UserError(f"This data set is not downloaded for you: {source.instructions}.")
    if source.hub:
        paths = _from_hub(source, root, checksum)
    else:
        paths = _from_listing(source, root, checksum)
    for path in paths:
        if is_archive(path):
            name = path.relative_to(root).as_posix()
            _unpack(path, root / source.unpack.get(name, stem(name)))


def _from_listing(source: ReleaseSource, root: Path, checksum: bool) -> list[Path]:
    listed = source.listing() if source.listing is not None else []
    files = [f for f in listed if any(fnmatch(f.name, pattern) for pattern in source.wanted)]
    if not files:
        raise _nothing_wanted(source)
    size = sum(file.size for file in files)
    print(f"{len(files)} files, {size / 2**20:.1f} MiB, from {source.page} ({source.licence})")
    return [download(file, root, checksum=checksum) for file in files]


def _from_hub(source: ReleaseSource, root: Path, checksum: bool) -> list[Path]:
    """The wanted files of a repository, all of one revision, fetched and checked by its library."""
    from huggingface_hub import HfApi, snapshot_download

    api, wanted = HfApi(), list(source.wanted)
    try:
        revision = api.dataset_info(source.hub).sha
        print(f"Files of revision {revision} from {source.page} ({source.licence})")
        snapshot_download(
            source.hub,
            repo_type="dataset",
            revision=revision,
            local_dir=root,
            allow_patterns=wanted,
        )
        if checksum:
            found = api.verify_repo_checksums(
                source.hub, repo_type="dataset", revision=revision, local_dir=root
            )
    except Exception as error:  # the library passes on whatever its HTTP client raises
        raise UserError(
            f"{source.hub} cannot be fetched from the Hugging Face hub ({first_line(error)}): "
            "check the connection and run the command again, which continues where it stopped."
        ) from error
    if checksum and found.mismatches:
        path = root / found.mismatches[0]["path"]
        raise UserError(
            f"{path} has not the checksum that the hub gives, so it is damaged or was changed: "
            f"delete {path} and run the command again."
        )
    paths = [path for pattern in wanted for path in sorted(root.glob(pattern)) if path.is_file()]
    if not paths:
        raise _nothing_wanted(source)
    return paths


def _nothing_wanted(source: ReleaseSource) -> UserError:
    return UserError(
        f"{source.page} lists none of the files that are read ({', '.join(source.wanted)}): fetch "
        "them by hand."
    )


def _unpack(archive: Path, target: Path) -> None:
    extract(archive, target)
    for inner in sorted(path for path in target.rglob("*") if path.is_file() and is_archive(path)):
        extract(inner, inner.with_name(stem(inner.name)))
