"""What is fuzzed: valid files made by the tests' fakes, and the readers that take them."""

from __future__ import annotations

import contextlib
import io
import tarfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from PIL import Image
from pydicom.uid import RLELossless

from amif_lightning.cli import main
from amif_lightning.cli.commands.answer_files import AnswerFile
from amif_lightning.data.files.archives import extract
from amif_lightning.data.files.reduced_copies import check_copies, resize_all
from amif_lightning.data.leakage.image_hash import look_at
from amif_lightning.data.loading.base_module import TextDataModule
from amif_lightning.data.preprocessing.dicom import read_dicom
from amif_lightning.data.preprocessing.image_files import images_in, read_image
from amif_lightning.data.preprocessing.transforms import read_square
from amif_lightning.errors import UserError
from data_modules import VQARAD, PathVQA
from tests.cli.commands import test_answer_files as results
from tests.data.files.parquet_files import row, write_parquet
from tests.data.preprocessing.test_dicom import written
from tests.fakes_path_vqa import write_path_vqa
from tests.reports.conftest import write_answers, write_searches
from tests.small_sets import QUICK, SETS


@dataclass(frozen=True)
class Case:
    """Files below a folder, those of them to change, and a reader of the folder.

    The reader's second argument is an empty folder for what it writes.
    """

    write: Callable[[Path], object]
    read: Callable[[Path, Path], object]
    files: Sequence[str]  # patterns below the folder


def _image(mode: str) -> Image.Image:
    side = 24
    values = np.add.outer(np.arange(side) * 7, np.arange(side) * 3)
    kinds = {"I;16": np.uint16, "I": np.int32, "F": np.float32}
    if mode in kinds:
        return Image.fromarray((values * 100).astype(kinds[mode]))
    return Image.fromarray(values.astype(np.uint8)).convert(mode)


def _save_image(root: Path, name: str, mode: str, options: dict[str, Any]) -> None:
    _image(mode).save(root / name, **options)


def _read_image(root: Path, scratch: Path) -> None:
    for file in images_in(root)[0] or [next(root.iterdir())]:
        read_square(file, 8)
        read_image(file, 8)
        look_at(file)


_IMAGES: tuple[tuple[str, str, dict[str, Any]], ...] = (
    *((f"{mode}.png", mode, {}) for mode in ("1", "L", "RGB", "RGBA", "P", "I;16")),
    *((f"{mode}.jpg", mode, {}) for mode in ("L", "RGB", "CMYK")),
    ("progressive.jpg", "RGB", {"progressive": True, "exif": b"Exif\0\0II*\0\x08\0\0\0\0\0"}),
    *((f"{mode}.tif", mode, {}) for mode in ("L", "RGB", "I;16", "I", "F")),
    *((f"{name}.tif", "RGB", {"compression": name}) for name in ("tiff_lzw", "jpeg", "packbits")),
    *((f"a.{end}", "RGB", {}) for end in ("webp", "avif", "jp2", "ppm", "tga", "pcx", "ico")),
    *((f"a.{end}", "RGBA", {}) for end in ("dds", "bmp", "icns", "sgi", "im")),
    ("a.gif", "P", {}),
)


def _save_copies(root: Path) -> None:
    _image("RGB").save(root / "a.png")
    resize_all({"Set/a.png": root / "a.png"}, root / "copies", short_side=8, workers=0)


def _read_copies(root: Path, scratch: Path) -> None:
    with contextlib.suppress(UserError):
        check_copies(root / "copies", ["Set/a.png"], 8, "Set")
    resize_all({"Set/a.png": root / "a.png"}, root / "copies", short_side=8, workers=0)


def _save_dicom(root: Path, kind: str) -> None:
    values = np.arange(24 * 20, dtype=np.int16).reshape(24, 20) * 3
    unsigned, path = values.astype(np.uint16), root / "a.dcm"
    if kind == "colour":
        written(path, np.stack([values % 256] * 3, axis=-1).astype(np.uint8))
    elif kind == "frames":
        written(path, np.stack([unsigned, unsigned]), WindowCenter=500, WindowWidth=300)
    elif kind == "window":
        window = {"WindowCenter": [50, 60], "WindowWidth": [300, 10], "PixelPaddingValue": 0}
        written(path, values, RescaleSlope=2, RescaleIntercept=-100, **window)
    elif kind == "palette":
        palette: dict[str, Any] = {"PhotometricInterpretation": "PALETTE COLOR"}
        for name in ("Red", "Green", "Blue"):
            palette[f"{name}PaletteColorLookupTableDescriptor"] = [256, 0, 16]
            palette[f"{name}PaletteColorLookupTableData"] = bytes(range(256)) * 2
        written(path, (values % 256).astype(np.uint8), **palette)
    elif kind == "table":
        table = pydicom.Dataset()
        table.LUTDescriptor, table.LUTData = [64, 0, 16], bytes(range(128))
        written(path, unsigned, VOILUTSequence=[table], PhotometricInterpretation="MONOCHROME1")
    else:
        made = pydicom.dcmread(written(path, unsigned))
        made.compress(RLELossless)
        made.save_as(path)


