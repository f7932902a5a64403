"""VQA-RAD: questions about MedPix radiographs (Lau et al., Sci Data 2018)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from amif_lightning.arguments import check_choice
from amif_lightning.data.files.tables import load_questions, unexpected
from amif_lightning.data.loading.options import HubOptions
from amif_lightning.data.loading.vqa_module import PARQUET, HubQuestions
from amif_lightning.data.preprocessing.normalization import collapse, normalise
from amif_lightning.data.schema.question_splits import question_key, restated
from amif_lightning.data.schema.questions import DroppedRow, Release, SplitName, VQAExample
from amif_lightning.signatures import Unpack

LayoutChoice = Literal["auto", "osf", "mevf", "hf"]

NAME = "VQARAD"
OSF = "VQA_RAD Dataset Public.json"
TRAIN, TEST = "trainset.json", "testset.json"
IMAGES = {"osf": "VQA_RAD Image Folder", "mevf": "images"}

#: Counted by image name (facts.yaml); the release alone does not show it.
SHARED_NOTE = (
    "32 images of VQA-RAD, 17 of them test images with 43 test questions, are also in the training "
    "set of VQA-Med-2019, and 6 (4 test images) in its validation set: weights that were trained "
    "there have seen them."
)
FRAME = "templated 'frame' row of the MEVF re-split, which the clean protocol leaves out"

_KEYS = ("qid", "image_name", "question", "answer", "answer_type", "phrase_type")
_MEVF_PHRASES = ("freeform", "para", "frame")
#: The split of each phrase type, by file.
_SPLITS: dict[str, dict[str, SplitName]] = {
    OSF: {"freeform": "train", "para": "train", "test_freeform": "test", "test_para": "test"},
    TRAIN: dict.fromkeys(_MEVF_PHRASES, "train"),
    TEST: dict.fromkeys(_MEVF_PHRASES, "test"),
}
_ANSWER_TYPES: dict[str, Literal["open", "closed"]] = {"closed": "closed", "open": "open"}
_QUESTION_TYPE_TYPOS = {"atrib": "attrib", "prse": "pres"}


class VQARAD(HubQuestions):
    """VQA-RAD: 1797 training and 451 test questions on 315 MedPix radiographs.

    No validation set is released, so one is always held out from the training images. All layouts
    contain these questions. The MEVF re-split adds 1267 templated ``frame`` rows to training, most
    of which restate a test question about the same image; the protocol ``clean`` drops them.

    The reader converts integer answers and ids to text, collapses white space, corrects the
    ``question_type`` typos ATRIB and PRSE, and uses the first type of a list such as ``POS, PRES``.
    ``variants`` are ``question_rephrase`` and ``question_frame`` unless ``NULL``. The MEVF re-split
    lacks them, so its test rows take them from the OSF file if the root contains it.

    Args:
        root: Folder with ``VQA_RAD Dataset Public.json`` (OSF) or ``trainset.json`` and
            ``testset.json`` (MEVF), and images in ``VQA_RAD Image Folder/`` or ``images/``; or
            with the hub's parquet files.
        layout: ``osf``, ``mevf`` or ``hf`` (the hub's parquet files); ``auto``: the first one on
            disk, in this order, or with ``mevf`` first under the protocol ``literature``.
        **kwargs: Arguments of :class:`HubQuestions`.
    """

    title, source = "VQA-RAD", "https://osf.io/89kps/"

    def __init__(
        self, root: str, layout: LayoutChoice = "auto", **kwargs: Unpack[HubOptions]
    ) -> None:
        super().__init__(root, layout=layout, **kwargs)
        check_choice("layout", layout, LayoutChoice)

    @property
    def layouts(self) -> Mapping[str, Sequence[str]]:
        """Return patterns of the training file by layout, the preferred layout first."""
        found = {"osf": (OSF,), "mevf": (TRAIN,), "hf": PARQUET}
        return {"mevf": (TRAIN,), **found} if self.protocol == "literature" else found

    def read_release(self) -> Release[VQAExample]:
        """Read all rows of the release without opening images."""
        if self.parquet is not None:
            return self._read_parquet()
        return self._read_osf() if self.chosen_layout == "osf" else self._read_mevf()

    def _read_parquet(self) -> Release[VQAExample]:
        """Read the hub's copy, which lacks ids, types and other wordings."""
        assert self.parquet is not None
        splits, dropped = self.parquet.read()
        absent = {} if splits.get("test") else {"test": f"no test-*.parquet is in {self.root}"}
        notes = (
            SHARED_NOTE,
            "Layout hf has no answer_type, so open and closed are derived from the answer alone. "
            "It has no rephrases or frames, so training rows that equal one of a test question "
            f"are not found. The release at {self.source} has both.",
            *self._without_frames("the hub's copy"),
        )
        return Release(NAME, "hf", splits, absent, tuple(dropped), notes)

    def _read_osf(self) -> Release[VQAExample]:
        folder, absent = self._image_folder("osf", "mevf")
        dropped: list[DroppedRow] = []
        splits: dict[SplitName, list[VQAExample]] = {"train": [], "test": []}
        for _, row in self._rows(OSF, folder, dropped):
            splits[row.split].append(row)
        if not splits["test"]:
            absent["test"] = f"'{OSF}' holds no test question"
            del splits["test"]
        notes = (SHARED_NOTE, *self._without_frames("the OSF release"))
        found = {split: tuple(rows) for split, rows in splits.items()}
        return Release(NAME, "osf", found, absent, tuple(dropped), notes)

    def _without_frames(self, which: str) -> tuple[str, ...]:
        if self.protocol != "literature":
            return ()
        return (
            f"Most published results train on the MEVF re-split ({TRAIN}); this is {which}, "
            "which lacks the templated 'frame' rows.",
        )

    def _read_mevf(self) -> Release[VQAExample]:
        folder, absent = self._image_folder("mevf", "osf")
        dropped: list[DroppedRow] = []
        released = list(self._rows(TRAIN, folder, dropped))
        test: list[VQAExample] = []
        if (self.root / TEST).is_file():
            test = [row for _, row in self._rows(TEST, folder, dropped)]
        else:
            absent["test"] = f"{TEST} is not in {self.root}"
        osf: list[VQAExample] | None = None
        if (self.root / OSF).is_file():
            osf = [row for _, row in self._rows(OSF, folder, [])]
            test = _with_variants(test, [row for row in osf if row.split == "test"])

        train = [row for _, row in released]
        frames = [row for phrase, row in released if phrase == "frame"]
        notes: tuple[str, ...] = ()
        if self.protocol == "literature":
            notes = _frame_leak(frames, test, osf)
        else:
            train = [row for phrase, row in released if phrase != "frame"]
            dropped += [
                DroppedRow(r.question_id, FRAME, r.question, by_choice=True) for r in frames
            ]
            if test and osf is None:
                notes = (
                    f"'{OSF}' is not next to {TRAIN}, so training rows that equal a test question "
                    "are dropped, but those that equal its rephrase or frame are not found: put "
                    "the file there.",
                )
        splits: dict[SplitName, tuple[VQAExample, ...]] = {"train": tuple(train)}
        if test:
            splits["test"] = tuple(test)
        return Release(NAME, "mevf", splits, absent, tuple(dropped), (SHARED_NOTE, *notes))

    def _image_folder(self, *layouts: str) -> tuple[str, dict[str, str]]:
        """Return the first existing image folder, and what is absent if there is none."""
        names = [IMAGES[layout] for layout in layouts]
        for name in names:
            if (self.root / name).is_dir():
                return name, {}
        wanted = " nor ".join(f"'{name}'" for name in names)
        sentence = f"neither {wanted} is in {self.root}, fetch the images from {self.source}"
        return names[0], {"images": sentence}

    def _rows(
        self, file: str, folder: str, dropped: list[DroppedRow]
    ) -> Iterator[tuple[str, VQAExample]]:
        """Yield phrase type and row of each usable question of a file."""
        path = self.root / file
        for number, item in enumerate(load_questions(self.title, path, _KEYS, self.source)):
            phrase, image, question = item["phrase_type"], item["image_name"], item["question"]
            # The release has 'CLOSED ' twice.
            answer_type = _ANSWER_TYPES.get(str(item["answer_type"]).strip().lower())
            wrong = ""
            if not isinstance(image, str) or not isinstance(question, str):
                wrong = f"image_name or question of question {number} is not text"
            elif not isinstance(phrase, str) or phrase not in _SPLITS[file]:  # a list is unhashable
                wrong = f"question {number} has phrase_type {phrase!r}"
            elif answer_type is None:
                wrong = f"question {number} has answer_type {item['answer_type']!r}"
            if wrong or answer_type is None:
                raise unexpected(self.title, path, wrong, self.source)
            split = _SPLITS[file][phrase]
            question_id = f"{NAME}/{split}/{number}"
            answer = collapse(str(item["answer"]))
            # A released answer is text or a whole number; null or a list is a damaged row.
            references = (normalise(answer),) if isinstance(item["answer"], str | int) else ()
            if bad := DroppedRow.if_unusable(question_id, question, references, path.name):
                dropped.append(bad)
                continue
            kind = str(item.get("question_type", "")).split(",")[0].strip().lower()
            keys = ("question_rephrase", "question_frame")
            wordings = [collapse(str(item.get(key, "NULL"))) for key in keys]
            yield (
                phrase,
                VQAExample(
                    question_id=question_id,
                    qid=str(item["qid"]),
                    split=split,
                    image_key=Path(image.strip()).stem,
                    image=f"{folder}/{image.strip()}",
                    question=collapse(question),
                    answer=answer,
                    references=references,
                    answer_type=answer_type,
                    question_type=_QUESTION_TYPE_TYPOS.get(kind, kind),
                    variants=tuple(w for w in wordings if normalise(w) not in ("", "null")),
                ),
            )


def _with_variants(rows: Sequence[VQAExample], osf: Sequence[VQAExample]) -> list[VQAExample]:
    """Add the rephrases and frames that the OSF file has for the same questions."""
    variants: dict[tuple[str, str], tuple[str, ...]] = {}
    for row in osf:
        key = question_key(row)
        variants[key] = tuple(dict.fromkeys((*variants.get(key, ()), *row.variants)))
    return [replace(row, variants=variants.get(question_key(row), ())) for row in rows]


def _frame_leak(
    frames: Sequence[VQAExample], test: Sequence[VQAExample], osf: Sequence[VQAExample] | None
) -> tuple[str, ...]:
    """Count the templated training rows that restate test questions."""
    if osf is None:
        return (
            f"{TRAIN} holds {len(frames)} templated 'frame' rows, many of which restate test "
            f"questions: put '{OSF}' next to it to count them.",
        )
    of_test = _variant_keys(test)
    of_train = _variant_keys([row for row in osf if row.split == "train"])
    leaked = [question_key(row) for row in frames if question_key(row) in of_test]
    shared = sum(key in of_train for key in leaked)
    return (
        f"{len(restated(frames, test))} of {len(test)} test questions have their own "
        f"question_frame in {TRAIN} with same image and answer.",
        f"{len(leaked)} of its {len(frames)} frame rows equal some test row's (image, normalised "
        f"question_frame), {shared} of those also a training row's.",
    )


def _variant_keys(rows: Sequence[VQAExample]) -> frozenset[tuple[str, str]]:
    return frozenset((row.image_key, normalise(text)) for row in rows for text in row.variants)
