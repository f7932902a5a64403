"""Names of teachers: content, not place."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from amif_lightning.data.teacher import build as teachers
from amif_lightning.data.teacher.build import open_teacher, teacher_name
from amif_lightning.errors import UserError


def test_hub_names_stand_for_themselves() -> None:
    name = teacher_name("open_clip", "")
    assert "hf-hub:microsoft/BiomedCLIP" in name
    assert "120 tokens" in name
    assert teacher_name("open_clip", "hf-hub:x/y") != name


def test_a_folder_is_its_files(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "a.bin").write_bytes(b"1")
    (folder / "b.json").write_bytes(b"2")
    name = teacher_name("open_clip", f"local-dir:{folder}")
    (tmp_path / "new").mkdir()
    shutil.move(folder, tmp_path / "new" / "model")
    moved = tmp_path / "new" / "model"
    assert teacher_name("open_clip", f"local-dir:{moved}") == name
    (moved / "a.bin").rename(moved / "c.bin")
    renamed = teacher_name("open_clip", f"local-dir:{moved}")
    (moved / "c.bin").write_bytes(b"3")
    assert len({name, renamed, teacher_name("open_clip", f"local-dir:{moved}")}) == 3


def test_a_run_trained_again_is_another_teacher(tmp_path: Path) -> None:
    path = tmp_path / "best.ckpt"
    path.write_bytes(b"1")
    first = teacher_name("checkpoint", str(path))
    path.write_bytes(b"2")
    assert teacher_name("checkpoint", str(path)) != first


@pytest.mark.parametrize("source", ["local-dir:empty", "local-dir:none"])
def test_nothing_there(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="does not exist or is empty"):
        teacher_name("open_clip", source)


def test_the_kind_says_which_teacher(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str]] = []

    class Named:
        def __init__(self, kind: str, source: object) -> None:
            asked.append((kind, str(source)))

        def to(self, device: str) -> Named:
            return self

    monkeypatch.setattr(teachers, "OpenClipTeacher", lambda source: Named("open_clip", source))
    monkeypatch.setattr(teachers, "CheckpointTeacher", lambda path: Named("checkpoint", path))
    open_teacher("open_clip", "hf-hub:x/y")
    open_teacher("open_clip", "")
    open_teacher("checkpoint", "a.ckpt")
    assert asked[0] == ("open_clip", "hf-hub:x/y")
    assert "BiomedCLIP" in asked[1][1]
    assert asked[2] == ("checkpoint", "a.ckpt")
