"""Seeded writers of small data sets in the real published layouts, with the real files' traps.

Every writer returns counts known from its construction, so that tests do not compare readers with
themselves.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

SIDE = 32


def write_image(path: Path, seed: int) -> None:
    """Write a grey 32-pixel image: a bright square on noise, placed by the seed."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 60, (SIDE, SIDE), dtype=np.uint8)
    row, column = rng.integers(0, SIDE - 8, 2)
    pixels[row : row + 8, column : column + 8] = 220
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def redraw(root: Path, seed: int) -> None:
    """Give every image below a folder new content, so that no other set has it."""
    files = (p for p in sorted(root.rglob("*")) if p.suffix in (".jpg", ".png"))
    for place, path in enumerate(files):
        write_image(path, 10_000 * seed + place)


@dataclass(frozen=True)
class FakeRAD:
    """Counts of :func:`write_vqa_rad`: rows and known leaks."""

    train: int
    test: int
    frames: int
    train_images: int
    test_images: int
    shared_images: int
    restating_train_rows: int
    leaked_test_questions: int
    leaked_frames: int
    leaked_frames_of_train_too: int


def write_vqa_rad(
    root: Path,
    *,
    layouts: Collection[Literal["osf", "mevf"]] = ("osf", "mevf"),
    image_folder: Literal["images", "VQA_RAD Image Folder"] = "VQA_RAD Image Folder",
    images: int = 12,
    seed: int = 0,
) -> FakeRAD:
    """Write VQA-RAD's OSF file, its MEVF re-split, or both, with their images.

    Traps: integer answers, ``'CLOSED '``, ids of two types, tabs and outer blanks, question type
    typos and lists, ``NULL`` and missing rephrases, a triplet released twice, an image no question
    asks about, a training row that equals a test row up to normalisation, closed answers that are
    not yes or no, an unseen test answer, and frame rows that restate test questions.

    Args:
        root: Folder to write into; made if missing.
        layouts: Which files to write.
        image_folder: Where the images go.
        images: Training images, at least 8; the last four are test images too.
        seed: Seed of answers and images.

    Returns:
        The counts.
    """
    rng = np.random.default_rng(seed)
    names = [f"synpic{10_000 + 37 * i}.jpg" for i in range(images + 1)]
    for i, name in enumerate([*names, "synpic35356.jpg"]):
        write_image(root / image_folder / name, seed * 1000 + i)

    train: list[dict[str, Any]] = []
    for i, name in enumerate(names[:images]):
        side = ["left", "right"][int(rng.integers(2))]
        sign = ["Yes", "no", "YES", "No"][int(rng.integers(4))]
        modality = ["CT", "MRI", "X-ray"][int(rng.integers(3))]
        where = f"{side}\tlower lobe" if i == 0 else f"{side} lower lobe"
        frame = "Is/Are there a fracture? "
        train += [
            _rad(name, "Is there a fracture?", sign, "CLOSED", "PRES", frame=frame),
            _rad(name, "What kind of image is this?", modality, "OPEN", "MODALITY"),
            _rad(name, "Where is the lesion located?", where, "OPEN", "POS, PRES"),
            _rad(name, "How many lesions are there?", int(rng.integers(1, 4)), "OPEN", "COUNT"),
        ]
    train[0] |= {"question": "\tIs there a  fracture?", "answer_type": "CLOSED "}
    train[4] |= {"answer_type": "CLOSED ", "question_type": "PRSE"}
    train[5] |= {"question_type": "ATRIB"}
    for row in train[1:3]:
        del row["question_rephrase"]
    # Released twice, word for word.
    train.append(dict(train[1]))

    last, unseen_image = names[images - 1], names[images]
    shared = names[images - 4 : images]
    kind = "PRES"
    test = [
        # Equal to a training row on the same image except for case and punctuation.
        _rad(last, "WHERE is the lesion located", "apex", "OPEN", "POS"),
        # Its frame is also the frame of a training row on that image.
        _rad(last, "Any fracture?", "no", "CLOSED", kind, frame="Is/Are there a fracture?"),
        _rad(unseen_image, "Which vein is this?", "azygos vein", "OPEN", "ORGAN"),
        _rad(unseen_image, "Is it left or right?", "Left", "CLOSED", "POS"),
    ]
    for name in shared:
        frame = "Is/Are the heart enlarged?"
        rephrase = "Does the heart look big?"
        heart = _rad(name, "Is the heart large?", "yes", "CLOSED", kind, rephrase, frame)
        test += [heart, _rad(name, "What is the modality?", "CT", "OPEN", "MODALITY")]

    if "osf" in layouts:
        # Alternating splits: the file does not list the training rows first.
        rows = []
        for k in range(max(len(train), len(test))):
            rows += [r | {"phrase_type": "para" if k % 3 else "freeform"} for r in train[k : k + 1]]
            rows += [r | {"phrase_type": "test_freeform"} for r in test[k : k + 1]]
        for k, row in enumerate(rows):
            row["qid"] = str(k) if k == 0 else k
        _write_json(root / "VQA_RAD Dataset Public.json", rows)
    frames = [
        *(r | {"question": r["question_frame"]} for r in train if r["question_frame"] != "NULL"),
        *(r | {"question": r["question_frame"]} for r in test if r["question_frame"] != "NULL"),
    ]
    if "mevf" in layouts:
        rows = [r | {"phrase_type": "freeform"} for r in train[:7]]
        rows += [r | {"phrase_type": "frame"} for r in frames]
        rows += [r | {"phrase_type": "para"} for r in train[7:]]
        _write_json(root / "trainset.json", [_mevf(row, k + 1) for k, row in enumerate(rows)])
        rows = [r | {"phrase_type": "freeform"} for r in test]
        _write_json(root / "testset.json", [_mevf(row, k + 9) for k, row in enumerate(rows)])
    return FakeRAD(
        train=4 * images + 1,
        test=12,
        frames=images + 5,
        train_images=images,
        test_images=5,
        shared_images=4,
        # The lesion row; the training set's own questions never equal a frame.
        restating_train_rows=1,
        # Four hearts and the fracture on the last image, all with the test row's own answer.
        leaked_test_questions=5,
        # Those five rows, and the last training image's own fracture frame.
        leaked_frames=6,
        # On the last image the fracture frame comes from a test and from a training row.
        leaked_frames_of_train_too=2,
    )


