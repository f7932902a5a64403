"""VQA-Med-2019: the ImageCLEF 2019 task on MedPix images (Ben Abacha et al., CLEF 2019)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from amif_lightning.arguments import check_choice
from amif_lightning.data.files.tables import TableFile, check_folder, read_lines
from amif_lightning.data.loading.options import VQAOptions
from amif_lightning.data.loading.vqa_module import VQADataModule
from amif_lightning.data.preprocessing.normalization import collapse, normalise
from amif_lightning.data.schema.answers import med_2019_references
from amif_lightning.data.schema.questions import DroppedRow, Release, SplitName, VQAExample
from amif_lightning.errors import UserError
from amif_lightning.signatures import Unpack

Task = Literal["official", "no_abnormality"]

NAME = "VQAMed2019"
SOURCE = "https://zenodo.org/records/10499039"

#: Counted by image name (facts.yaml); the release alone does not show it.
SHARED_NOTE = (
    "32 training and 6 validation images of VQA-Med-2019 are also in VQA-RAD: weights that were "
    "trained there have seen them."
)
ABNORMALITY = "abnormality question, not part of task no_abnormality"

#: In the order of the released files C1 to C4.
CATEGORIES = ("modality", "plane", "organ", "abnormality")


class _Split(NamedTuple):
    folder: str
    questions: str
    images: str


_SPLITS: dict[SplitName, _Split] = {
    "train": _Split("ImageClef-2019-VQA-Med-Training", "All_QA_Pairs_train.txt", "Train_images"),
    "validation": _Split("ImageClef-2019-VQA-Med-Validation", "All_QA_Pairs_val.txt", "Val_images"),
    "test": _Split(
        "VQAMed2019Test", "VQAMed2019_Test_Questions_w_Ref_Answers.txt", "VQAMed2019_Test_Images"
    ),
}


class VQAMed2019(VQADataModule):
    """VQA-Med-2019: 12792 / 2000 / 500 questions on 3200 / 500 / 500 MedPix images.

    Training and validation lines are ``image|question|answer``; the files in ``QAPairsByCategory``
    give their category (``question_type``). Test lines are ``image|category|question|answer``. Only
    in test answers, ``#`` separates alternatives and ``(...)`` marks optional parts; elsewhere the
    whole normalised answer is the reference. Malformed lines are dropped and counted.

    Args:
        root: Folder of the Zenodo release, with the folders ``ImageClef-2019-VQA-Med-Training``,
            ``ImageClef-2019-VQA-Med-Validation`` and ``VQAMed2019Test`` or their zips. Only the
            first is required.
        task: ``official``: all questions (500 in the test set); ``no_abnormality``: without the
            abnormality category (375 in the test set). Some papers report the latter under the same
            name; the two are not comparable.
        unpacked: Folder into which released zips without an unpacked folder are unpacked once.
        **kwargs: Arguments of :class:`VQADataModule`.
    """

    row_options = (*VQADataModule.row_options, "task")

    def __init__(
        self,
        root: str,
        task: Task = "official",
        unpacked: str = "data/unpacked",
        **kwargs: Unpack[VQAOptions],
    ) -> None:
        super().__init__(root, **kwargs)
        check_choice("task", task, Task)
        self.task, self.unpacked = task, Path(unpacked)
        self._folders = _Folders(self.root, self.unpacked)

    def prepare_data(self) -> None:
        """Unpack released zips without an unpacked folder; download nothing.

        Raises:
            UserError: If a zip is damaged or the disk is full.
        """
        for files in _SPLITS.values():
            self._folders.unpack(files.folder)
            self._folders.unpack(f"{files.folder}/{files.images}")

    def file_of(self, row: VQAExample) -> Path:
        """Return the image file, in the root or in an unpacked folder."""
        released = super().file_of(row).relative_to(self.root)
        return self._folders.path(released.parent.as_posix()) / released.name

    def read_release(self) -> Release[VQAExample]:
        """Read the text files of the release without opening images.

        Raises:
            UserError: The root or the training file is missing, a file is not UTF-8 text or has no
                valid line, or questions of the task ``no_abnormality`` have no category.
        """
        check_folder("VQA-Med-2019", self.root, SOURCE)
        splits: dict[SplitName, tuple[VQAExample, ...]] = {}
        absent: dict[str, str] = {}
        dropped: list[DroppedRow] = []
        notes = [SHARED_NOTE]
        for name, files in _SPLITS.items():
            path = self._folders.path(files.folder) / files.questions
            if not path.is_file():
                absent[name] = self._missing_questions(name, path)
                continue
            splits[name] = tuple(_read_split(path, name, dropped))
            if without := sum(not row.question_type for row in splits[name]):
                notes.append(f"{without} of {len(splits[name])} {name} questions have no category.")
            folder = f"{files.folder}/{files.images}"
            if archive := self._folders.archive(folder):
                absent[f"{name} images"] = f"{folder} is not unpacked: unzip {archive}"
            elif not self._folders.find(folder):
                where = f"{folder} is not in {self.root}, fetch the images from {SOURCE}"
                absent[f"{name} images"] = where
        if self.task == "no_abnormality":
            splits = {n: tuple(_without_abnormality(n, r, dropped)) for n, r in splits.items()}
            notes.append(
                "Task no_abnormality: without the abnormality category, so scores cannot be "
                "compared with those of the official task."
            )
        return Release(NAME, "zenodo", splits, absent, tuple(dropped), tuple(notes))

    def _missing_questions(self, name: SplitName, path: Path) -> str:
        """Explain a missing file of questions; raise a UserError for training questions."""
        folder = _SPLITS[name].folder
        zipped = self._folders.archive(folder)
        if name != "train":
            there = f"{folder}/{path.name} is not in {self.root}"
            return f"{zipped} is not unpacked" if zipped else there
        if zipped:
            raise UserError(
                f"VQA-Med-2019: {zipped} is not unpacked yet: call prepare_data() before reading "
                "rows, as `fit` and `audit` do, or unzip it there."
            )
        raise UserError(
            f"VQA-Med-2019: {path} is not there, so download the training set from {SOURCE} and "
            f"unpack it in {self.root}."
        )


def _read_split(path: Path, name: SplitName, dropped: list[DroppedRow]) -> Iterator[VQAExample]:
    files, width = _SPLITS[name], 4 if name == "test" else 3
    categories = {} if name == "test" else _categories(path)
    usable = 0
    for number, fields in _lines(path):
        question_id = f"{NAME}/{name}/{number - 1}"
        detail = f"{files.folder}/{path.name}, line {number}"
        if len(fields) != width or not all(fields):
            reason = f"malformed line (not {width} fields separated by '|')"
            dropped.append(DroppedRow(question_id, reason, detail))
            continue
        image, question, answer = fields[0], fields[-2], fields[-1]
        references = med_2019_references(answer) if name == "test" else (normalise(answer),)
        if bad := DroppedRow.if_unusable(question_id, question, references, detail):
            dropped.append(bad)
            continue
        usable += 1
        yield VQAExample(
            question_id=question_id,
            qid="",
            split=name,
            image_key=image,
            image=f"{files.folder}/{files.images}/{image}.jpg",
            question=question,
            answer=answer,
            references=references,
            question_type=fields[1].lower() if name == "test" else categories.get(fields, ""),
        )
    if not usable:
        raise UserError(
            f"VQA-Med-2019: {path} holds no line of {width} fields separated by '|', so it "
            f"is not the expected release: fetch it again from {SOURCE}."
        )


def _categories(questions: Path) -> Mapping[tuple[str, ...], str]:
    """Return the category of each (image, question, answer) line in the files C1 to C4."""
    found: dict[tuple[str, ...], str] = {}
    folder, short = questions.parent, questions.stem.rpartition("_")[2]
    for number, category in enumerate(CATEGORIES, start=1):
        path = folder / "QAPairsByCategory" / f"C{number}_{category.title()}_{short}.txt"
        if path.is_file():
            for _, fields in _lines(path):
                found.setdefault(fields, category)
    return found


def _lines(path: Path) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Yield number (from 1) and fields of each line that is not blank."""
    source = TableFile(path, "VQA-Med-2019", f"fetch it again from {SOURCE}")
    damaged: list[DroppedRow] = []
    for number, line in read_lines(source, damaged):
        yield number, tuple(collapse(field) for field in line.split("|"))
    if damaged:
        raise source.error("is not UTF-8 text")


