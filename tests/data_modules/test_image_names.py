"""No data class reads or writes outside of its folder, whatever its release names an image."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import data_modules
from amif_lightning.data.files.reduced_copies import resize_all
from amif_lightning.errors import UserError
from data_modules import VQARAD
from tests.data.files.parquet_files import row, write_parquet
from tests.fakes import write_image
from tests.small_sets import QUICK, SETS

UP = "../" * 8
NAMES = {
    "up": f"{UP}secret",
    "backslashes": "..\\..\\secret",
    "absolute": "/secret",
    "nul": "a\0b",
    "too long": "n" * 300,
    "too deep": "d/" * 1500 + "a",
}


@pytest.mark.parametrize(
    ("name", "what"),
    # Phantoms are generated, as slowly as all others are written.
    [(name, what) for name in SETS for what in NAMES if "Phantom" not in name or what == "up"],
)
def test_an_image_stays_below_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, what: str
) -> None:
    monkeypatch.chdir(tmp_path)
    chosen, root = SETS[name], tmp_path / "a" / "set"
    chosen.write(root)
    text = NAMES[what]
    chosen.edit(root, json.dumps(text)[1:-1] if "json" in chosen.file else text)
    data = chosen.make(root)
    data.prepare_data()
    try:
        files = data.images()
    except UserError as error:
        assert str(error).isprintable()  # noqa: PT017 (a release may also be refused)
        return
    # Below a folder of images, an absolute name is a name like others.
    named = any(text in str(file) for file in files.values())
    assert what == "absolute" or data.release.dropped or not named
    for file in files.values():
        assert ".." not in file.parts
        assert file.is_relative_to(root)
        file.is_file()  # raises for a name that no file can have


def test_all_classes_are_here() -> None:
    assert {name.split()[0] for name in SETS} == set(data_modules.__all__)


def test_an_index_of_unpacked_images_stays_below_its_folder(tmp_path: Path) -> None:
    write_parquet(tmp_path, {"train": [row(n, f"is it {n}?", "yes") for n in range(3)]})
    data = VQARAD(str(tmp_path), unpacked=str(tmp_path / "unpacked"), **QUICK)
    data.prepare_data()
    assert data.parquet is not None
    index = data.parquet.index
    picture = json.loads(index.read_text().splitlines()[0])["picture"]
    index.write_text(index.read_text().replace(picture, f"{UP}secret"))
    assert [one.question_id for one in data.release.dropped] == ["VQARAD/train/0"]
    kept = data.release.splits["train"]
    with pytest.raises(UserError, match="leaves the folder"):
        data.parquet.file_of(type(kept[0])("", "", "train", "", f"{UP}a", "", "", ()))


def test_reduced_copies_stay_below_their_folder(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", 0)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match=r"'Set/\.\./\.\./\.\./evil.jpg' leaves the folder"):
        resize_all(
            {"Set/../../../evil.jpg": tmp_path / "a.png"},
            tmp_path / "some" / "copies",
            short_side=8,
            workers=0,
        )
    assert sorted(tmp_path.rglob("*")) == before
