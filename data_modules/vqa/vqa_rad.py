"""VQA-RAD: clinician-written questions about MedPix radiographs (Lau et al., Sci Data 2018).

Two published layouts are read. They hold the same 1797 training and 451 test questions; the MEVF
re-split adds 1267 templated ``frame`` rows to the training file, most of which restate a test
question about the same image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from amif_lightning.arguments import check_choice
from amif_lightning.data.files.json_files import check_folder, load_questions, unexpected
from amif_lightning.data.files.parquet import ParquetQuestions, find_parquet
from amif_lightning.data.loading.hub_module import HubQuestions
from amif_lightning.data.loading.options import HubOptions
from amif_lightning.data.preprocessing.normalization import collapse, normalise
from amif_lightning.data.schema.question_splits import Protocol, question_key, restated
from amif_lightning.data.schema.questions import (
    AnswerType,
    DroppedRow,
    Release,
    SplitName,
    VQAExample,
    unusable,
)
from amif_lightning.errors import UserError
from amif_lightning.signatures import Unpack

Layout = Literal["osf", "mevf", "hf"]
LayoutChoice = Literal["auto", "osf", "mevf", "hf"]

NAME = "VQARAD"
OSF_FILE = "VQA_RAD Dataset Public.json"
OSF_IMAGES = "VQA_RAD Image Folder"
MEVF_FILES: dict[SplitName, str] = {"train": "trainset.json", "test": "testset.json"}
MEVF_IMAGES = "images"
SOURCE = "https://osf.io/89kps/"

#: Counted by image name (facts.yaml); the release itself cannot show it, so every record says it.
SHARED_NOTE = (
    "32 images of VQA-RAD, 17 of them test images with 43 test questions, are also in the training "
    "set of VQA-Med-2019, and 6 (4 test images) in its validation set: weights that were trained "
    "there have seen them."
)

_KEYS = frozenset({"qid", "image_name", "question", "answer", "answer_type", "phrase_type"})
_WORDINGS = ("question_rephrase", "question_frame")
_PHRASE_TYPES: dict[Layout, dict[str, SplitName | None]] = {
    # None: the file says which split it is.
    "osf": {"freeform": "train", "para": "train", "test_freeform": "test", "test_para": "test"},
    "mevf": {"freeform": None, "para": None, "frame": None},
    "hf": {},  # parquet files have no such field
}
_ANSWER_TYPES: dict[str, AnswerType] = {"closed": "closed", "open": "open"}
_QUESTION_TYPE_TYPOS = {"atrib": "attrib", "prse": "pres"}


class VQARAD(HubQuestions):
    """VQA-RAD as batches: 315 MedPix radiographs, 1797 training and 451 test questions.

    No validation set is released, so one is always held out from the training images.

    Mended while reading: integer answers and ids become text, white space is collapsed (tabs,
    ``'CLOSED '``), the ``question_type`` typos ATRIB and PRSE are corrected, and a list such as
    ``POS, PRES`` counts under its first type. ``variants`` are ``question_rephrase`` and
    ``question_frame`` where they are not ``NULL``; the MEVF re-split lacks them, so its test rows
    take them from the OSF file where that lies beside it. With the protocol ``clean`` the templated
    ``frame`` rows of the MEVF re-split are left out.

    Args:
        root: Folder with ``VQA_RAD Dataset Public.json`` (OSF) or ``trainset.json`` and
            ``testset.json`` (MEVF), and the images in ``VQA_RAD Image Folder/`` or ``images/``; or
            with the hub's parquet files.
        layout: Which published layout to read; with ``auto`` and both present, the protocol
            ``clean`` takes ``osf`` and ``literature`` takes ``mevf``; ``hf``, the hub's parquet
            files, only where neither is there.
        **kwargs: Arguments of :class:`HubQuestions`.

    Raises:
        UserError: If an option is out of range or unknown.
    """

    def __init__(
        self, root: str, layout: LayoutChoice = "auto", **kwargs: Unpack[HubOptions]
    ) -> None:
        super().__init__(root, **kwargs)
        check_choice("layout", layout, LayoutChoice)
        self.layout: LayoutChoice = layout

    def reads_parquet(self) -> bool:
        """Whether the parquet files are what is read; a missing folder is told on reading."""
        if not self.root.is_dir():
            return False
        return _choose_layout(self.root, self.layout, self.protocol) == "hf"

    def read_release(self) -> Release:
        """Read all rows of the release under ``root``; no images are opened."""
        if self.parquet is not None:
            return _read_parquet(self.root, self.parquet, self.protocol)
        return read_vqa_rad(self.root, self.layout, self.protocol)


def _read_parquet(root: Path, parquet: ParquetQuestions, protocol: Protocol) -> Release:
    """The hub's copy: questions and answers without ids, types or other wordings."""
    splits, dropped = parquet.read()
    absent = {} if splits.get("test") else {"test": f"no test-*.parquet is in {root}"}
    notes = (
        SHARED_NOTE,
        "Layout hf has no answer_type, so open and closed are told by the answer alone, and no "
        "rephrases or frames, so trained rows that equal one of a test question are not found: "
        f"the release at {SOURCE} has both.",
        *_without_frames("the hub's copy", protocol),
    )
    return Release(NAME, "hf", splits, absent, tuple(dropped), notes)


