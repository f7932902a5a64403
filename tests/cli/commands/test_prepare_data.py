"""``prepare data`` over fakes: present, missing, corrupt, downloaded, reduced."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from amif_lightning.cli import main
from amif_lightning.data.files import sources
from amif_lightning.data.files.downloads import RemoteFile
from amif_lightning.data.files.sources import SOURCES, ReleaseSource, fetch, source_of
from amif_lightning.errors import UserError
from data_modules import VQARAD, PhantomStudies
from tests.fakes import write_vqa_med_2019, write_vqa_rad
from tests.http_server import Page, Server, serving


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as running:
        yield running


def prepare(root: Path, *words: str, data: str = "VQARAD") -> int:
    return main(["prepare", "data", f"--data={data}", f"--data.root={root}", *words])


def test_a_whole_data_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_vqa_rad(tmp_path)
    assert prepare(tmp_path) == 0
    printed = capsys.readouterr().out
    assert "texts: present, rows: train" in printed
    assert "13 present and readable of 13" in printed


def test_what_is_missing_and_what_is_corrupt(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_vqa_rad(tmp_path)
    first, second, *_ = sorted((tmp_path / "VQA_RAD Image Folder").glob("synpic1*.jpg"))
    first.unlink()
    second.write_bytes(second.read_bytes()[:200])
    assert prepare(tmp_path) == 1
    printed = capsys.readouterr().out
    assert f"images: 1 missing: VQARAD/VQA_RAD Image Folder/{first.name}" in printed
    assert f"images: 1 corrupt: VQARAD/VQA_RAD Image Folder/{second.name}" in printed
    assert "to download it: the same command with --download" in printed
    assert prepare(tmp_path, "--json") == 1
    found = json.loads(capsys.readouterr().out)
    assert found["missing"] == [f"VQARAD/VQA_RAD Image Folder/{first.name}"]
    assert (found["whole"], found["images"]) == (False, 13)


def test_absent_parts_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_vqa_med_2019(tmp_path, splits=["train", "validation"])
    assert prepare(tmp_path, data="VQAMed2019") == 0
    assert "absent: test:" in capsys.readouterr().out
    assert prepare(tmp_path / "elsewhere") == 1
    assert "texts: VQA-RAD: the folder" in capsys.readouterr().out


def test_studies_are_checked_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [f"--data.{split}_studies=4" for split in ("train", "validation", "test")]
    assert prepare(tmp_path / "phantom", *words, data="PhantomStudies") == 0
    assert "24 present and readable of 24" in capsys.readouterr().out
    assert prepare(tmp_path / "phantom", "--download", *words, data="PhantomStudies") == 2
    assert "has nothing to download" in capsys.readouterr().err


def test_no_teacher_is_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [f"--data.{split}_studies=4" for split in ("train", "validation", "test")]
    words += ["--data.teacher=open_clip", f"--data.teacher_source=local-dir:{tmp_path / 'none'}"]
    words += [f"--data.teacher_cache={tmp_path / 'cache'}"]
    assert prepare(tmp_path / "phantom", *words, data="PhantomStudies") == 0
    assert "24 present and readable of 24" in capsys.readouterr().out
    assert not (tmp_path / "cache").exists()


def test_reduced_copies_are_made_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_vqa_rad(tmp_path / "set")
    words = ["--resize=16", f"--data.resized={tmp_path / 'small'}", "--workers=0"]
    assert prepare(tmp_path / "set", *words) == 0
    assert "reduced copies: 13 made, 0 kept, 0 failed" in capsys.readouterr().out
    assert prepare(tmp_path / "set", *words) == 0
    assert "reduced copies: 0 made, 13 kept, 0 failed" in capsys.readouterr().out
    assert prepare(tmp_path / "set", "--resize=16") == 2
    printed = capsys.readouterr()
    assert "give --data.resized FOLDER" in printed.err
    assert "present and readable" not in printed.out  # said before the long check


def offered(server: Server, name: str, body: bytes) -> RemoteFile:
    server.pages[f"/{len(server.pages)}"] = Page(body)
    url = f"{server.base}/{len(server.pages) - 1}"
    return RemoteFile(name, url, len(body), "sha256", hashlib.sha256(body).hexdigest())


def test_a_download_is_unpacked_and_checked(
    server: Server,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_vqa_med_2019(tmp_path / "made")
    files = []
    for folder in sorted((tmp_path / "made").iterdir()):
        archive = tmp_path / f"{folder.name}.zip"
        with zipfile.ZipFile(archive, "w") as packed:
            inner = tmp_path / "VQAMed2019_Test_Images.zip"
            for path in sorted(folder.rglob("*")):
                images = folder / "VQAMed2019_Test_Images"
                if path.is_file() and images not in path.parents:
                    packed.write(path, path.relative_to(tmp_path / "made"))
            if (folder / "VQAMed2019_Test_Images").is_dir():
                # As in some copies: the images are an archive inside the archive.
                with zipfile.ZipFile(inner, "w") as nested:
                    for path in sorted((folder / "VQAMed2019_Test_Images").iterdir()):
                        nested.write(path, path.relative_to(folder))
                packed.write(inner, f"{folder.name}/{inner.name}")
        files.append(offered(server, archive.name, archive.read_bytes()))
    files.append(offered(server, "notes.pdf", b"not wanted"))
    source = ReleaseSource("https://page", "CC", lambda: files, wanted=("*.zip",))
    monkeypatch.setitem(sources.SOURCES, "VQAMed2019", source)
    root = tmp_path / "root"
    assert prepare(root, "--download", data="VQAMed2019") == 0
    printed = capsys.readouterr().out
    assert "3 files, " in printed
    assert "absent" not in printed
    assert not (root / "notes.pdf").exists()
    requests = len(server.asked)
    assert prepare(root, "--download", data="VQAMed2019") == 0
    assert len(server.asked) == requests  # nothing is fetched twice


def test_gated_sets_say_where_to_apply(tmp_path: Path) -> None:
    for name in ("MIMICCXR", "CheXpert5x200", "MedICaT", "PathVQA", "ROCO v1"):
        with pytest.raises(UserError, match=r"not downloaded for you \(.+\): go to https://.+, .+"):
            fetch(SOURCES[name], tmp_path)


def test_a_listing_without_a_wanted_file_is_one_sentence(tmp_path: Path) -> None:
    source = ReleaseSource(
        "https://page", "CC", lambda: [RemoteFile("a", "https://a")], wanted=("*.b",)
    )
    with pytest.raises(UserError, match="lists none of the files"):
        fetch(source, tmp_path)


def test_every_published_set_is_found_by_its_class(tmp_path: Path) -> None:
    assert source_of(VQARAD(str(tmp_path))) is SOURCES["VQARAD"]
    assert source_of(PhantomStudies(str(tmp_path))) is None
    for name, source in SOURCES.items():
        assert source.page.startswith("https://"), name
        assert source.licence, name
        assert (source.listing is None) == bool(source.how), name