def _rad(
    image: str,
    question: str,
    answer: str | int,
    answer_type: str,
    question_type: str,
    rephrase: str = "NULL",
    frame: str = "NULL",
) -> dict[str, Any]:
    return {
        "qid": 0,
        "phrase_type": "",
        "qid_linked_id": "03f451ca",
        "image_case_url": "https://medpix.nlm.nih.gov/case?id=48e1dd0e",
        "image_name": image,
        "image_organ": "CHEST",
        "evaluation": "not evaluated",
        "question": question,
        "question_rephrase": rephrase,
        "question_relation": "NULL",
        "question_frame": frame,
        "question_type": question_type,
        "answer": answer,
        "answer_type": answer_type,
    }


def _mevf(row: dict[str, Any], qid: int) -> dict[str, Any]:
    kept = ("image_name", "image_organ", "answer", "answer_type", "question_type", "question")
    return {"qid": qid, **{key: row[key] for key in kept}, "phrase_type": row["phrase_type"]}


def _write_json(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows, indent=1), encoding="utf-8")


@dataclass(frozen=True)
class FakeMed2019:
    """Counts of :func:`write_vqa_med_2019`: questions per split."""

    train: int
    validation: int
    test: int
    train_without_abnormality: int
    validation_without_abnormality: int
    test_without_abnormality: int


