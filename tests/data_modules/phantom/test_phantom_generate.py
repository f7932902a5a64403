from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from amif_lightning.errors import UserError
from data_modules.phantom import generate as module
from data_modules.phantom import study
from data_modules.phantom.generate import generate
from data_modules.phantom.module import Phantom, PhantomStudies
from data_modules.phantom.read import read_phantom, read_studies
from tests.data_modules.phantom.conftest import SMALL
from tests.data_modules.phantom.files import TINY, fingerprint


def test_same_seed_same_files_other_seed_other_data(tmp_path: Path) -> None:
    for name, seed, processes in (("a", 0, 1), ("b", 0, 2), ("c", 1, 1)):
        generate(tmp_path / name, seed, TINY, progress=False, processes=processes)
    first, again, other = (fingerprint(tmp_path / name) for name in "abc")
    assert first == again
    assert set(first) == set(other)
    assert not {name for name in first if first[name] == other[name]}
    # Questions, answers and vectors of a seed are the same on every machine.
    text = b"".join((tmp_path / "a" / f"{n}.jsonl").read_bytes() for n in ("studies", "questions"))
    assert hashlib.sha256(text).hexdigest()[:16] == "5bf57950ecc588fd"


def test_a_split_does_not_depend_on_the_size_of_another(tmp_path: Path) -> None:
    generate(tmp_path / "a", studies={"train": 3, "test": 5}, progress=False)
    generate(tmp_path / "b", studies={"train": 6, "test": 5}, progress=False)
    a, b = fingerprint(tmp_path / "a"), fingerprint(tmp_path / "b")
    tests = [name for name in a if "/test/" in name]
    assert len(tests) == 10
    assert all(a[name] == b[name] for name in tests)


def test_images_are_8_bit_grey_112(phantom_root: Path) -> None:
    studies = read_studies(phantom_root)
    for one in studies[::20]:
        for path in one.images.values():
            with Image.open(phantom_root / path) as opened:
                assert opened.mode == "L"
                assert opened.size == (112, 112)
                pixels = np.asarray(opened)
            assert pixels.min() == 0
            assert pixels.max() > 230
            assert 60 < pixels[40:72, 30:82].mean() < 220


def test_finished_folder_is_left_as_it_is(small_root: Path) -> None:
    times = {path: path.stat().st_mtime_ns for path in small_root.rglob("*")}
    for kind in (Phantom, PhantomStudies):  # both modules share one folder
        kind(str(small_root), **SMALL).prepare_data()
    assert times == {path: path.stat().st_mtime_ns for path in small_root.rglob("*")}


def test_interrupted_generation_leaves_nothing_and_is_done_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw, calls = study.draw, []

    def stop_in_the_middle(job: study.Job) -> object:
        calls.append(job)
        if len(calls) == 9:
            raise KeyboardInterrupt
        return draw(job)

    monkeypatch.setattr(study, "draw", stop_in_the_middle)
    with pytest.raises(KeyboardInterrupt):
        generate(tmp_path / "a", studies={"train": 20}, progress=False)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UserError, match="no finished phantom data set"):
        read_phantom(tmp_path / "a")
    monkeypatch.setattr(study, "draw", draw)
    # What a killed process left is not touched: it might belong to one that still runs.
    left = tmp_path / ".phantom-unfinished-x" / "a"
    left.mkdir(parents=True)
    (left / "studies.jsonl").write_text("half")
    generate(tmp_path / "a", studies=TINY, progress=False)
    generate(tmp_path / "b", studies=TINY, progress=False)
    assert fingerprint(tmp_path / "a") == fingerprint(tmp_path / "b")
    assert (left / "studies.jsonl").read_text() == "half"
    assert len(list(tmp_path.iterdir())) == 3


START = """
import sys, time
from pathlib import Path
from data_modules.phantom import study
from data_modules.phantom.generate import generate
here, root = Path(sys.argv[1]), Path(sys.argv[2])
draw, met = study.draw, []

def after_all_have_begun(job):
    if not met:
        here.touch()
        while len(list(here.parent.glob("here*"))) < 2:
            time.sleep(0.01)
        met.append(job)
    return draw(job)

study.draw = after_all_have_begun
generate(root, studies={"train": 12, "validation": 4, "test": 6}, progress=False)
"""


