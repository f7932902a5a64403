"""Unpack questions and images from parquet files of the Hugging Face hub.

Images and an index of the rows are written once, and loaders read plain files. Memory holds a batch
of rows and its page. Images have no names in parquet, so the hash of the pixels identifies them.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

from tqdm import tqdm

from amif_lightning.data.files.atomic import locked, replacing
from amif_lightning.data.files.names import is_text, under
from amif_lightning.data.files.tables import TableFile, read_json_lines
from amif_lightning.data.preprocessing.images import decode_image
from amif_lightning.data.preprocessing.normalization import collapse, normalise
from amif_lightning.data.schema.questions import DroppedRow, SplitName, VQAExample
from amif_lightning.errors import UserError, first_line

COLUMNS = ("image", "question", "answer")
_READ = ["image.bytes", "question", "answer"]  # image.path is unused
IMAGES = "pictures"  # the name of earlier versions: sets unpacked by them stay readable
_SHARD = re.compile(r".+-(\d+)-of-(\d+)(?:-[0-9a-f]+)?\.parquet")
_BATCH = 32  # decoded rows in memory at a time
# Arrow's defaults read a whole file ahead, or whole columns of a row group.
_STREAMING = {"pre_buffer": False, "buffer_size": 2**20}
_ENDINGS, _OTHER = {b"\xff\xd8": ".jpg", b"\x89PNG": ".png"}, ".img"
_ADVICE = "make room or give another folder as --data.init_args.unpacked"

NO_IMAGE = "the row has no image"
DAMAGED = "the image cannot be decoded"
NO_TEXT = "question or answer is missing or no text"


@dataclass(frozen=True)
class ParquetQuestions:
    """The parquet files of a question set, in order.

    Each state of the files is unpacked into its own folder in ``unpacked``.
    """

    dataset: str
    files: Mapping[SplitName, Sequence[Path]]
    unpacked: Path

    @cached_property
    def folder(self) -> Path:
        """Folder for this state of the files, cached in case a file is moved during a run."""
        state = [
            (split, file.name, file.stat().st_size, file.stat().st_mtime_ns)
            for split, files in self.files.items()
            for file in files
        ]
        mark = hashlib.sha256(json.dumps(state).encode()).hexdigest()[:16]
        return self.unpacked / f"{self.dataset}-{mark}"

    @property
    def index(self) -> Path:
        """One line per row; written last, so it marks a complete folder."""
        return self.folder / "index.jsonl"

    def prepare(self) -> None:
        """Unpack the files unless the folder is complete; existing images are kept.

        Raises:
            UserError: If pyarrow is missing, a split's file is missing, damaged, duplicated or in
                another format, or the folder cannot be written.
        """
        if self.index.is_file():
            return  # without the lock: a finished folder may be read-only
        for split, files in self.files.items():
            _check_whole(self.dataset, split, files)
        with locked(self.index, _ADVICE):
            if self.index.is_file():
                return
            images = _Images(self.folder / IMAGES)
            lines = [
                json.dumps({"split": split, "row": number} | _indexed(values, images))
                for split, files in self.files.items()
                for number, values in enumerate(_rows(files, f"{self.dataset} {split}"))
            ]
            with replacing(self.index, _ADVICE) as temporary:
                temporary.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")

    def read(self) -> tuple[dict[SplitName, tuple[VQAExample, ...]], list[DroppedRow]]:
        """Return the usable rows by split, and the dropped rows.

        Raises:
            UserError: If the files have not been unpacked, or the index is damaged.
        """
        if not self.index.is_file():
            raise UserError(
                f"The parquet files of {self.dataset} are not unpacked in {self.folder}: run "
                f"`python -m amif_lightning prepare data --data {self.dataset} --data.root FOLDER`."
            )
        anew = f"delete the folder {self.folder} and run again to make it again"
        source = TableFile(self.index, self.dataset, anew)
        splits: dict[SplitName, list[VQAExample]] = {split: [] for split in self.files}
        dropped = []
        for number, entry in read_json_lines(source, None):
            try:
                split: SplitName = entry["split"]
                identity = f"{self.dataset}/{split}/{entry['row']}"
                if "dropped" in entry:
                    dropped.append(DroppedRow(identity, str(entry["dropped"])))
                    continue
                if not all(is_text(entry[name]) for name in ("picture", "question", "answer")):
                    raise TypeError("text")
                row = VQAExample(
                    question_id=identity,
                    qid="",
                    split=split,
                    image_key=Path(entry["picture"]).stem,
                    image=f"{IMAGES}/{entry['picture']}",
                    question=entry["question"],
                    answer=entry["answer"],
                    references=(normalise(entry["answer"]),),
                )
                splits[split].append(row)
            except (KeyError, TypeError) as error:
                raise source.error(f"cannot be read (line {number}: no {error})") from error
        return {split: tuple(rows) for split, rows in splits.items()}, dropped

    def file_of(self, row: VQAExample) -> Path:
        """Return the file of a row's image."""
        return under(self.folder, row.image)


def find_parquet(root: Path) -> dict[SplitName, tuple[Path, ...]]:
    """Return each split's files in ``root`` or ``root/data``; splits without files are omitted."""
    found: dict[SplitName, tuple[Path, ...]] = {}
    for split in get_args(SplitName):
        for folder in (root / "data", root):
            files = sorted(folder.glob(f"{split}-*.parquet"))
            files = files or list(folder.glob(f"{split}.parquet"))
            if files:
                found[split] = tuple(files)
                break
    return found


