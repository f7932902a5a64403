"""Publisher, licence and permitted downloads of each data set."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Literal

from amif_lightning.data.files.archives import extract, is_archive, stem
from amif_lightning.data.files.downloads import RemoteFile, download, session
from amif_lightning.data.files.repositories import fetch_repository
from amif_lightning.errors import UserError


@dataclass(frozen=True)
class ReleaseSource:
    """The origin of a data set, with exactly one of ``listing``, ``hub`` and ``how``."""

    page: str
    licence: str
    listing: Callable[[], Iterable[RemoteFile]] | None = None
    hub: str = ""  # name on the Hugging Face hub
    wanted: tuple[str, ...] = ("*",)  # patterns of the files to fetch
    unpack: Mapping[str, str] = field(default_factory=dict)  # folder by archive; default: its name
    how: str = ""  # manual steps if the terms allow no automatic download

    @property
    def instructions(self) -> str:
        """How to get the files, as the end of a sentence."""
        if self.how:
            return f"go to {self.page} ({self.licence}), {self.how}"
        return "run `python -m amif_lightning prepare data` with --download"


_ALGORITHMS: dict[str, Literal["md5", "sha256"]] = {"md5": "md5", "sha256": "sha256"}
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
    "IUXray": ReleaseSource(
        page="https://openi.nlm.nih.gov/faq",
        licence="CC BY-NC-ND 4.0 as known from copies; read the terms there",
        listing=lambda: unlisted(
            "https://openi.nlm.nih.gov/imgs/collections", "NLMCXR_reports.tgz", "NLMCXR_png.tgz"
        ),
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
        how="register there, and put train.csv and train/ in the root",
    ),
    "MedICaT": ReleaseSource(
        page="https://github.com/allenai/medicat",
        licence="that of each image's article, on request",
        how="fill in the form of that page, and put the folder release/ in the root",
    ),
}


def source_of(data: Any) -> ReleaseSource | None:
    """Return the origin of a data module's files; None for generated or private data."""
    name = type(data).__name__
    version = getattr(data, "version", None)
    return SOURCES.get(f"{name} {version}") or SOURCES.get(name)


def fetch(source: ReleaseSource, root: Path, *, checksum: bool = True) -> None:
    """Download a data set's files into ``root`` and unpack them; existing files are kept.

    Raises:
        UserError: If the terms allow no automatic download, or a file cannot be fetched.
    """
    if source.how:
        raise UserError(f"This data set is not downloaded for you: {source.instructions}.")
    load = _from_hub if source.hub else _from_listing
    paths = load(source, root, checksum)
    if not paths:
        wanted = ", ".join(source.wanted)
        raise UserError(f"{source.page} lists none of the wanted files ({wanted}): fetch by hand.")
    for path in paths:
        if is_archive(path):
            name = path.relative_to(root).as_posix()
            _unpack(path, root / source.unpack.get(name, stem(name)))


def _from_listing(source: ReleaseSource, root: Path, checksum: bool) -> list[Path]:
    try:
        listed = list(source.listing()) if source.listing is not None else []
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{source.page} lists its files in an unexpected format ({type(error).__name__} "
            f"{error}): fetch them by hand."
        ) from error
    files = [f for f in listed if any(fnmatch(f.name, pattern) for pattern in source.wanted)]
    size = sum(file.size for file in files)
    print(f"{len(files)} files, {size / 2**20:.1f} MiB, from {source.page} ({source.licence})")
    return [download(file, root, checksum=checksum) for file in files]


def _from_hub(source: ReleaseSource, root: Path, checksum: bool) -> list[Path]:
    revision = fetch_repository(source.hub, root, source.wanted, kind="dataset", checksum=checksum)
    print(f"Files of revision {revision} from {source.page} ({source.licence})")
    return [
        path for pattern in source.wanted for path in sorted(root.glob(pattern)) if path.is_file()
    ]


def _unpack(archive: Path, target: Path) -> None:
    extract(archive, target)
    for inner in sorted(path for path in target.rglob("*") if path.is_file() and is_archive(path)):
        extract(inner, inner.with_name(stem(inner.name)))


# ---- listings ---------------------------------------------------------------------------------


def zenodo(record: str, base: str = "https://zenodo.org") -> Iterator[RemoteFile]:
    """Yield the files of a Zenodo record."""
    for item in _json(f"{base}/api/records/{record}")["files"]:
        kind, _, digest = item["checksum"].partition(":")
        where, algorithm = item["links"]["self"], _ALGORITHMS[kind]
        yield RemoteFile(item["key"], where, item["size"], algorithm, digest)


def osf(node: str, base: str = "https://api.osf.io") -> Iterator[RemoteFile]:
    """Yield the files of an Open Science Framework project, including folders."""
    return _osf_folder(f"{base}/v2/nodes/{node}/files/osfstorage/?page%5Bsize%5D=100", "")


def _osf_folder(url: str | None, folder: str) -> Iterator[RemoteFile]:
    while url is not None:
        page = _json(url)
        for item in page["data"]:
            about = item["attributes"]
            name = folder + about["name"]
            if about["kind"] == "folder":
                inner = item["relationships"]["files"]["links"]["related"]["href"]
                yield from _osf_folder(inner, f"{name}/")
            else:
                where, digest = item["links"]["download"], about["extra"]["hashes"]["sha256"]
                yield RemoteFile(name, where, about["size"], "sha256", digest)
        url = page["links"]["next"]


def unlisted(folder: str, *files: str) -> Iterator[RemoteFile]:
    """Yield files of a server that publishes neither a listing nor checksums."""
    for name in files:
        url = f"{folder}/{name}"
        with session() as web:
            try:
                answer = web.head(url, timeout=60, allow_redirects=True)
                answer.raise_for_status()
                size = int(answer.headers["Content-Length"])
            except (OSError, KeyError, ValueError) as error:
                raise UserError(
                    f"{url} cannot be reached or tells no size ({type(error).__name__}): check the "
                    "connection, or fetch it by hand."
                ) from error
        yield RemoteFile(name, url, size, "sha256", "")


def _json(url: str) -> Any:
    with session() as web:
        try:
            answer = web.get(url, timeout=60)
            answer.raise_for_status()
            return answer.json()
        except OSError as error:  # all errors of requests, bad JSON included
            raise UserError(
                f"{url}, which lists the files, cannot be read ({type(error).__name__}): check the "
                "connection, or fetch them by hand."
            ) from error
