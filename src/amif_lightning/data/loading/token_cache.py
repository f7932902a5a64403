"""Tokens of frozen encoders, computed once and read from memory-mapped files.

Letters: I images, P image tokens, B texts, L text tokens, D encoder width.
"""

from __future__ import annotations

import hashlib
import json
import os
from bisect import bisect_right
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from amif_lightning.batch import Tokens, pad_tokens
from amif_lightning.data.files.atomic import check_room, locked, unwritable
from amif_lightning.data.preprocessing.images import MAX_PIXELS
from amif_lightning.data.preprocessing.transforms import ImageTransform, read_square
from amif_lightning.errors import UserError

if TYPE_CHECKING:
    from amif_lightning.data.loading.vqa_module import VQADataModule

CacheType = Literal["float16", "float32"]
OTHER_CACHE = "give another folder as --data.init_args.token_cache"
Key = TypeVar("Key", bound=Hashable)

# Fixed, because the last bits of a matrix product depend on the batch.
BATCH = 32


@dataclass(frozen=True)
class FrozenEncoders:
    """The encoders of a task that do not train, in evaluation mode and without gradients.

    Attributes:
        image: Maps images (I, 3, H, W) on the CPU to tokens (I, P, D); None if it trains.
        text: Maps token ids and mask (B, L) on the CPU to states (B, L, D); None if it trains.
        image_name: Identifies the weights and settings of ``image``.
        text_name: Identifies the weights and settings of ``text``.
    """

    image: Callable[[Tensor], Tensor] | None
    text: Callable[[Tokens], Tensor] | None
    image_name: str
    text_name: str


class TokenTable(Generic[Key]):
    """Token rows (length, D) by key, in a memory-mapped file without a header."""

    def __init__(
        self, path: Path, ends: Sequence[int], width: int, dtype: CacheType, keys: Iterable[Key]
    ) -> None:
        self.path, self._width, self._dtype = path, width, np.dtype(dtype)
        starts = [0, *ends]
        self._rows = {key: slice(*starts[n : n + 2]) for n, key in enumerate(keys)}
        expected = starts[-1] * width * self._dtype.itemsize
        if path.stat().st_size != expected:
            raise UserError(
                f"The token cache {path} has {path.stat().st_size} bytes instead of {expected}: "
                "delete it to compute it again."
            )
        self._values: NDArray[Any] | None = None

    def __getitem__(self, key: Key) -> Tensor:
        """Return the tokens (length, D) of one image or text."""
        if self._values is None:
            self._values = np.memmap(self.path, self._dtype, "r").reshape(-1, self._width)
        return torch.from_numpy(self._values[self._rows[key]].copy())

    def __getstate__(self) -> dict[str, Any]:
        # Spawned workers open the file again; pickle would copy its content.
        return self.__dict__ | {"_values": None}


def frozen_encoders(data: VQADataModule) -> FrozenEncoders | None:
    """Return the frozen encoders of a module's task; None without a token cache.

    Raises:
        UserError: If no encoder is frozen.
    """
    if data.token_cache is None or data.trainer is None:
        return None
    task: Any = data.trainer.lightning_module
    encoders: FrozenEncoders = task.frozen_encoders()
    if encoders.image is None and encoders.text is None:
        raise UserError(
            "data.init_args.token_cache caches the tokens of frozen encoders and none is frozen: "
            "give --model.init_args.freeze_vision true, or leave the cache out."
        )
    return encoders


def image_table(
    data: VQADataModule, files: Iterable[Path], augmentation: str
) -> TokenTable[Path] | None:
    """Return the cached image tokens of files; None if images are encoded in every step.

    Raises:
        UserError: If images are augmented, or the cache cannot be made.
    """
    encoders = frozen_encoders(data)
    if encoders is None or encoders.image is None or data.token_cache is None:
        return None
    if augmentation != "none":
        raise UserError(
            f"data.init_args.augmentation is {augmentation!r} and the tokens of augmented images "
            "cannot be cached: give --data.init_args.augmentation none, or leave out "
            "--data.init_args.token_cache."
        )
    return image_tokens(
        data.token_cache,
        encoders,
        files,
        data.image_size,
        data.cache_dtype,
        data.num_workers,
        data.max_image_pixels,
    )


def text_table(data: VQADataModule, texts: Iterable[str]) -> TokenTable[tuple[int, ...]] | None:
    """Return the cached states of questions by token ids; None if encoded in every step."""
    encoders = frozen_encoders(data)
    if encoders is None or encoders.text is None or data.token_cache is None:
        return None
    encode, limit = data.tokenizer.encode, data.max_question_tokens
    ids = {tuple(encode(text, limit)) for text in texts}
    return text_tokens(data.token_cache, encoders, ids, data.tokenizer.pad_id, data.cache_dtype)


