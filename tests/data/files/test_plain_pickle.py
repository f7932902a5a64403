"""Pickles of strangers: plain containers or one sentence, and no code is run."""

from __future__ import annotations

import contextlib
import os
import pickle
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amif_lightning.data.files.json_files import read_pickle
from amif_lightning.errors import UserError

PLAIN = [{"img_id": "train_1", "label": {"yes": 1.0}, "n": (1, None, True, b"x")}]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_lists_are_read(tmp_path: Path, protocol: int) -> None:
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(PLAIN, protocol))
    if protocol < 3:  # bytes were a call then
        with pytest.raises(UserError, match="no pickle of plain lists"):
            read_pickle(tmp_path / "a.pkl", "Set")
        (tmp_path / "a.pkl").write_bytes(pickle.dumps([{"a": 1}], protocol))
        assert read_pickle(tmp_path / "a.pkl", "Set") == [{"a": 1}]
        return
    assert read_pickle(tmp_path / "a.pkl", "Set") == PLAIN


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("evil",)


def test_no_code_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.pkl").write_bytes(pickle.dumps([Evil()]))
    with pytest.raises(UserError, match=r"it asks for .*mkdir"):
        read_pickle(tmp_path / "a.pkl", "Set")
    assert not (tmp_path / "evil").exists()


@settings(max_examples=80, deadline=None, derandomize=True)
@given(place=st.integers(0, 10**6), byte=st.integers(0, 255), cut=st.integers(0, 10**6))
def test_a_damaged_pickle_is_one_sentence(
    tmp_path_factory: pytest.TempPathFactory, place: int, byte: int, cut: int
) -> None:
    data = bytearray(pickle.dumps([{"a": "b" * 20, "c": [1, 2.5]}] * 3))
    data[place % len(data)] = byte
    path = tmp_path_factory.mktemp("damaged") / "a.pkl"
    path.write_bytes(bytes(data[: 1 + cut % len(data)]))
    with contextlib.suppress(UserError):  # any other exception fails the test
        read_pickle(path, "Set")


def test_a_file_that_cannot_be_read_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        read_pickle(tmp_path / "absent", "Set")
