"""Questions and pictures of parquet files, as the Hugging Face hub stores data sets.

Pictures inside parquet have no name, so the identity of one is the hash of its decoded pixels. They
are written into a folder once, and with them an index of the rows, so that readers and loaders meet
plain files. The parquet files are streamed; memory holds a few rows at a time.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm  # type: ignore[import-untyped]  # ships no type information

from amif_lightning.errors import UserError
from data_modules.embeddings_file import write_whole
from data_modules.images import decode_image
from data_modules.rows import DroppedRow, QARow, SplitName
from data_modules.teacher_parts import locked
from data_modules.text import collapse, normalise

COLUMNS = ("image", "question", "answer")
PICTURES = "pictures"
_BATCH = 32  # rows in memory at a time
_ENDINGS = ((b"\xff\xd8", ".jpg"), (b"\x89PNG", ".png"))

NO_PICTURE = "the row has no picture"
DAMAGED = "the picture cannot be decoded"
NO_TEXT = "question or answer is missing or no text"


@dataclass(frozen=True)
class ParquetQuestions:
    """The parquet files of a data set of questions, and the folder that they are unpacked into.

    Args:
        dataset: Name of the data class.
        files: The files of each split, in order.
        unpacked: Folder for unpacked data; each state of the files has a folder of its own there.
    """

    dataset: str
    files: Mapping[SplitName, Sequence[Path]]
    unpacked: Path

    @property
    def folder(self) -> Path:
        """Where this state of the files is unpacked."""
        state = [
            (split, file.name, file.stat().st_size, file.stat().st_mtime_ns)
            for split, files in self.files.items()
            for file in files
        ]
        mark = hashlib.sha256(json.dumps(state).encode()).hexdigest()[:16]
        return self.unpacked / f"{self.dataset}-{mark}"

    @property
    def index(self) -> Path:
        """One line for each row; it is written last, so where it is all pictures are."""
        return self.folder / "index.jsonl"

    def prepare(self, *, progress: bool = True) -> None:
        """Unpack the files unless that is done; pictures that are there are not written again.

        Raises:
            UserError: If the reader is not installed, or a file is damaged or of another form.
        """
        with locked(self.index):
            if self.index.is_file():
                return
            pictures = _Pictures(self.folder / PICTURES)
            lines = []
            for split, files in self.files.items():
                for number, values in enumerate(_rows(files, f"{self.dataset} {split}", progress)):
                    lines.append(json.dumps(_indexed(split, number, values, pictures)))
            text = "".join(f"{line}\n" for line in lines)

            def write(path: Path) -> None:
                path.write_text(text, encoding="utf-8")

            write_whole(self.index, write)

    def read(self) -> tuple[dict[SplitName, tuple[QARow, ...]], list[DroppedRow]]:
        """The rows of all splits, and those that cannot be used.

        Raises:
            UserError: If the files have not been unpacked.
        """
        try:
            text = self.index.read_text(encoding="utf-8")
        except FileNotFoundError:
            raise UserError(
                f"The parquet files of {self.dataset} are not unpacked in {self.folder}: run "
                f"`python -m amif_lightning prepare data --data {self.dataset} --data.root FOLDER`."
            ) from None
        splits: dict[SplitName, list[QARow]] = {split: [] for split in self.files}
        dropped = []
        for line in text.splitlines():
            entry = json.loads(line)
            split: SplitName = entry["split"]
            identity = f"{self.dataset}/{split}/{entry['row']}"
            if "dropped" in entry:
                dropped.append(DroppedRow(identity, entry["dropped"]))
                continue
            splits[split].append(
                QARow(
                    question_id=identity,
                    qid="",
                    split=split,
                    image_id=Path(entry["picture"]).stem,
                    image=f"{PICTURES}/{entry['picture']}",
                    question=entry["question"],
                    answer=entry["answer"],
                    references=(normalise(entry["answer"]),),
                )
            )
        return {split: tuple(rows) for split, rows in splits.items()}, dropped

    def file_of(self, row: QARow) -> Path:
        """Where a row's picture lies."""
        return self.folder / row.image


