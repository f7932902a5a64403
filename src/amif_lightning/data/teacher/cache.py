"""Cache of a teacher's embeddings of a data set, computed once and looked up by id."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from amif_lightning.data.files.atomic import locked
from amif_lightning.data.preprocessing.images import MAX_PIXELS
from amif_lightning.data.teacher.extract import compute
from amif_lightning.data.teacher.store import (
    OTHER_CACHE,
    About,
    check_header,
    read_about,
    read_embeddings,
    write_embeddings,
)
from amif_lightning.errors import UserError


@dataclass(frozen=True)
class Embeddings:
    """Features of a teacher by id; ``path`` is their origin, for error sentences."""

    path: Path
    scale: float  # the teacher's logit scale, a natural logarithm
    rows: Mapping[str, Tensor]  # by kind, ``image`` and ``text``
    places: Mapping[str, Mapping[str, int]]  # the row of each id, by kind

    @classmethod
    def read(cls, path: Path) -> Embeddings:
        """Read an embeddings file; a missing or wrong file raises a UserError."""
        about, rows = read_embeddings(path)
        ids = {"image": about.image_ids, "text": about.text_ids}
        places = {kind: {name: n for n, name in enumerate(names)} for kind, names in ids.items()}
        return cls(path, about.logit_scale, rows, places)

    def image(self, ids: Sequence[str]) -> Tensor:
        """Return the rows (B, T) of images, float32; a missing id is a ``UserError``."""
        return self._of("image", ids)

    def text(self, ids: Sequence[str]) -> Tensor:
        """Return the rows (B, T) of texts, float32; a missing id is a ``UserError``."""
        return self._of("text", ids)

    def _of(self, kind: str, ids: Sequence[str]) -> Tensor:
        places = self.places[kind]
        _check_ids(self.path, kind, ids, places)
        rows = torch.tensor([places[name] for name in ids], dtype=torch.long)
        return self.rows[kind][rows].float()


def fingerprint(ids: Sequence[str], sizes: Sequence[int], texts: Mapping[str, str]) -> str:
    """Return 64 hexadecimal digits that identify a data set, whatever the order of its samples.

    SHA-256 over the lines ``["image", id, size]`` sorted by id, then ``["text", id, hash]`` sorted
    by id: each a JSON list as Python's ``json.dumps`` writes it, in ASCII, and a line feed. Sizes
    are in bytes; a text's hash is the hexadecimal SHA-256 of its UTF-8 bytes.
    """
    digest = hashlib.sha256()
    lines: list[list[str | int]] = [
        ["image", name, size] for name, size in sorted(zip(ids, sizes, strict=True))
    ]
    lines += [["text", name, _sha256(text)] for name, text in sorted(texts.items())]
    for line in lines:
        digest.update(json.dumps(line).encode() + b"\n")
    return digest.hexdigest()


def teacher_embeddings(
    folder: Path,
    teacher: str,
    source: str,
    images: Mapping[str, Path],
    texts: Mapping[str, str],
    *,
    texts_of: Mapping[str, Sequence[str]] | None = None,
    num_workers: int = 2,
    max_pixels: int = MAX_PIXELS,
) -> Path:
    """Return the file in ``folder`` with a teacher's embeddings of a data set, computed if missing.

    An interrupted computation continues from parts next to the file. On one machine, a second
    process waits for the first. File names contain a hash of teacher and data.

    Args:
        folder: Folder of all such files.
        teacher: ``open_clip``, ``text`` (sentence embeddings), ``checkpoint`` (an earlier
            pre-training run) or ``embeddings`` (a given file, which is checked against the data).
        source: As for :func:`open_teacher`, or the embeddings file.
        images: Files by ``<dataset>/<relative path>``.
        texts: Texts by ``<dataset>/<study id>``.
        texts_of: The ids of the texts of each image, which the teacher ``text`` needs.
        num_workers: Processes that decode images.
        max_pixels: Largest image to decode.

    Raises:
        UserError: If the teacher cannot be loaded, an image is missing or damaged, or a file
            belongs to another teacher or data set.
    """
    if teacher in ("checkpoint", "embeddings") and not source:
        raise UserError(
            f"The teacher `{teacher}` needs a file: give --data.init_args.teacher_source FILE."
        )
    if not images or not texts:
        raise UserError(
            f"There are {len(images)} images and {len(texts)} texts for the teacher: give a data "
            "set that has both."
        )
    images, texts = dict(sorted(images.items())), dict(sorted(texts.items()))
    data = fingerprint(list(images), [_size(path) for path in images.values()], texts)
    if teacher == "embeddings":
        path = Path(source)
        _check(path, read_about(path), data, images, texts)
        return path

    from amif_lightning.data.teacher import networks  # its libraries are slow to import

    name = networks.teacher_name(teacher, source)
    path = folder / f"{teacher}-{_sha256(name + data)[:16]}.safetensors"
    if not path.is_file():
        parts = path.with_suffix(".parts")
        with locked(path, OTHER_CACHE):
            if not path.is_file():  # another process may have made it meanwhile
                print(f"Teacher embeddings ({name}): computing {path}", flush=True)
                check_header(About(tuple(images), tuple(texts), 0.0, name, data))
                given = networks.open_teacher(teacher, source)
                rows = compute(given, images, texts, parts, num_workers, max_pixels, texts_of)
                about = About(tuple(images), tuple(texts), given.scale, name, data)
                write_embeddings(path, *rows, about)
                shutil.rmtree(parts, ignore_errors=True)
    about = read_about(path)
    if about.teacher != name:
        raise UserError(
            f"{path} holds embeddings of another teacher ({about.teacher}, not {name}): delete "
            "the file to compute it again."
        )
    _check(path, about, data, images, texts)
    return path


def _check(
    path: Path, about: About, data: str, images: Collection[str], texts: Collection[str]
) -> None:
    _check_ids(path, "image", images, frozenset(about.image_ids))
    _check_ids(path, "text", texts, frozenset(about.text_ids))
    if about.data_fingerprint != data:
        raise UserError(
            f"{path} holds embeddings of other data: its data_fingerprint is "
            f"{about.data_fingerprint} and that of this data set is {data}, so image files or "
            "texts have changed; make it again from this data."
        )


def _check_ids(path: Path, what: str, ids: Iterable[str], known: Collection[str]) -> None:
    missing = [name for name in ids if name not in known]
    if missing:
        raise UserError(
            f"{path} holds no {what} {missing[0]} ({len(missing)} ids are missing): make "
            "the embeddings of this data set with `python -m amif_lightning prepare teacher`."
        )


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise UserError(
            f"The image {path} does not exist: check the data set's folder with "
            "`python -m amif_lightning audit`."
        ) from error


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
