from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from amif_lightning.errors import UserError
from data_modules.phantom import generate as module
from data_modules.phantom.generate import decode_runs, encode_runs, generate
from data_modules.phantom.read import read_phantom, read_studies
from data_modules.rows import SplitName

TINY: dict[SplitName, int] = {"train": 12, "validation": 4, "test": 6}


def fingerprint(root: Path) -> dict[str, str]:
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def test_same_seed_same_files_other_seed_other_data(tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        generate(tmp_path / name, seed=seed, studies=TINY, progress=False)
    first, again, other = (fingerprint(tmp_path / name) for name in "abc")
    assert first == again
    assert set(first) == set(other)
    assert not {name for name in first if first[name] == other[name]}


def test_known_answers_of_seed_zero(tmp_path: Path) -> None:
    """Questions, answers and vectors of a seed are the same on every machine."""
    generate(tmp_path, seed=0, studies=TINY, progress=False)
    text = (tmp_path / "studies.jsonl").read_bytes() + (tmp_path / "questions.jsonl").read_bytes()
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
    for study in studies[::20]:
        for image in study.images:
            with Image.open(phantom_root / image.path) as picture:
                assert picture.mode == "L"
                assert picture.size == (112, 112)
                pixels = np.asarray(picture)
            assert pixels.min() == 0
            assert pixels.max() > 230
            assert 60 < pixels[40:72, 30:82].mean() < 220


def test_finished_folder_is_left_as_it_is(tmp_path: Path) -> None:
    generate(tmp_path, studies=TINY, progress=False)
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    generate(tmp_path, studies=TINY, progress=False)
    assert times == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}


def test_interrupted_generation_is_regenerated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw, calls = module._draw, []

    def stop_in_the_middle(job: module._Job) -> object:
        calls.append(job)
        if len(calls) == 9:
            raise KeyboardInterrupt
        return draw(job)

    monkeypatch.setattr(module, "_draw", stop_in_the_middle)
    with pytest.raises(KeyboardInterrupt):
        generate(tmp_path / "a", studies={"train": 20}, progress=False)
    assert not (tmp_path / "a" / "phantom.json").exists()
    with pytest.raises(UserError, match="no finished phantom data set"):
        read_phantom(tmp_path / "a")
    monkeypatch.setattr(module, "_draw", draw)
    generate(tmp_path / "a", studies=TINY, progress=False)
    generate(tmp_path / "b", studies=TINY, progress=False)
    assert fingerprint(tmp_path / "a") == fingerprint(tmp_path / "b")


@pytest.mark.parametrize("change", [{"seed": 1}, {"studies": {"train": 12}}])
def test_other_settings_are_one_sentence(tmp_path: Path, change: dict[str, object]) -> None:
    generate(tmp_path, studies=TINY, progress=False)
    before = fingerprint(tmp_path)
    settings: dict[str, object] = {"seed": 0, "studies": TINY, **change}
    with pytest.raises(UserError, match=r"made with other settings .*delete the folder") as error:
        generate(tmp_path, progress=False, **settings)  # type: ignore[arg-type]  # mixed on purpose
    assert "\n" not in str(error.value)
    assert str(tmp_path) in str(error.value)
    assert fingerprint(tmp_path) == before


def test_other_generator_version_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generate(tmp_path, studies=TINY, progress=False)
    monkeypatch.setattr(module, "GENERATOR", module.GENERATOR + 1)
    with pytest.raises(UserError, match="other settings"):
        generate(tmp_path, studies=TINY, progress=False)


def test_a_folder_with_other_files_is_never_touched(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "mine.txt").write_text("keep")
    with pytest.raises(UserError, match=r"is not empty and holds no phantom.json"):
        generate(tmp_path, studies=TINY, progress=False)
    assert (tmp_path / "images" / "mine.txt").read_text() == "keep"
    (tmp_path / "phantom.json").write_text("[]")
    with pytest.raises(UserError, match="not a manifest"):
        generate(tmp_path, studies=TINY, progress=False)


def test_no_patient_in_two_splits_and_some_with_two_studies(phantom_root: Path) -> None:
    splits: dict[str, set[str]] = {}
    counts: dict[str, int] = {}
    for study in read_studies(phantom_root):
        splits.setdefault(study.patient_id, set()).add(study.split)
        counts[study.patient_id] = counts.get(study.patient_id, 0) + 1
    assert all(len(found) == 1 for found in splits.values())
    assert set(counts.values()) == {1, 2}


def test_no_two_images_are_alike(phantom_root: Path) -> None:
    images = {name: digest for name, digest in fingerprint(phantom_root).items() if "png" in name}
    assert len(images) == 2 * (160 + 30 + 60)
    assert len(set(images.values())) == len(images)


def test_manifest_says_what_was_made(phantom_root: Path) -> None:
    manifest = json.loads((phantom_root / "phantom.json").read_text())
    assert manifest["seed"] == 3
    assert manifest["studies"] == {"train": 160, "validation": 30, "test": 60}
    release = read_phantom(phantom_root)
    assert manifest["questions"] == {name: len(rows) for name, rows in release.splits.items()}
    assert len(manifest["coordinates"]) == len(read_studies(phantom_root)[0].vector)
    assert not (phantom_root / "phantom.json.unfinished").exists()


def test_runs_restore_the_mask() -> None:
    mask = np.random.default_rng(0).random((112, 112)) < 0.3
    mask[0, 0] = mask[-1, -1] = True
    assert np.array_equal(decode_runs(encode_runs(mask)), mask)
    assert encode_runs(np.zeros((112, 112), dtype=bool)) == []