def find_parquet(root: Path) -> dict[SplitName, tuple[Path, ...]]:
    """The files of each split, named ``train-00000-of-00002-0123.parquet`` as on the hub.

    Args:
        root: Folder of the data set; files lie in it or in its folder ``data``.

    Returns:
        Files by split; splits without any are missing.
    """
    found: dict[SplitName, tuple[Path, ...]] = {}
    splits: tuple[SplitName, ...] = ("train", "validation", "test")
    for split in splits:
        for folder in (root / "data", root):
            files = tuple(sorted(folder.glob(f"{split}-*.parquet"))) or tuple(
                folder.glob(f"{split}.parquet")
            )
            if files:
                found[split] = files
                break
    return found


class _Pictures:
    """Writes each distinct picture once, under the hash of its pixels."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._known: dict[bytes, str | None] = {}  # by the hash of the stored bytes
        folder.mkdir(parents=True, exist_ok=True)

    def put(self, data: bytes) -> str | None:
        """The file name of a picture; None where it cannot be decoded."""
        key = hashlib.sha256(data).digest()
        if key not in self._known:
            self._known[key] = self._write(data)
        return self._known[key]

    def _write(self, data: bytes) -> str | None:
        temporary = self.folder / f".{os.getpid()}.tmp"
        temporary.write_bytes(data)
        try:
            picture = decode_image(temporary)
        except UserError:
            temporary.unlink()
            return None
        pixels = hashlib.sha256(f"{picture.size} ".encode() + picture.tobytes()).hexdigest()
        ending = next((end for start, end in _ENDINGS if data.startswith(start)), ".img")
        # Equal pixels in another file: the first one stays, so that an identity is one file.
        for _, known in (*_ENDINGS, (b"", ".img")):
            if (self.folder / f"{pixels}{known}").is_file():
                temporary.unlink()
                return f"{pixels}{known}"
        os.replace(temporary, self.folder / f"{pixels}{ending}")
        return f"{pixels}{ending}"


def _indexed(
    split: SplitName, number: int, values: Mapping[str, Any], pictures: _Pictures
) -> dict[str, Any]:
    """What the index says of a row: its texts and its picture, or why it cannot be used."""
    place: dict[str, Any] = {"split": split, "row": number}
    question, answer, image = (values[name] for name in ("question", "answer", "image"))
    if not all(isinstance(text, str) and normalise(text) for text in (question, answer)):
        return place | {"dropped": NO_TEXT}
    data = image.get("bytes") if isinstance(image, dict) else None
    if not data:
        return place | {"dropped": NO_PICTURE}
    picture = pictures.put(data)
    if picture is None:
        return place | {"dropped": DAMAGED}
    texts = {"question": collapse(question), "answer": collapse(answer)}
    return place | texts | {"picture": picture}


def _rows(files: Sequence[Path], title: str, progress: bool) -> Iterator[dict[str, Any]]:
    """The rows of files, one after the other."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise UserError(
            "Parquet files need the package pyarrow: run `pip install 'amif-lightning[data]'`."
        ) from error
    for path in files:
        try:
            with pyarrow.parquet.ParquetFile(path) as stored:
                names = set(stored.schema_arrow.names)
                if missing := [name for name in COLUMNS if name not in names]:
                    raise UserError(
                        f"{path} has no column {' and no column '.join(missing)}, so it is not the "
                        "expected release: download it again."
                    )
                bar = tqdm(
                    total=stored.metadata.num_rows,
                    desc=title,
                    unit="row",
                    disable=None if progress else True,
                )
                with bar:
                    for batch in stored.iter_batches(_BATCH, columns=list(COLUMNS)):
                        yield from batch.to_pylist()
                        bar.update(batch.num_rows)
        except (pyarrow.ArrowException, OSError) as error:
            what = " ".join(str(error).split())[:200]
            raise UserError(
                f"{path} cannot be read ({what}), probably a truncated download: fetch it again."
            ) from error