def read_vqa_rad(
    root: Path | str, layout: LayoutChoice = "auto", protocol: Protocol = "clean"
) -> Release:
    """Read VQA-RAD's json files; see :class:`VQARAD` for the arguments.

    Raises:
        UserError: The folder or the training file is missing, a file is not valid JSON, or it is
            not the expected release.
    """
    root = Path(root)
    check_folder("VQA-RAD", root, SOURCE)
    chosen = _choose_layout(root, layout, protocol)
    if chosen == "hf":
        raise UserError(
            f"VQA-RAD: {root} holds parquet files, which have to be unpacked before they are read: "
            "use the data class VQARAD, or `python -m amif_lightning prepare data --data VQARAD`."
        )
    return _read_osf(root, protocol) if chosen == "osf" else _read_mevf(root, protocol)


def _choose_layout(root: Path, layout: LayoutChoice, protocol: Protocol) -> Layout:
    files = {"osf": OSF_FILE, "mevf": MEVF_FILES["train"], "hf": "data/train-*.parquet"}
    there: list[Layout] = [name for name in ("osf", "mevf") if (root / files[name]).is_file()]
    if "train" in find_parquet(root):
        there.append("hf")
    if layout == "auto" and not there:
        raise UserError(
            f"VQA-RAD: neither '{OSF_FILE}' nor '{MEVF_FILES['train']}' is in {root}, so download "
            f"the data set from {SOURCE} into it."
        )
    if layout == "auto":
        return "mevf" if "mevf" in there and protocol == "literature" else there[0]
    if layout not in there:
        raise UserError(
            f"VQA-RAD: layout '{layout}' needs {root / files[layout]}, which is not there: put it "
            "there (docs/datasets.md says where it comes from) or choose layout 'auto'."
        )
    return layout


@dataclass(frozen=True)
class _File:
    """One released file: its rows, the ids of its templated rows, and what could not be used."""

    rows: list[VQAExample]
    frames: set[str]
    dropped: list[DroppedRow]

    def split(self, name: SplitName) -> tuple[VQAExample, ...]:
        return tuple(row for row in self.rows if row.split == name)


def _read_osf(root: Path, protocol: Protocol) -> Release:
    folder, absent = _image_folder(root, (OSF_IMAGES, MEVF_IMAGES))
    file = _read_file(root / OSF_FILE, "osf", "train", folder)
    splits: dict[SplitName, tuple[VQAExample, ...]] = {"train": file.split("train")}
    if test := file.split("test"):
        splits["test"] = test
    else:
        absent["test"] = f"'{OSF_FILE}' holds no test question"
    notes = (SHARED_NOTE, *_without_frames("the OSF release", protocol))
    return Release(NAME, "osf", splits, absent, tuple(file.dropped), notes)


def _without_frames(which: str, protocol: Protocol) -> tuple[str, ...]:
    if protocol == "clean":
        return ()
    return (
        f"Published numbers mostly train on the MEVF re-split ({MEVF_FILES['train']}); this is "
        f"{which}, which lacks its templated 'frame' rows.",
    )


def _read_mevf(root: Path, protocol: Protocol) -> Release:
    folder, absent = _image_folder(root, (MEVF_IMAGES, OSF_IMAGES))
    train_file = _read_file(root / MEVF_FILES["train"], "mevf", "train", folder)
    dropped = list(train_file.dropped)
    test: Sequence[VQAExample] = ()
    if (root / MEVF_FILES["test"]).is_file():
        test_file = _read_file(root / MEVF_FILES["test"], "mevf", "test", folder)
        test, dropped = test_file.rows, dropped + test_file.dropped
    else:
        absent["test"] = f"{MEVF_FILES['test']} is not in {root}"

    train = [row for row in train_file.rows if row.question_id not in train_file.frames]
    frames = [row for row in train_file.rows if row.question_id in train_file.frames]
    osf = None
    if (root / OSF_FILE).is_file():
        osf = _read_file(root / OSF_FILE, "osf", "train", folder)
        test = _with_variants(test, osf.split("test"))
    notes: tuple[str, ...] = ()
    if protocol == "clean":
        reason = "templated 'frame' row of the MEVF re-split, which the clean protocol leaves out"
        dropped += [
            DroppedRow(row.question_id, reason, row.question, by_choice=True) for row in frames
        ]
        if test and osf is None:
            notes = (
                f"'{OSF_FILE}' is not beside {MEVF_FILES['train']}, so trained rows that equal a "
                "test question are dropped but those that equal its rephrase or frame are not "
                "found: put it there.",
            )
    else:
        train = train_file.rows
        notes = _frame_leak(frames, test, osf.split("train") if osf else None)
    splits: dict[SplitName, tuple[VQAExample, ...]] = {"train": tuple(train)}
    if test:
        splits["test"] = tuple(test)
    return Release(NAME, "mevf", splits, absent, tuple(dropped), (SHARED_NOTE, *notes))