def _read_dicom(root: Path, scratch: Path) -> None:
    for frame in (None, 0):
        with contextlib.suppress(UserError):
            read_dicom(root / "a.dcm", frame)


def read_set(make: Callable[[Path], TextDataModule[Any]], root: Path, scratch: Path) -> None:
    """Read, audit and set up a data set, and load a batch."""
    data: Any = make(root)
    data.prepare_data()
    for split in ("train", "validation", "test"):
        data.rows(split)
    found = data.audit(check_images=False)
    f"{found.to_text()}{found.to_json()}".encode()
    " ".join(data.warnings()).encode()
    data.evaluation_context()
    data.setup("test")
    next(iter(data.predict_dataloader()))
    data.setup("fit")
    next(iter(data.train_dataloader()))
    data.answer_space()


def _hub(cls: Any, root: Path) -> TextDataModule[Any]:
    return cls(str(root), layout="hf", unpacked=str(root / "unpacked"), **QUICK)


def _write_hub(root: Path) -> None:
    rows = [row(n, f"is it {n}?", ("yes", "no")[n % 2]) for n in range(8)]
    write_parquet(root, {"train": rows, "test": rows[:2]})


def _write_unpacked(root: Path) -> None:
    _write_hub(root)
    _hub(VQARAD, root).prepare_data()


_CONTENT = {"a.txt": b"one", "sub/b.bin": bytes(1000), "sub/deep/c": b"", "sub/inner.zip": b"PK"}


def _save_zip(root: Path) -> None:
    with zipfile.ZipFile(root / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in _CONTENT.items():
            archive.writestr(name, data)


def _save_tar(root: Path, name: str) -> None:
    mode: Any = f"w:{name.rpartition('.')[2]}".replace(":tar", ":")
    with tarfile.open(root / name, mode) as archive:
        for member, data in _CONTENT.items():
            info = tarfile.TarInfo(member)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


def _read_archive(root: Path, scratch: Path) -> None:
    extract(next(root.iterdir()), scratch / "out")


def _write_runs(root: Path) -> None:
    write_answers(root, images=6)
    write_answers(root, 1, images=6, read=True)
    write_searches(root, studies=12)
    write_searches(root, 1, studies=12, pairs={})


def _read_runs(root: Path, scratch: Path) -> None:
    for words in (["--output", str(scratch / "report.md"), "--published"], ["--summary"]):
        if main(["report", str(root), *words]) not in (0, 2):
            raise AssertionError("another exit code than 0 or 2")


def _write_answers(name: str, make: Callable[[], results.Entries], root: Path) -> None:
    results.write(root / name, make())


def _read_answers(root: Path, scratch: Path) -> None:
    found, _ = AnswerFile(next(root.iterdir())).match(results.context(), results.UNUSED, "own")
    " ".join(given.answer for given in found.values()).encode()


_TEXTS = ("**/*.json", "**/*.jsonl", "**/*.txt", "**/*.csv", "**/*.gz")
_QUESTIONS = ("VQARAD", "SLAKE", "VQAMed2019", "PathVQA", "QuestionMixture", "CaptionsFromQA")


def _set(name: str) -> Case:
    return Case(SETS[name].write, partial(read_set, SETS[name].make), _TEXTS)


def _sets(*, questions: bool, phantoms: bool = False) -> list[Case]:
    return [
        _set(name)
        for name in SETS
        if name.startswith(_QUESTIONS) == questions and ("Phantom" in name) == phantoms
    ]


TARGETS: dict[str, Callable[[], list[Case]]] = {
    "images": lambda: [
        *(
            Case(partial(_save_image, name=n, mode=m, options=o), _read_image, ("*",))
            for n, m, o in _IMAGES
        ),
        Case(_save_copies, _read_copies, ("copies/Set/*",)),
    ],
    "dicom": lambda: [
        Case(partial(_save_dicom, kind=kind), _read_dicom, ("a.dcm",))
        for kind in ("colour", "frames", "window", "palette", "table", "compressed")
    ],
    "questions": lambda: _sets(questions=True),
    "parquet": lambda: [
        Case(_write_hub, partial(read_set, partial(_hub, VQARAD)), ("data/*",)),
        Case(write_path_vqa, partial(read_set, partial(_hub, PathVQA)), ("data/*",)),
        Case(
            _write_unpacked, partial(read_set, partial(_hub, VQARAD)), ("unpacked/*/index.jsonl",)
        ),
    ],
    "corpora": lambda: _sets(questions=False),
    "phantoms": lambda: _sets(questions=False, phantoms=True),
    "archives": lambda: [
        Case(_save_zip, _read_archive, ("*",)),
        *(
            Case(partial(_save_tar, name=f"a.{end}"), _read_archive, ("*",))
            for end in ("tar", "tar.gz", "tar.xz", "tar.bz2")
        ),
    ],
    "answers": lambda: [
        Case(partial(_write_answers, name, make), _read_answers, ("*",))
        for name, make in (
            ("a.jsonl", results.plain),
            ("a.jsonl", results.lmms_eval),
            ("a.json", results.med_eval_kit),
        )
    ],
    "records": lambda: [Case(_write_runs, _read_runs, ("**/*.json", "**/*.jsonl"))],
}