def image_tokens(
    folder: Path,
    encoders: FrozenEncoders,
    files: Iterable[Path],
    image_size: int,
    dtype: CacheType,
    num_workers: int,
    max_pixels: int = MAX_PIXELS,
) -> TokenTable[Path]:
    """Return the tokens of image files, shown without augmentation; computed if not in ``folder``.

    Raises:
        UserError: If an image is missing or damaged, or the cache cannot be written.
    """
    encode = encoders.image
    assert encode is not None
    paths = sorted(set(files))
    data = _Images(paths, image_size, max_pixels)

    def batches(done: int) -> Iterable[Tensor]:
        # A separate generator keeps the run's random numbers independent of this computation.
        rows = range(done, len(paths))
        loader = DataLoader(
            data, BATCH, sampler=rows, num_workers=num_workers, generator=torch.Generator()
        )
        for pixels in loader:
            yield encode(pixels).flatten(0, 1)

    first = encode(data[0][None])
    name = json.dumps([encoders.image_name, image_size, [_version(path) for path in paths]])
    lengths = [first.shape[1]] * len(paths)
    return _table(folder, "image", name, paths, lengths, first.shape[2], dtype, batches)


def text_tokens(
    folder: Path,
    encoders: FrozenEncoders,
    texts: Iterable[tuple[int, ...]],
    pad_id: int,
    dtype: CacheType,
) -> TokenTable[tuple[int, ...]]:
    """Return the states of texts, given as token ids; computed if not in ``folder``.

    Raises:
        UserError: If the cache cannot be written.
    """
    encode = encoders.text
    assert encode is not None
    rows = sorted(set(texts), key=lambda ids: (len(ids), ids))

    def batches(done: int) -> Iterable[Tensor]:
        for start in range(done, len(rows), BATCH):
            tokens = pad_tokens(rows[start : start + BATCH], pad_id)
            yield encode(tokens).cpu()[tokens.mask]

    width = encode(pad_tokens(rows[:1], pad_id)).shape[2]
    name = json.dumps([encoders.text_name, rows])
    return _table(folder, "text", name, rows, [len(ids) for ids in rows], width, dtype, batches)


def _version(path: Path) -> tuple[str, int, int]:
    try:
        status = path.stat()
    except OSError as error:
        raise UserError(
            f"The image {path} does not exist: check the data set's folder with "
            "`python -m amif_lightning audit`."
        ) from error
    return str(path.resolve()), status.st_size, status.st_mtime_ns


def padded_states(table: TokenTable[tuple[int, ...]], texts: Sequence[Sequence[int]]) -> Tensor:
    """Look up the states of B texts and pad them with zeros to (B, L, D)."""
    return pad_sequence([table[tuple(ids)] for ids in texts], batch_first=True)


class _Images(Dataset[Tensor]):
    def __init__(self, paths: Sequence[Path], size: int, max_pixels: int) -> None:
        self.paths, self.transform, self.max_pixels = paths, ImageTransform(size), max_pixels

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> Tensor:
        return self.transform(read_square(self.paths[row], self.transform.size, self.max_pixels))


def _table(
    folder: Path,
    kind: str,
    name: str,
    keys: Sequence[Key],
    lengths: Sequence[int],
    width: int,
    dtype: CacheType,
    batches: Callable[[int], Iterable[Tensor]],
) -> TokenTable[Key]:
    """Open the table that ``name`` identifies; an interrupted computation continues."""
    digest = hashlib.sha256(f"{dtype} {width} {name}".encode()).hexdigest()[:16]
    path, ends = folder / f"{kind}-{digest}.tokens", list(accumulate(lengths))
    if not path.is_file():
        with locked(path, OTHER_CACHE):
            if not path.is_file():  # another process may have made it meanwhile
                _compute(path, kind, ends, width, np.dtype(dtype), batches)
    return TokenTable(path, ends, width, dtype, keys)


def _compute(
    path: Path,
    kind: str,
    ends: Sequence[int],
    width: int,
    dtype: np.dtype[Any],
    batches: Callable[[int], Iterable[Tensor]],
) -> None:
    partial, token = path.with_suffix(".partial"), width * dtype.itemsize
    try:
        written = partial.stat().st_size if partial.exists() else 0
        done = bisect_right(ends, written // token) // BATCH * BATCH
        start = ends[done - 1] * token if done else 0
        missing = ends[-1] * token - start
        check_room(f"The token cache {path}", path.parent, missing, f"make room or {OTHER_CACHE}")
        with (
            partial.open("r+b" if written else "wb") as stream,
            tqdm(total=len(ends), initial=done, desc=f"{kind} tokens", unit=kind) as bar,
        ):
            stream.truncate(start)
            stream.seek(start)
            for values in batches(done):
                with np.errstate(over="ignore"):  # checked below
                    array = values.cpu().numpy().astype(dtype)
                if not np.isfinite(array).all():
                    raise UserError(
                        f"The {kind} encoder gives a token that is not finite in {dtype}: give "
                        "--data.init_args.cache_dtype float32, or other weights."
                    )
                stream.write(array.tobytes())
                stream.flush()
                bar.update(min(BATCH, len(ends) - bar.n))
            os.fsync(stream.fileno())
        os.replace(partial, path)
    except OSError as error:
        raise unwritable(partial, error, OTHER_CACHE) from error
