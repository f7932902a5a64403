"""Every data class with a small fake release, for tests that apply to all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from amif_lightning.data.loading.base_module import TextDataModule
from data_modules import (
    MIMICCXR,
    ROCO,
    SLAKE,
    VQARAD,
    CaptionsFromQA,
    CheXpert5x200,
    ImageText,
    IUXray,
    MedICaT,
    MIMIC5x200,
    Mixture,
    PathVQA,
    Phantom,
    PhantomStudies,
    QuestionMixture,
    QuestionTable,
    VQAMed2019,
)
from data_modules.phantom.generate import generate
from tests import fakes, fakes_corpora
from tests.fakes_path_vqa import write_path_vqa
from tests.fakes_slake import write_slake
from tests.fakes_table import write_question_table

QUICK: dict[str, Any] = {
    "tokenizer": "words",
    "num_workers": 0,
    "image_size": 16,
    "batch_size": 2,
    "augmentation": "none",
}
_SIZES: dict[str, Any] = {"train_studies": 24, "validation_studies": 1, "test_studies": 1}


@dataclass(frozen=True)
class SmallSet:
    """A data class, the writer of its fake release, and where the release names an image."""

    write: Callable[[Path], object]
    make: Callable[[Path], TextDataModule[Any]]  # of the release's folder
    file: str  # path of a file below the folder ...
    image: str  # ... that holds this text, an image's name

    def edit(self, root: Path, name: str) -> None:
        """Write another name for the image; its JSON form in JSON files."""
        path = root / self.file
        text = path.read_text(encoding="utf-8")
        assert self.image in text
        path.write_text(text.replace(self.image, name), encoding="utf-8", newline="")


def _phantom(root: Path) -> None:
    generate(root, studies={"train": 24, "validation": 1, "test": 1}, progress=False)


def _rad(root: Path) -> VQARAD:
    return VQARAD(str(root), **QUICK)


def _mixture(root: Path) -> Mixture:
    return Mixture([_image_text(root)], hashes=f"{root}-hashes", **QUICK)


def _image_text(root: Path) -> ImageText:
    columns: dict[str, Any] = {f"{name}_column": name for name in ("view", "study", "split")}
    columns |= {"text_column": "report", "group_column": "patient"}
    return ImageText(str(root), **columns, **QUICK)


def _made(cls: Any, **options: Any) -> Callable[[Path], TextDataModule[Any]]:
    return lambda root: cls(str(root), **(QUICK | options))


_OSF, _CAPTIONS = "VQA_RAD Dataset Public.json", "data/train/radiology/captions.txt"
_OSF_ONLY: Any = ("osf",)  # of a literal type
_MEVF_ONLY: Any = ("mevf",)
_RAD = partial(fakes.write_vqa_rad, layouts=_OSF_ONLY)
_IMAGE = fakes_corpora.dicom(50000010, 0)
_MIMIC = partial(fakes_corpora.write_mimic_cxr, packed=False)
_METADATA = "mimic-cxr-2.0.0-metadata.csv"
SETS: dict[str, SmallSet] = {
    "VQARAD osf": SmallSet(_RAD, _rad, _OSF, "synpic10000.jpg"),
    "VQARAD mevf": SmallSet(
        partial(fakes.write_vqa_rad, layouts=_MEVF_ONLY), _rad, "trainset.json", "synpic10000.jpg"
    ),
    "SLAKE": SmallSet(write_slake, _made(SLAKE), "train.json", "xmlab0/source.jpg"),
    "VQAMed2019": SmallSet(
        fakes.write_vqa_med_2019,
        _made(VQAMed2019),
        "ImageClef-2019-VQA-Med-Training/All_QA_Pairs_train.txt",
        "synpic20000",
    ),
    "PathVQA": SmallSet(
        partial(write_path_vqa, layout="lxmert"), _made(PathVQA), "train.json", "train_0000"
    ),
    "Phantom": SmallSet(_phantom, _made(Phantom, **_SIZES), "questions.jsonl", "train/"),
    "PhantomStudies": SmallSet(
        _phantom, _made(PhantomStudies, **_SIZES), "studies.jsonl", "images/train/"
    ),
    "ImageText": SmallSet(fakes_corpora.write_image_text, _image_text, "table.csv", "a/3.png"),
    "QuestionTable": SmallSet(
        write_question_table,
        _made(QuestionTable, missing_images="skip"),
        "table.csv",
        "scans/3.png",
    ),
    "ROCO v1": SmallSet(fakes_corpora.write_roco_v1, _made(ROCO), _CAPTIONS, "ROCO_00002"),
    "ROCO v2": SmallSet(
        fakes_corpora.write_roco_v2,
        _made(ROCO, version="v2"),
        "train_captions.csv",
        "ROCOv2_2023_train_000001",
    ),
    "MedICaT": SmallSet(
        fakes_corpora.write_medicat,
        _made(MedICaT),
        f"release/{fakes_corpora.MEDICAT_FILE}",
        "1-Figure1-1.png",
    ),
    "IUXray openi": SmallSet(
        fakes_corpora.write_iu_xray,
        _made(IUXray),
        "NLMCXR_reports/ecgen-radiology/3.xml",
        "CXR3_IM-1384-1001",
    ),
    "IUXray annotation": SmallSet(
        fakes_corpora.write_iu_annotation, _made(IUXray), "annotation.json", "CXR9_IM-2407/0.png"
    ),
    "MIMICCXR": SmallSet(_MIMIC, _made(MIMICCXR), _METADATA, _IMAGE),
    "MIMIC5x200": SmallSet(_MIMIC, _made(MIMIC5x200, take_from="any"), _METADATA, _IMAGE),
    "CheXpert5x200": SmallSet(
        fakes_corpora.write_chexpert, _made(CheXpert5x200), "train.csv", "CheXpert-v1.0-small/train"
    ),
    "CaptionsFromQA": SmallSet(
        _RAD,
        lambda root: CaptionsFromQA(_rad(root), hashes=f"{root}-hashes", **QUICK),
        _OSF,
        "synpic10000.jpg",
    ),
    "Mixture": SmallSet(fakes_corpora.write_image_text, _mixture, "table.csv", "a/3.png"),
    "QuestionMixture": SmallSet(
        _RAD,
        lambda root: QuestionMixture([_rad(root)], hashes=f"{root}-hashes", **QUICK),
        _OSF,
        "synpic10000.jpg",
    ),
}