def write_vqa_med_2019(
    root: Path,
    *,
    splits: Collection[Literal["train", "validation", "test"]] = ("train", "validation", "test"),
    images: int = 12,
    seed: int = 0,
) -> FakeMed2019:
    """Write VQA-Med-2019's folders as released on Zenodo.

    Traps: real parentheses in training answers, ``#`` and ``(...)`` in the test file, ``-`` and
    ``/`` inside answers, no-break spaces and typographic quotes, images without an abnormality
    question, an order of All_QA_Pairs that is not by category, and no final line break.

    Args:
        root: Folder to write into; made if missing.
        splits: Which folders to write.
        images: Training images, at least 4; validation and test have four each.
        seed: Seed of answers and images.

    Returns:
        The counts of the full release.
    """
    rng = np.random.default_rng(seed)
    train = [f"synpic{20_000 + 11 * i}" for i in range(images)]
    validation = [f"synpic{50_000 + 11 * i}" for i in range(4)]
    if "train" in splits:
        folder = root / "ImageClef-2019-VQA-Med-Training"
        _write_med_split(folder, "train", "Train_images", train, rng)
    if "validation" in splits:
        folder = root / "ImageClef-2019-VQA-Med-Validation"
        _write_med_split(folder, "val", "Val_images", validation, rng)
    if "test" in splits:
        _write_med_test(root / "VQAMed2019Test")
    return FakeMed2019(
        train=4 * images - 1,
        validation=15,
        test=5,
        train_without_abnormality=3 * images,
        validation_without_abnormality=12,
        test_without_abnormality=4,
    )


_MODALITIES = ("cta - ct angiography", "xr - plain film", "ct with (iv) contrast", "mr/t2")
_FINDINGS = ("spine, \u00a0tethered \u00a0cord", "crohn\u2019s disease", "cyst", "no")


def _write_med_split(
    folder: Path, short: str, image_folder: str, images: list[str], rng: np.random.Generator
) -> None:
    lines: dict[str, list[str]] = {"Modality": [], "Plane": [], "Organ": [], "Abnormality": []}
    everything: list[str] = []
    for i, image in enumerate(images):
        plane = ("axial", "axial", "sagittal", "ap")[int(rng.integers(4))]
        organ = ("lung, mediastinum, pleura", "skull and contents")[int(rng.integers(2))]
        asked = {
            "Modality": f"{image}|what kind of image is this?|{_MODALITIES[i % 4]}",
            "Plane": f"{image}|which plane is this image taken?|{plane}",
            "Organ": f"{image}|which organ is captured by this ct scan?|{organ}",
            "Abnormality": f"{image}|what is abnormal in the image?|{_FINDINGS[i % 4]}",
        }
        if i == 1:
            del asked["Abnormality"]
        for category, line in asked.items():
            lines[category].append(line)
        everything += list(asked.values()) if i % 2 else list(asked.values())[::-1]
        write_image(folder / image_folder / f"{image}.jpg", 7 + i)
    for number, (category, category_lines) in enumerate(lines.items(), start=1):
        path = folder / "QAPairsByCategory" / f"C{number}_{category}_{short}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(category_lines) + "\n", encoding="utf-8")
    name = f"All_QA_Pairs_{short}.txt"
    (folder / name).write_text("\n".join(everything), encoding="utf-8")
    (folder / f"{short}_ImageIDs.txt").write_text("\n".join(images), encoding="utf-8")


#: Lines of the fake test file.
MED_2019_TEST_LINES = (
    "synpic90001|modality|what is the modality?|mr - t2 weighted#mri",
    "synpic90001|plane|what plane is this?|axial",
    "synpic90002|organ|what organ is this?|lung, mediastinum, pleura",
    "synpic90003|abnormality|what is abnormal?|aneurysm (of the aorta)#aortic aneurysm",
    "synpic90004|modality|was contrast given?|yes",
)


def _write_med_test(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "VQAMed2019_Test_Questions_w_Ref_Answers.txt"
    path.write_text("\n".join(MED_2019_TEST_LINES), encoding="utf-8")
    questions = ["|".join((line.split("|")[0], line.split("|")[2])) for line in MED_2019_TEST_LINES]
    (folder / "VQAMed2019_Test_Questions.txt").write_text("\n".join(questions), encoding="utf-8")
    for i in range(1, 5):
        write_image(folder / "VQAMed2019_Test_Images" / f"synpic9000{i}.jpg", 900 + i)