@pytest.mark.slow
def test_two_processes_may_generate_the_same_root_at_once(tmp_path: Path) -> None:
    (tmp_path / "both").mkdir()  # an empty folder is as good as none
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", START, tmp_path / f"here{i}", tmp_path / "both"],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(2)
    ]
    ends = [process.communicate(timeout=120)[1] for process in started]
    assert [process.returncode for process in started] == [0, 0], ends
    generate(tmp_path / "one", studies=TINY, progress=False)
    assert fingerprint(tmp_path / "both") == fingerprint(tmp_path / "one")
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"both", "one", "here0", "here1"}


def test_the_slower_of_two_with_other_settings_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = study.draw

    def overtaken(job: study.Job) -> object:
        monkeypatch.setattr(study, "draw", draw)
        generate(tmp_path / "a", seed=1, studies=TINY, progress=False)
        return draw(job)

    monkeypatch.setattr(study, "draw", overtaken)
    with pytest.raises(UserError, match="made with other settings"):
        generate(tmp_path / "a", seed=0, studies=TINY, progress=False)
    assert json.loads((tmp_path / "a" / "phantom.json").read_text())["seed"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("where", ["file", "file/deeper"])
def test_a_file_as_root_or_above_it_is_one_sentence(tmp_path: Path, where: str) -> None:
    (tmp_path / "file").write_text("keep")
    with pytest.raises(UserError, match=r"give (an empty folder|another root)") as error:
        generate(tmp_path / where, studies=TINY, progress=False)
    assert "\n" not in str(error.value)
    assert (tmp_path / "file").read_text() == "keep"


def test_a_root_behind_a_link_is_filled_and_the_link_stays(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    generate(tmp_path / "link", studies=TINY, progress=False)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "disk" / "phantom.json").is_file()
    # Readable for others as any new folder, unlike a temporary one.
    (tmp_path / "plain").mkdir()
    assert (tmp_path / "disk").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("change", ["seed", "studies", "generator"])
def test_other_settings_are_one_sentence(
    small_root: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    before = fingerprint(small_root)
    options = SMALL | {"seed": {"phantom_seed": 1}, "studies": {"test_studies": 9}}.get(change, {})
    if change == "generator":
        monkeypatch.setattr(module, "GENERATOR", module.GENERATOR + 1)
    with pytest.raises(UserError, match=r"made with other settings .*delete the folder") as error:
        Phantom(str(small_root), **options).prepare_data()
    assert "\n" not in str(error.value)
    assert str(small_root) in str(error.value)
    assert fingerprint(small_root) == before


def test_a_folder_with_other_files_is_never_touched(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "mine.txt").write_text("keep")
    with pytest.raises(UserError, match=r"is not empty and has no phantom.json"):
        generate(tmp_path, studies=TINY, progress=False)
    assert (tmp_path / "images" / "mine.txt").read_text() == "keep"
    (tmp_path / "phantom.json").write_text("[]")
    with pytest.raises(UserError, match="not a manifest"):
        generate(tmp_path, studies=TINY, progress=False)


def test_no_patient_in_two_splits_and_some_with_two_studies(phantom_root: Path) -> None:
    splits: dict[str, set[str]] = {}
    counts: dict[str, int] = {}
    for one in read_studies(phantom_root):
        splits.setdefault(one.patient_id, set()).add(one.split)
        counts[one.patient_id] = counts.get(one.patient_id, 0) + 1
    assert all(len(found) == 1 for found in splits.values())
    assert set(counts.values()) == {1, 2}


def test_no_two_images_are_equal(phantom_root: Path) -> None:
    images = {name: digest for name, digest in fingerprint(phantom_root).items() if "png" in name}
    assert len(images) == 2 * (160 + 30 + 60)
    assert len(set(images.values())) == len(images)


def test_manifest_describes_the_data(phantom_root: Path) -> None:
    manifest = json.loads((phantom_root / "phantom.json").read_text())
    assert manifest["seed"] == 3
    assert manifest["studies"] == {"train": 160, "validation": 30, "test": 60}
    release = read_phantom(phantom_root)
    assert manifest["questions"] == {name: len(rows) for name, rows in release.splits.items()}
    assert len(manifest["coordinates"]) == len(read_studies(phantom_root)[0].vector)
    files = {"phantom.json", "studies.jsonl", "footprints.jsonl", "images"}
    files |= {"questions.jsonl", "compositions.jsonl"}
    assert {path.name for path in phantom_root.iterdir()} == files