def _check_whole(dataset: str, split: str, files: Sequence[Path]) -> None:
    """Refuse a split with a missing or duplicated file: its rows would differ from the release."""
    named = [match for file in files if (match := _SHARD.fullmatch(file.name))]
    if not named:
        return  # a single file, or the user's own names
    numbers = sorted(int(match[1]) for match in named)
    totals = {int(match[2]) for match in named}
    wanted = list(range(min(totals)))
    if len(named) == len(files) and len(totals) == 1 and numbers == wanted:
        return
    missing = sorted(set(wanted) - set(numbers))
    what = f"number {missing[0]} is missing" if missing else "some belong to another release"
    raise UserError(
        f"{dataset}: the {len(files)} {split} files in {files[0].parent} are not one complete "
        f"release ({what}), so keep or fetch those named {split}-NUMBER-of-{min(totals):05d}."
    )


class _Images:
    """Write each distinct image once, named by the hash of its pixels."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._known: dict[bytes, str | None] = {}  # by the hash of the stored bytes

    def put(self, data: bytes) -> str | None:
        """The file name of an image; None if it cannot be decoded."""
        key = hashlib.sha256(data).digest()
        if key not in self._known:
            self._known[key] = self._write(data)
        return self._known[key]

    def _write(self, data: bytes) -> str | None:
        try:
            image = decode_image(io.BytesIO(data))
        except UserError:
            return None
        pixels = hashlib.sha256(f"{image.size} ".encode() + image.tobytes()).hexdigest()
        # Of several encodings of the same pixels the first is kept.
        for ending in (*_ENDINGS.values(), _OTHER):
            if (self.folder / f"{pixels}{ending}").is_file():
                return f"{pixels}{ending}"
        ending = next((end for start, end in _ENDINGS.items() if data.startswith(start)), _OTHER)
        with replacing(self.folder / f"{pixels}{ending}", _ADVICE, sync=False) as temporary:
            temporary.write_bytes(data)
        return f"{pixels}{ending}"


def _indexed(values: Mapping[str, Any], images: _Images) -> dict[str, Any]:
    """The index entry of a row: its texts, and its image or the reason to drop it."""
    question, answer, image = (values[name] for name in ("question", "answer", "image"))
    if not all(isinstance(text, str) and normalise(text) for text in (question, answer)):
        return {"dropped": NO_TEXT}
    if not image or not image["bytes"]:
        return {"dropped": NO_IMAGE}
    stored = images.put(image["bytes"])
    if stored is None:
        return {"dropped": DAMAGED}
    return {"question": collapse(question), "answer": collapse(answer), "picture": stored}


def _rows(files: Sequence[Path], title: str) -> Iterator[dict[str, Any]]:
    for path in files:
        yield from _read(path, COLUMNS, title, _READ)


def read_columns(path: Path, columns: Sequence[str], title: str) -> Iterator[dict[str, Any]]:
    """Yield the cells of each row of a user's table, by column.

    Raises:
        UserError: If pyarrow or the file is missing, the file is damaged, or lacks a column.
    """
    return _read(path, columns, title)


def _read(
    path: Path, columns: Sequence[str], title: str, fields: Sequence[str] | None = None
) -> Iterator[dict[str, Any]]:
    """Yield the cells of each row by column; only ``fields`` of the hub's layout are read."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise UserError(
            "Parquet files need the package pyarrow: run `pip install 'amif-lightning[data]'`."
        ) from error
    try:
        with pyarrow.parquet.ParquetFile(path, **_STREAMING) as stored:
            if fields is None:
                _check_own(path, stored.schema_arrow, columns, title)
            else:
                _check_columns(path, stored.schema_arrow)
            rows = stored.metadata.num_rows
            with tqdm(total=rows, desc=title, unit="row", disable=None) as bar:
                for batch in stored.iter_batches(_BATCH, columns=list(fields or columns)):
                    cells = [map(_value, batch[name]) for name in columns]
                    for values in zip(*cells, strict=True):
                        yield dict(zip(columns, values, strict=True))
                    bar.update(batch.num_rows)
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(
            f"{path} cannot be read ({first_line(error)}), probably a truncated download: "
            "fetch it again."
        ) from error


def _check_own(path: Path, schema: Any, columns: Sequence[str], title: str) -> None:
    """Check the columns of a user's table, which names images by path."""
    for name in columns:
        if schema.names.count(name) != 1:
            raise UserError(
                f"{title}: {path} has no column {name!r} (it has {', '.join(schema.names)[:200]}), "
                "so name another one in --data.init_args."
            )
        if str(schema.field(name).type).startswith(("struct", "binary", "large_binary")):
            raise UserError(
                f"{title}: column {name!r} of {path} holds no text (it is of the type "
                f"{schema.field(name).type}), so write images to files and their paths to a column."
            )


def _check_columns(path: Path, schema: Any) -> None:
    if missing := [name for name in COLUMNS if schema.names.count(name) != 1]:
        what = f"has no column {' and no column '.join(missing)}"
    else:
        image = schema.field("image").type
        fields = [image.field(number) for number in range(image.num_fields)]
        kinds = [str(field.type) for field in fields if field.name == "bytes"]
        if kinds in (["binary"], ["large_binary"]):
            return
        what = f"holds no encoded images in its column image (it is of the type {image})"
    raise UserError(f"{path} {what}, so it is not the expected release: download it again.")


def _value(cell: Any) -> Any:
    """The value of a cell; None for text that is not UTF-8, which Arrow does not check."""
    try:
        return cell.as_py()
    except UnicodeDecodeError:
        return None
