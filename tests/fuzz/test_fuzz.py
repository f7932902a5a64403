"""The fuzzer finds crashes and hangs, repeats them by number, and its valid files are read."""

from __future__ import annotations

import json
import time
from pathlib import Path
from random import Random

import pytest

from amif_lightning.errors import UserError
from tests.fuzz.__main__ import Fuzzer
from tests.fuzz.mutations import mutated
from tests.fuzz.targets import TARGETS, Case


def _write(root: Path) -> None:
    (root / "a.json").write_text(json.dumps([{"a": 1, "b": "text"}] * 3))


def fuzzer(tmp_path: Path, read: object) -> Fuzzer:
    case = Case(_write, lambda root, scratch: read(root), ("*.json",))  # type: ignore[operator]  # a function
    return Fuzzer("made", [case], tmp_path / "files", tmp_path / "out", "0")


def test_a_sentence_is_no_crash_and_anything_else_is(tmp_path: Path) -> None:
    def refuse(root: Path) -> None:
        raise UserError("Refused.")

    def crash(root: Path) -> None:
        raise KeyError(0)

    def hang(root: Path) -> None:
        time.sleep(5)

    for name, read, expected in (
        ("a", refuse, "inputs 2, crashes 0, hangs 0"),
        ("b", crash, "inputs 2, crashes 2, hangs 0"),
        ("c", hang, "inputs 2, crashes 0, hangs 2"),
    ):
        made = fuzzer(tmp_path / name, read)
        for number in range(2):
            made.run(number, seconds=0.1)
        assert str(made.counts) == expected
    kept = sorted(path.name for path in (tmp_path / "b" / "out" / "made-0-0").iterdir())
    assert kept == ["a.json", "traceback.txt"]


def test_an_input_is_repeated_by_its_number_and_the_valid_file_stays(tmp_path: Path) -> None:
    seen: list[bytes] = []
    made = fuzzer(tmp_path, lambda root: seen.append((root / "a.json").read_bytes()))
    before = (tmp_path / "files" / "0" / "set" / "a.json").read_bytes()
    for number in (0, 1, 2, 1):
        made.run(number)
    assert seen[1] == seen[3]
    assert len(set(seen)) == 3
    assert (tmp_path / "files" / "0" / "set" / "a.json").read_bytes() == before


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.csv", "a.txt", "a.zip"])
def test_files_change(name: str) -> None:
    data = b'{"a": [1, "b,c"]}\n' * (1 if name == "a.json" else 2)
    rng = Random(0)
    assert sum(mutated(data, name, rng) != data for _ in range(50)) > 40


@pytest.mark.parametrize("target", ["answers", "archives", "dicom", "images", "records"])
def test_valid_files_are_read(tmp_path: Path, target: str) -> None:
    for number, case in enumerate(TARGETS[target]()):
        root, scratch = tmp_path / f"{number}", tmp_path / f"{number}-scratch"
        root.mkdir()
        scratch.mkdir()
        case.write(root)
        case.read(root, scratch)
