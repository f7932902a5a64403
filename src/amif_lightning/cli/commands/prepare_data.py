"""``prepare data``: what of a data set is there, what is missing or corrupt, and how to get it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from amif_lightning.cli.data_command import build_data, data_parser
from amif_lightning.errors import UserError

_NAMED = 5  # most files named in a line


@dataclass(frozen=True)
class FilesOnDisk:
    """What is on disk.

    Attributes:
        dataset: Name of the data class.
        root: Folder of the data set.
        rows: Questions or studies by split.
        absent: What the reader did not find, with its sentence.
        dropped: Number of rows that cannot be used, by reason.
        images: Number of images that belong to the rows and could be looked for.
        missing: Those that are not there.
        corrupt: Those that cannot be decoded.
        absent_folders: Number of images in folders that are not there at all, by folder.
        problem: Why the texts cannot be read; empty where they can.
    """

    dataset: str
    root: str
    rows: dict[str, int]
    absent: dict[str, str]
    dropped: dict[str, int]
    images: int
    missing: tuple[str, ...]
    corrupt: tuple[str, ...]
    absent_folders: dict[str, int]
    problem: str = ""

    @property
    def whole(self) -> bool:
        """Whether all that was looked for is there and can be read."""
        return not (self.problem or self.missing or self.corrupt or self.absent_folders)


def main(argv: Sequence[str], base: type) -> int:
    """Check, and on request download and reduce, a data set.

    Args:
        argv: Options behind ``prepare data``.
        base: Base class of the data modules on offer.

    Returns:
        1 when texts or images are missing or corrupt, else 0.

    Raises:
        UserError: If an option is wrong, or a download or a reduced copy fails.
    """
    module, config = build_data(_parser(base), base, argv)
    from amif_lightning.data.files.sources import fetch, source_of

    def say(line: str) -> None:
        if not config.json:
            print(line, flush=True)

    if config.resize is not None and module.resized is None:  # before hours of download
        raise UserError("Reduced copies need a folder: give --data.resized FOLDER with --resize.")
    source = source_of(module)
    if config.download:
        if source is None:
            raise UserError(
                f"{type(module).__name__} has nothing to download: it is generated, made of other "
                "data sets, or your own."
            )
        fetch(source, module.root, checksum=not config.no_checksum, say=say)
    found = check(module, workers=config.workers, progress=not config.json)
    if config.json:
        print(json.dumps(asdict(found) | {"whole": found.whole}, indent=2, ensure_ascii=False))
    else:
        say(to_text(found))
        if not found.whole and source is not None:
            say(
                "to download it: the same command with --download"
                if source.listing is not None
                else f"to get it: {source.page} ({source.licence}): {source.how}"
            )
    if config.resize is not None and not found.problem:
        reduced = _resize(module, config)
        failed = len(reduced.failed)
        say(f"reduced copies: {reduced.made} made, {reduced.kept} kept, {failed} failed")
        return int(not found.whole or failed > 0)
    return int(not found.whole)


def _parser(base: type) -> ArgumentParser:
    parser = data_parser(
        "prepare data",
        "Check a data set file by file, and print what is present, missing and corrupt. Exit code "
        "1: something is missing or corrupt.",
        base,
    )
    parser.add_argument(
        "--download",
        action="store_true",
        help="Fetch what is missing first, where the licence allows it; resumes.",
    )
    parser.add_argument(
        "--no_checksum", action="store_true", help="Do not compare the publisher's checksums."
    )
    parser.add_argument(
        "--resize",
        type=int,
        help="Short side in pixels of reduced copies to make in --data.resized; restarts.",
    )
    parser.add_argument("--quality", type=int, default=90, help="JPEG quality of them, 1 to 95.")
    parser.add_argument("--workers", type=int, default=2, help="Images read at the same time.")
    parser.add_argument("--json", action="store_true", help="Print JSON instead of text.")
    return parser


def check(module: Any, *, workers: int = 2, progress: bool = False) -> FilesOnDisk:
    """Read a data set's texts and decode all its images, at reduced size.

    Args:
        module: A data module.
        workers: Images read at the same time.
        progress: Whether to show a progress bar.
    """
    from collections import Counter

    from amif_lightning.data.audit.image_check import check_images

    name, root = type(module).__name__, str(module.root)
    try:
        if hasattr(module, "without_teacher"):
            module.without_teacher()  # `prepare teacher` lets it read the images
        module.prepare_data()  # generated data are made here
        release = module.release
        files: dict[str, Path] = module.images()
    except UserError as error:
        return FilesOnDisk(name, root, {}, {}, {}, 0, (), (), {}, str(error))
    images = check_images(files, max(1, workers), progress=progress)
    return FilesOnDisk(
        dataset=name,
        root=root,
        rows={split: len(rows) for split, rows in release.splits.items() if rows},
        absent=dict(release.absent),
        dropped=dict(Counter(row.reason for row in release.dropped)),
        images=images.checked,
        missing=images.missing,
        corrupt=images.undecodable,
        absent_folders=images.absent_folders,
    )


def to_text(found: FilesOnDisk) -> str:
    """The findings as lines for the terminal."""
    lines = [f"{found.dataset} in {found.root}"]
    if found.problem:
        return "\n".join([*lines, f"texts: {found.problem}"])
    counts = ", ".join(f"{split} {rows}" for split, rows in found.rows.items())
    lines.append(f"texts: present, rows: {counts or 'none'}")
    lines += [f"absent: {what}: {sentence}" for what, sentence in found.absent.items()]
    lines += [f"unusable rows: {n}, {reason}" for reason, n in found.dropped.items()]
    good = found.images - len(found.missing) - len(found.corrupt)
    lines.append(f"images: {good} present and readable of {found.images}")
    for folder, number in found.absent_folders.items():
        lines.append(f"images: the folder {folder} is missing with {number} images")
    for what, files in (("missing", found.missing), ("corrupt", found.corrupt)):
        if files:
            more = ", ..." if len(files) > _NAMED else ""
            lines.append(f"images: {len(files)} {what}: {', '.join(files[:_NAMED])}{more}")
    return "\n".join(lines)


def _resize(module: Any, config: Any) -> Any:
    from amif_lightning.data.files.reduced_copies import resize_all

    return resize_all(
        module.images(),
        module.resized,
        short_side=config.resize,
        quality=config.quality,
        workers=config.workers,
        progress=not config.json,
    )
