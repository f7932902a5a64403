"""The embeddings file: a safetensors file, checked because anyone may have written it.

Its tensors ``image`` (N, T) and ``text`` (M, T) are float16 or float32, with rows of unit norm. Its
string metadata is :class:`About`, with lists and numbers as JSON.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from amif_lightning.data.files.atomic import replacing
from amif_lightning.errors import UserError, first_line

#: float16 rounds a unit row's norm by less than 1e-3.
NORM_TOLERANCE = 0.01
#: CLIP clamps its factor to 100 (logarithm 4.6); the factor itself would exceed this limit.
GREATEST_SCALE = 10.0
#: Maximum bytes of a safetensors header, which contains the ids.
LARGEST_HEADER = 100_000_000
OTHER_CACHE = "give another folder as --data.init_args.teacher_cache"


@dataclass(frozen=True)
class About:
    """The metadata of a file."""

    image_ids: tuple[str, ...]  # N ids, ``<dataset>/<relative path>``
    text_ids: tuple[str, ...]  # M ids, ``<dataset>/<study id>``
    logit_scale: float  # natural logarithm of the factor of the teacher's cosines
    teacher: str  # the source of the rows, in words
    data_fingerprint: str  # see ``fingerprint`` in data/teacher/cache.py

    def metadata(self) -> dict[str, str]:
        """Return the file's string metadata."""
        return {k: v if isinstance(v, str) else json.dumps(v) for k, v in asdict(self).items()}


def write_embeddings(path: Path, image: Tensor, text: Tensor, about: About) -> None:
    """Write N images (N, T) and M texts (M, T), float32, completely, or raise a UserError."""
    rows = {"image": image.cpu().contiguous(), "text": text.cpu().contiguous()}
    with replacing(path, OTHER_CACHE) as temporary:
        temporary.write_bytes(save(rows, about.metadata()))


def check_header(about: About) -> None:
    """Raise a UserError if a file cannot hold the ids; called before any computation."""
    size = len(json.dumps(about.metadata()))
    if size > LARGEST_HEADER - 1024:  # the rest of a header is shorter
        raise UserError(
            f"The ids of {len(about.image_ids)} images and {len(about.text_ids)} texts take "
            f"{size / 1e6:.0f} MB and an embeddings file holds {LARGEST_HEADER / 1e6:.0f} MB of "
            "them: give fewer studies or shorter file names."
        )


def read_about(path: Path) -> About:
    """Read and check a file's metadata only; raise a UserError if it is missing or wrong."""
    with _opened(path) as stored:
        return _about(path, stored)


def read_embeddings(path: Path) -> tuple[About, dict[str, Tensor]]:
    """Read and check a file; return its metadata and its tensors ``image`` and ``text``.

    Raises:
        UserError: If the file is missing or has another format, or a row is not a finite unit
            vector; the first such row is named.
    """
    with _opened(path) as stored:
        about = _about(path, stored)
        rows = {name: stored.get_tensor(name) for name in ("image", "text")}
    for name, ids in (("image", about.image_ids), ("text", about.text_ids)):
        if wrong := not_unit(rows[name], ids):
            raise _wrong(path, f"has a row of `{name}` that is {wrong}")
    return about, rows


def not_unit(rows: Tensor, ids: Sequence[str]) -> str:
    """Describe the first row that is not a finite unit vector; empty if all are."""
    norms = torch.linalg.vector_norm(rows, dim=1, dtype=torch.float32)
    # Negated, so that a NaN norm counts as wrong.
    wrong = ~((norms - 1).abs() <= NORM_TOLERANCE)
    if not wrong.any():
        return ""
    first = int(wrong.nonzero()[0])
    norm = float(norms[first])
    what = "zero" if norm == 0 else f"of norm {norm:.3g}" if math.isfinite(norm) else "not finite"
    return f"{what}, the first of {int(wrong.sum())}: {ids[first]}"


def _opened(path: Path) -> Any:
    if not path.is_file():
        raise UserError(
            f"The embeddings file {path} does not exist: give a file as "
            "--data.init_args.teacher_source, or another teacher as --data.init_args.teacher."
        )
    try:
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"The embeddings file {path} cannot be read ({first_line(error)}): it is damaged or "
            "not a safetensors file, so copy or make it again."
        ) from error


def _about(path: Path, stored: Any) -> About:
    metadata: Mapping[str, str] = stored.metadata() or {}
    for key in About.__dataclass_fields__:
        if key not in metadata:
            raise _wrong(path, f"has no metadata `{key}`")
    ids, widths = {}, []
    for name in ("image", "text"):
        ids[name] = _ids(path, f"{name}_ids", metadata[f"{name}_ids"])
        if name not in stored.keys():  # noqa: SIM118  # the library's object is no mapping
            raise _wrong(path, f"has no tensor `{name}`")
        part = stored.get_slice(name)
        shape, kind = part.get_shape(), part.get_dtype()
        if len(shape) != 2 or kind not in ("F16", "F32"):
            raise _wrong(path, f"has `{name}` of type {kind} and shape {tuple(shape)}")
        if shape[0] != len(ids[name]):
            raise _wrong(path, f"has {shape[0]} rows of `{name}` and {len(ids[name])} ids of them")
        widths.append(shape[1])
    if widths[0] != widths[1]:
        raise _wrong(
            path,
            f"has images of width {widths[0]} and texts of width {widths[1]}, not of one space",
        )
    scale = metadata["logit_scale"]
    try:
        number = float(scale)
    except ValueError:
        number = math.nan
    if not -math.inf < number <= GREATEST_SCALE:  # also if it is not a number
        raise _wrong(
            path,
            f"has logit_scale {scale}, which is not the natural logarithm of a factor of cosines "
            "(CLIP's is 4.6)",
        )
    return About(
        ids["image"], ids["text"], number, metadata["teacher"], metadata["data_fingerprint"]
    )


def _ids(path: Path, key: str, text: str) -> tuple[str, ...]:
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, list) or not all(isinstance(entry, str) for entry in found):
        raise _wrong(path, f"has metadata `{key}` that is no JSON list of strings")
    if len(set(found)) < len(found):
        twice, _ = Counter(found).most_common(1)[0]
        raise _wrong(path, f"names {twice} twice in `{key}`")
    return tuple(found)


def _wrong(path: Path, what: str) -> UserError:
    return UserError(
        f"The embeddings file {path} {what}: make it again as docs/architecture.md describes "
        "(rows of unit norm, one for each id)."
    )
