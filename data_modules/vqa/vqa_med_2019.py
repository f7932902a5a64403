"""VQA-Med-2019: the ImageCLEF 2019 task on MedPix images (Ben Abacha et al., CLEF 2019)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from amif_lightning.arguments import check_choice
from amif_lightning.data.files.json_files import check_folder
from amif_lightning.data.loading.options import VQAOptions
from amif_lightning.data.loading.vqa_module import VQADataModule
from amif_lightning.data.preprocessing.normalization import collapse, normalise
from amif_lightning.data.schema.answers import med_2019_references
from amif_lightning.data.schema.questions import (
    DroppedRow,
    Release,
    SplitName,
    VQAExample,
    unusable,
)
from amif_lightning.errors import UserError
from amif_lightning.signatures import Unpack

Task = Literal["official", "no_abnormality"]

NAME = "VQAMed2019"
SOURCE = "https://zenodo.org/records/10499039"

#: Counted by image name (facts.yaml); the release itself cannot show it, so every record says it.
SHARED_NOTE = (
    "32 training and 6 validation images of VQA-Med-2019 are also in VQA-RAD: weights that were "
    "trained there have seen them."
)

#: Categories of the task, in the order of the released files C1 to C4.
CATEGORIES = ("modality", "plane", "organ", "abnormality")


@dataclass(frozen=True)
class _Split:
    folder: str
    questions: str
    images: str
    short: str


_SPLITS: dict[SplitName, _Split] = {
    "train": _Split(
        "ImageClef-2019-VQA-Med-Training", "All_QA_Pairs_train.txt", "Train_images", "train"
    ),
    "validation": _Split(
        "ImageClef-2019-VQA-Med-Validation", "All_QA_Pairs_val.txt", "Val_images", "val"
    ),
    "test": _Split(
        "VQAMed2019Test",
        "VQAMed2019_Test_Questions_w_Ref_Answers.txt",
        "VQAMed2019_Test_Images",
        "test",
    ),
}


class VQAMed2019(VQADataModule):
    """VQA-Med-2019 as batches: 12792 / 2000 / 500 questions on 3200 / 500 / 500 MedPix images.

    Training and validation lines are ``image|question|answer`` and take their category
    (``question_type``) from the files in ``QAPairsByCategory``; test lines are
    ``image|category|question|answer``. In the test file alone ``#`` separates alternative answers
    and ``(...)`` marks optional parts; elsewhere the whole normalised answer is the reference.

    Args:
        root: Folder that holds the three folders of the Zenodo release under their released names:
            ``ImageClef-2019-VQA-Med-Training``, ``ImageClef-2019-VQA-Med-Validation`` and
            ``VQAMed2019Test``, or their zips. Only the first is required.
        task: ``official``: all questions (500 in the test set); ``no_abnormality``: without the
            abnormality category (375 in the test set), a variant some papers score under the same
            name and which is not comparable.
        unpacked: Folder into which the released zips are unpacked once, where the root holds them
            and not their folders.
        **kwargs: Arguments of :class:`VQADataModule`.

    Raises:
        UserError: If an option is out of range or unknown.
    """

    def __init__(
        self,
        root: str,
        task: Task = "official",
        unpacked: str = "data/unpacked",
        **kwargs: Unpack[VQAOptions],
    ) -> None:
        super().__init__(root, **kwargs)
        check_choice("task", task, Task)  # here too: the release is read later
        self.task: Task = task
        self.unpacked = Path(unpacked)
        self._folders = _Folders(self.root, self.unpacked)
        self._found: dict[str, Path] = {}

    def prepare_data(self) -> None:
        """Unpack the released zips where their folders are not there; nothing is downloaded.

        Raises:
            UserError: If a zip is damaged or there is no room.
        """
        for files in _SPLITS.values():
            self._folders.unpack(files.folder)
            self._folders.unpack(f"{files.folder}/{files.images}")

    def read_release(self) -> Release:
        """Read all rows of the release under ``root``; no images are opened."""
        return read_vqa_med_2019(self.root, self.task, self.unpacked)

    def file_of(self, row: VQAExample) -> Path:
        """Where the image lies, under the root or among what was unpacked."""
        folder, _, name = row.image.rpartition("/")
        if folder not in self._found:
            # Remembered only once it is there: it may be unpacked later.
            found = self._folders.find(folder)
            if found is None:
                return super().file_of(row)
            self._found[folder] = found
        return self._found[folder] / name

    def selection(self) -> dict[str, str | int | float | bool]:
        """As in the base, with the task, which decides the rows too."""
        return super().selection() | {"task": self.task}


def read_vqa_med_2019(
    root: Path | str, task: Task = "official", unpacked: Path | None = None
) -> Release:
    """Read the text files of the release; see :class:`VQAMed2019` for the arguments.

    Args:
        root: Folder of the data set.
        task: Which categories are read.
        unpacked: Where the folders lie that the root holds as zips; None reads the root alone.

    Returns:
        The rows. Malformed lines are dropped and counted, with their number in ``detail``.

    Raises:
        UserError: The root or the training file is missing, a file is not UTF-8 text or holds no
            valid line, or the categories that ``no_abnormality`` needs are missing.
    """
    root = Path(root)
    check_choice("task", task, Task)
    check_folder("VQA-Med-2019", root, SOURCE)
    splits: dict[SplitName, tuple[VQAExample, ...]] = {}
    absent: dict[str, str] = {}
    dropped: list[DroppedRow] = []
    notes = [SHARED_NOTE]
    folders = _Folders(root, unpacked)
    for name, files in _SPLITS.items():
        path = (folders.find(files.folder) or root / files.folder) / files.questions
        if not path.is_file():
            zipped = folders.archive(files.folder)
            if name == "train" and zipped:
                raise UserError(
                    f"VQA-Med-2019: {zipped} is not unpacked yet, which `fit` and `audit` do: call "
                    "prepare_data() before the rows are read, or unzip it there."
                )
            if name == "train":
                raise UserError(
                    f"VQA-Med-2019: {path} is not there, so download the training set from "
                    f"{SOURCE} and unpack it in {root}."
                )
            absent[name] = (
                f"{zipped} is not unpacked"
                if zipped
                else f"{files.folder}/{files.questions} is not in {root}"
            )
            continue
        rows, bad = _read_split(path, name)
        splits[name] = rows
        dropped += bad
        if without := sum(not row.question_type for row in rows):
            notes.append(f"{without} of {len(rows)} {name} questions have no category.")
        if sentence := _missing_images(folders, files):
            absent[f"{name} images"] = sentence
    if task == "no_abnormality":
        splits, left_out = _without_abnormality(splits)
        dropped += left_out
        notes.append(
            "Task no_abnormality: without the abnormality category, so scores cannot be compared "
            "with those of the official task."
        )
    return Release(NAME, "zenodo", splits, absent, tuple(dropped), tuple(notes))


def _read_split(path: Path, name: SplitName) -> tuple[tuple[VQAExample, ...], list[DroppedRow]]:
    categories = {} if name == "test" else _categories(path.parent, _SPLITS[name])
    width = 4 if name == "test" else 3
    rows: list[VQAExample] = []
    dropped: list[DroppedRow] = []
    for number, line in enumerate(_lines(path)):
        if not line.strip():
            continue  # a blank line, usually the last, is no question
        fields = tuple(collapse(field) for field in line.split("|"))
        question_id = f"{NAME}/{name}/{number}"
        detail = f"{_SPLITS[name].folder}/{path.name}, line {number + 1}"
        if len(fields) != width or not all(fields):
            reason = f"malformed line (not {width} fields separated by '|')"
            dropped.append(DroppedRow(question_id, reason, detail))
            continue
        image, question, answer = fields[0], fields[-2], fields[-1]
        references = med_2019_references(answer) if name == "test" else (normalise(answer),)
        if bad := unusable(question_id, question, references, detail):
            dropped.append(bad)
            continue
        rows.append(
            VQAExample(
                question_id=question_id,
                qid="",
                split=name,
                image_key=image,
                image=f"{_SPLITS[name].folder}/{_SPLITS[name].images}/{image}.jpg",
                question=question,
                answer=answer,
                references=references,
                question_type=fields[1].lower() if name == "test" else categories.get(fields, ""),
            )
        )
    if not rows:
        raise UserError(
            f"VQA-Med-2019: {path} holds no line of {width} fields separated by '|', so it is not "
            f"the expected release: fetch it again from {SOURCE}."
        )
    return tuple(rows), dropped


def _categories(folder: Path, files: _Split) -> Mapping[tuple[str, ...], str]:
    """Category of each (image, question, answer) line, from the files C1 to C4."""
    found: dict[tuple[str, ...], str] = {}
    for number, category in enumerate(CATEGORIES, start=1):
        path = folder / "QAPairsByCategory" / f"C{number}_{category.title()}_{files.short}.txt"
        if path.is_file():
            for line in _lines(path):
                found.setdefault(tuple(collapse(field) for field in line.split("|")), category)
    return found


def _lines(path: Path) -> list[str]:
    try:
        # Not splitlines(): it also breaks at characters that may stand inside an answer.
        return path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise UserError(
            f"VQA-Med-2019: {path} is not UTF-8 text, so it is damaged or was converted: fetch it "
            f"again from {SOURCE}."
        ) from error
    except OSError as error:
        raise UserError(
            f"VQA-Med-2019: {path} cannot be read ({error.strerror}), so check the file or fetch "
            f"it again from {SOURCE}."
        ) from error


def _missing_images(folders: _Folders, files: _Split) -> str:
    folder = f"{files.folder}/{files.images}"
    if folders.find(folder):
        return ""
    if archive := folders.archive(folder):
        return f"{folder} is not unpacked: unzip {archive}"
    return f"{folder} is not in {folders.root}, fetch the images from {SOURCE}"


def _without_abnormality(
    splits: Mapping[SplitName, tuple[VQAExample, ...]],
) -> tuple[dict[SplitName, tuple[VQAExample, ...]], list[DroppedRow]]:
    kept: dict[SplitName, tuple[VQAExample, ...]] = {}
    dropped: list[DroppedRow] = []
    for name, rows in splits.items():
        if unknown := sum(not row.question_type for row in rows):
            raise UserError(
                f"VQA-Med-2019: task 'no_abnormality' needs the category of every question and "
                f"{unknown} {name} questions have none, so fetch {_SPLITS[name].folder}/"
                f"QAPairsByCategory from {SOURCE}."
            )
        kept[name] = tuple(row for row in rows if row.question_type != "abnormality")
        reason = "abnormality question, not part of task no_abnormality"
        dropped += [
            DroppedRow(row.question_id, reason, by_choice=True)
            for row in rows
            if row.question_type == "abnormality"
        ]
    return kept, dropped


@dataclass(frozen=True)
class _Folders:
    """Finds the released folders, and unpacks those that are there as a zip only.

    Folders are named by their path below the root, such as ``VQAMed2019Test``. A zip's content lies
    in a folder of ``unpacked`` that is named after the zip's name, size and time, so another zip of
    the same name is unpacked anew and never mistaken for this one. Without ``unpacked`` only the
    root is looked through.
    """

    root: Path
    unpacked: Path | None = None

    def find(self, folder: str) -> Path | None:
        """The folder, under the root where it is there, else unpacked; None where it is neither."""
        return next((place for place in self._places(folder) if place.is_dir()), None)

    def archive(self, folder: str) -> Path | None:
        """The zip that holds a folder, or one around it, where the folder is not there as such."""
        if self.find(folder):
            return None
        outer = folder.rpartition("/")[0]
        zips = self._archives(folder)
        return zips[0] if zips else self.archive(outer) if outer else None

    def unpack(self, folder: str) -> None:
        """Unpack the zip of a folder, where there is one and no such folder."""
        from amif_lightning.data.files.archives import extract

        if self.unpacked is not None and not self.find(folder):
            for zipped in self._archives(folder)[:1]:
                extract(zipped, self._target(zipped, self.unpacked))

    def _bases(self, folder: str) -> list[Path]:
        """Folders in which a released folder or its zip may lie."""
        outer = folder.rpartition("/")[0]
        return self._places(outer) if outer else [self.root]

    def _places(self, folder: str) -> list[Path]:
        name = folder.rpartition("/")[2]
        places = [base / name for base in self._bases(folder)]
        if self.unpacked is not None:
            places += [self._target(zipped, self.unpacked) for zipped in self._archives(folder)]
        return places

    def _archives(self, folder: str) -> list[Path]:
        name = folder.rpartition("/")[2]
        zips = [base / f"{name}.zip" for base in self._bases(folder)]
        return [zipped for zipped in zips if zipped.is_file()]

    def _target(self, zipped: Path, unpacked: Path) -> Path:
        stat = zipped.stat()
        known = f"{zipped.resolve()}/{stat.st_size}/{stat.st_mtime_ns}"
        mark = hashlib.sha256(known.encode()).hexdigest()[:16]
        return unpacked / f"{zipped.stem}-{mark}" / zipped.stem
