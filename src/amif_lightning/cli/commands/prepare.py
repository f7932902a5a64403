"""``prepare``: data, pretrained weights, a teacher's embeddings, and the experiment files."""

from __future__ import annotations

import argparse
import shlex
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from amif_lightning.cli.data_command import build, data_base, data_parser
from amif_lightning.data.files.atomic import new_folder
from amif_lightning.errors import UserError

HELP = """\
prepare data         download a data set, unpack it, make reduced copies of its images
prepare weights      download the pretrained models of the paper's size, for runs without network
prepare teacher      compute and store the teacher's embeddings of a data set
prepare experiments  copy the experiment files of the installed package into a folder

`prepare data --help`, and so on, lists the options."""


def main(argv: Sequence[str]) -> int:
    """Run the command that the first word after ``prepare`` names.

    Returns 1 if an image could not be reduced, else 0.

    Raises:
        UserError: If an option is wrong, the data or weights cannot be fetched or read or have no
            teacher, or the folder of the experiments exists.
    """
    what = "" if not argv else argv[0]
    if what in {"-h", "--help"}:
        print(HELP)
        return 0
    commands = {
        "data": _data,
        "weights": _weights,
        "teacher": _teacher,
        "experiments": _experiments,
    }
    if what not in commands:
        raise UserError(
            f"`{' '.join(['prepare', *argv[:1]])}` prepares nothing: write "
            "`prepare data --data CLASS`, `prepare weights --to FOLDER`, "
            "`prepare teacher --config EXPERIMENT` or `prepare experiments`."
        )
    return commands[what](argv[1:])


def _data(argv: Sequence[str]) -> int:
    base = data_base()
    parser = data_parser(
        "prepare data",
        "Download a data set if asked to, unpack it, count its rows and make reduced copies of its "
        "images. `audit` checks the images. Exit code 1: an image could not be reduced.",
        base,
    )
    add = parser.add_argument
    add("--download", action="store_true", help="Fetch what is missing first, if allowed; resumes.")
    add("--no_checksum", action="store_true", help="Do not compare the publisher's checksums.")
    add("--resize", type=int, help="Short side of copies to make in --data.resized; restarts.")
    add("--quality", type=int, default=90, help="JPEG quality of the copies, 1 to 95.")
    add("--workers", type=int, default=2, help="Images reduced in parallel.")
    built, config = build(parser, base, argv)
    module = built.data
    from amif_lightning.data.files.reduced_copies import check_options, resize_all
    from amif_lightning.data.files.sources import fetch, source_of

    if config.resize is not None and module.resized is None:  # before hours of download
        raise UserError("Reduced copies need a folder: give --data.resized FOLDER with --resize.")
    if config.resize is not None:
        check_options(config.resize, config.quality, config.workers)
    source = source_of(module)
    if config.download:
        if source is None:
            raise UserError(
                f"{type(module).__name__} has nothing to download: it is generated, made of other "
                "data sets, or your own."
            )
        fetch(source, module.root, checksum=not config.no_checksum)
    try:
        print(_read(module))
    except UserError as error:
        if source is None or config.download:
            raise
        raise UserError(f"{str(error).rstrip('.')}; to get it, {source.instructions}.") from error
    if config.resize is None:
        return 0
    reduced = resize_all(
        module.images(),
        module.resized,
        short_side=config.resize,
        quality=config.quality,
        workers=config.workers,
        max_pixels=module.max_image_pixels,
    )
    for sentence in list(reduced.failed.values())[:5]:
        print(sentence)
    print(f"reduced copies: {reduced.made} made, {reduced.kept} kept, {len(reduced.failed)} failed")
    return int(bool(reduced.failed))


def _read(module: Any) -> str:
    """Unpack or generate a data set, and report its row counts."""
    if hasattr(module, "without_teacher"):
        module.without_teacher()  # `prepare teacher` computes its embeddings
    module.prepare_data()
    release = module.release
    counts = ", ".join(f"{split} {len(rows)}" for split, rows in release.splits.items() if rows)
    lines = [f"{type(module).__name__} in {module.root}: rows: {counts or 'none'}"]
    lines += [f"absent: {what}: {sentence}" for what, sentence in release.absent.items()]
    dropped = Counter(row.reason for row in release.dropped)
    lines += [f"unusable rows: {n}, {reason}" for reason, n in dropped.items()]
    return "\n".join(lines)


def _weights(argv: Sequence[str]) -> int:
    from amif_lightning.data.files.weights import PARTS, fetch_weights

    parser = argparse.ArgumentParser(
        prog="python -m amif_lightning prepare weights",
        description="Download the pretrained models of the paper's size from the Hugging Face hub "
        "(or HF_ENDPOINT) and print the options of a run that uses them without network. An "
        "interrupted download is continued by the next call (docs/weights.md).",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--to", type=Path, required=True, metavar="FOLDER", help="gets a sub-folder per model")
    add(
        "--only",
        nargs="+",
        choices=list(PARTS),
        default=list(PARTS),
        help="models to download; default: all, of which pre-training alone needs the teacher",
    )
    args = parser.parse_args(argv)
    folders = fetch_weights(args.to, args.only)
    print("Options of a run, with HF_HUB_OFFLINE=1 in its environment:")
    for part, folder in zip(args.only, folders, strict=True):
        print(f"  {PARTS[part].options.replace('{}', shlex.quote(str(folder)))}")
    return 0


def _experiments(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m amif_lightning prepare experiments",
        description="Copy the experiment files of the installed package. Commands of the documents "
        "name them as experiments/...",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--to", type=Path, default=Path("experiments"), metavar="FOLDER", help="a new folder")
    folder = parser.parse_args(argv).to
    package = Path(__file__).parents[2]
    source = package / "experiments"
    if not source.is_dir():  # a clone, which the package is imported from
        source = package.parents[1] / "experiments"
    if folder.exists():
        raise UserError(f"{folder} exists: give --to another folder, so that no file is replaced.")
    with new_folder(folder) as unfinished:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(source, unfinished, ignore=ignored, dirs_exist_ok=True)
        unfinished.rename(folder)
    print(f"{sum(1 for path in folder.rglob('*.yaml'))} files copied to {folder}")
    return 0


def _teacher(argv: Sequence[str]) -> int:
    base = data_base()
    parser = data_parser(
        "prepare teacher",
        "Compute the embeddings of a data set's images and texts by the teacher of its `data:`, "
        "store them in the folder `teacher_cache` and print the file. An interrupted call is "
        "resumed by the next one; a finished one is not repeated.",
        base,
    )
    built, config = build(parser, base, argv)
    module, name = built.data, config.data.class_path.rpartition(".")[2]
    if not hasattr(module, "embeddings_file"):
        raise UserError(
            f"data {name} has no teacher: give a data class of the pre-training stage, such as "
            "PhantomStudies."
        )
    module.prepare_data()
    path: Path | None = module.embeddings_file()
    if path is None:
        raise UserError(
            f"data {name} has teacher {module.teacher}, which needs no embeddings file: give "
            "--data.teacher open_clip, checkpoint or embeddings."
        )
    print(path)
    return 0