def _without_abnormality(
    name: SplitName, rows: tuple[VQAExample, ...], dropped: list[DroppedRow]
) -> Iterator[VQAExample]:
    if unknown := sum(not row.question_type for row in rows):
        raise UserError(
            f"VQA-Med-2019: task 'no_abnormality' needs the category of every question, but "
            f"{unknown} {name} questions have none, so fetch {_SPLITS[name].folder}/"
            f"QAPairsByCategory from {SOURCE}."
        )
    for row in rows:
        if row.question_type == "abnormality":
            dropped.append(DroppedRow(row.question_id, ABNORMALITY, by_choice=True))
        else:
            yield row


@dataclass(frozen=True)
class _Folders:
    """Released folders by path below the root (``VQAMed2019Test``); missing ones are unpacked."""

    root: Path
    unpacked: Path
    _found: dict[str, Path] = field(default_factory=dict)

    def find(self, folder: str) -> Path | None:
        """Return the folder in the root, else the unpacked one, else None."""
        if folder not in self._found:
            place = next((place for place in self._places(folder) if place.is_dir()), None)
            if place is None:  # not cached, since it may be unpacked later
                return None
            self._found[folder] = place
        return self._found[folder]

    def path(self, folder: str) -> Path:
        """Return the existing folder, else its path in the root."""
        return self.find(folder) or self.root / folder

    def archive(self, folder: str) -> Path | None:
        """Return the zip of a missing folder or of the folder around it, if there is one."""
        if self.find(folder):
            return None
        outer = folder.rpartition("/")[0]
        zips = self._archives(folder)
        return zips[0] if zips else self.archive(outer) if outer else None

    def unpack(self, folder: str) -> None:
        """Unpack the zip of a missing folder, if there is one."""
        from amif_lightning.data.files.archives import extract

        if not self.find(folder) and (zips := self._archives(folder)):
            extract(zips[0], self._target(zips[0]))

    def _bases(self, folder: str) -> list[Path]:
        """Return the folders that may contain a released folder or its zip."""
        outer = folder.rpartition("/")[0]
        return self._places(outer) if outer else [self.root]

    def _places(self, folder: str) -> list[Path]:
        name = folder.rpartition("/")[2]
        beside = [base / name for base in self._bases(folder)]
        return beside + [self._target(zipped) for zipped in self._archives(folder)]

    def _archives(self, folder: str) -> list[Path]:
        name = folder.rpartition("/")[2]
        zips = [base / f"{name}.zip" for base in self._bases(folder)]
        return [zipped for zipped in zips if zipped.is_file()]

    def _target(self, zipped: Path) -> Path:
        # Named after path, size and time, so that a changed zip is unpacked again.
        stat = zipped.stat()
        known = f"{zipped.resolve()}/{stat.st_size}/{stat.st_mtime_ns}"
        mark = hashlib.sha256(known.encode()).hexdigest()[:16]
        return self.unpacked / f"{zipped.stem}-{mark}" / zipped.stem