def _with_variants(rows: Sequence[VQAExample], osf_rows: Sequence[VQAExample]) -> list[VQAExample]:
    """Gives rows of the re-split the released rephrases and frames of the same OSF questions."""
    variants: dict[tuple[str, str], tuple[str, ...]] = {}
    for row in osf_rows:
        key = question_key(row)
        variants[key] = tuple(dict.fromkeys((*variants.get(key, ()), *row.variants)))
    return [replace(row, variants=variants.get(question_key(row), ())) for row in rows]


def _frame_leak(
    frames: Sequence[VQAExample], test: Sequence[VQAExample], osf_train: Sequence[VQAExample] | None
) -> tuple[str, ...]:
    """Says in numbers how many templated training rows restate test questions."""
    file = MEVF_FILES["train"]
    if osf_train is None:
        return (
            f"{file} holds {len(frames)} templated 'frame' rows, many of which restate test "
            f"questions: put '{OSF_FILE}' beside it to have them counted.",
        )
    of_test, of_train = _variant_keys(test), _variant_keys(osf_train)
    leaked = [question_key(row) for row in frames if question_key(row) in of_test]
    shared = sum(key in of_train for key in leaked)
    return (
        f"{len(restated(frames, test))} of {len(test)} test questions have their own "
        f"question_frame in {file} with same image and answer.",
        f"{len(leaked)} of its {len(frames)} frame rows equal some test row's (image, normalised "
        f"question_frame), {shared} of those also a training row's.",
    )


def _variant_keys(rows: Sequence[VQAExample]) -> frozenset[tuple[str, str]]:
    return frozenset((row.image_key, normalise(text)) for row in rows for text in row.variants)


def _read_file(path: Path, layout: Layout, file_split: SplitName, folder: str) -> _File:
    file = _File([], set(), [])
    for number, item in enumerate(_load(path, layout)):
        split = _PHRASE_TYPES[layout][item["phrase_type"]] or file_split
        question_id = f"{NAME}/{split}/{number}"
        answer = collapse(str(item["answer"]))
        # A released answer is text or a whole number; null or a list is a damaged row.
        references = (normalise(answer),) if isinstance(item["answer"], str | int) else ()
        if bad := unusable(question_id, item["question"], references, path.name):
            file.dropped.append(bad)
            continue
        if item["phrase_type"] == "frame":
            file.frames.add(question_id)
        image = item["image_name"].strip()
        file.rows.append(
            VQAExample(
                question_id=question_id,
                qid=str(item["qid"]),
                split=split,
                image_key=Path(image).stem,
                image=f"{folder}/{image}",
                question=collapse(item["question"]),
                answer=answer,
                references=references,
                answer_type=_answer_type(path, number, item["answer_type"]),
                question_type=_question_type(str(item.get("question_type", ""))),
                variants=_variants(item),
            )
        )
    return file


def _load(path: Path, layout: Layout) -> list[dict[str, Any]]:
    items = load_questions("VQA-RAD", path, _KEYS, SOURCE)
    for number, item in enumerate(items):
        if not isinstance(item["image_name"], str) or not isinstance(item["question"], str):
            raise _unexpected(path, f"image_name or question of question {number} is not text")
        kind = item["phrase_type"]
        if not isinstance(kind, str) or kind not in _PHRASE_TYPES[layout]:  # a list has no hash
            raise _unexpected(path, f"question {number} has phrase_type {kind!r}")
    return items


def _unexpected(path: Path, what: str) -> UserError:
    return unexpected("VQA-RAD", path, what, SOURCE)


def _answer_type(path: Path, number: int, released: object) -> AnswerType:
    name = _ANSWER_TYPES.get(str(released).strip().lower())  # the release has 'CLOSED ' twice
    if name is None:
        raise _unexpected(path, f"question {number} has answer_type {released!r}")
    return name


def _question_type(released: str) -> str:
    first = released.split(",")[0].strip().lower()
    return _QUESTION_TYPE_TYPOS.get(first, first)


def _variants(item: Mapping[str, Any]) -> tuple[str, ...]:
    wordings = (collapse(str(item.get(key, "NULL"))) for key in _WORDINGS)
    return tuple(wording for wording in wordings if normalise(wording) not in ("", "null"))


def _image_folder(root: Path, names: Sequence[str]) -> tuple[str, dict[str, str]]:
    for name in names:
        if (root / name).is_dir():
            return name, {}
    wanted = " nor ".join(f"'{name}'" for name in names)
    return names[0], {"images": f"neither {wanted} is in {root}, fetch the images from {SOURCE}"}
