"""``prepare``: data are downloaded, unpacked and reduced, and embeddings computed."""

from __future__ import annotations

from pathlib import Path

import pytest

from amif_lightning.cli import main
from amif_lightning.data.files import sources
from amif_lightning.data.files.sources import ReleaseSource
from amif_lightning.data.teacher.store import read_about
from tests.cli.conftest import Main
from tests.cli.toys import ToyData
from tests.fakes import write_vqa_med_2019, write_vqa_rad
from tests.tiny_biomedclip import write_biomedclip


class Studies(ToyData):
    """Takes a teacher, as data modules of the pre-training stage do."""

    def __init__(self, teacher: str = "none", teacher_cache: str = "cache", root: str = "") -> None:
        super().__init__(root)
        self.teacher, self.cache = teacher, Path(teacher_cache)
        self.prepared = False

    def prepare_data(self) -> None:
        self.prepared = True

    def embeddings_file(self) -> Path | None:
        assert self.prepared  # a generated data set is made there
        return None if self.teacher in ("none", "vectors") else self.cache / self.teacher


@pytest.fixture
def prepare_main(toy_main: Main) -> Main:
    return lambda *words: toy_main("prepare", *words)


def test_the_file_is_made_and_named(
    prepare_main: Main, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert prepare_main("teacher", "--data=Studies", "--data.teacher=open_clip") == 0
    assert capsys.readouterr().out == "cache/open_clip\n"
    (tmp_path / "a.yaml").write_text(
        "model:\n  class_path: Unknown\ndata:\n  class_path: Studies\n  init_args:\n"
        "    teacher: checkpoint\n"
    )
    assert prepare_main("teacher", "--config", "a.yaml", "--data.teacher_cache=here") == 0
    assert capsys.readouterr().out == "here/checkpoint\n"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "`prepare teacher --config EXPERIMENT` or"),
        (["techer"], "`prepare techer` prepares nothing"),
        (["teacher"], "data missing: give --config"),
        (["teacher", "--data=Toys"], "data Toys has no teacher"),
        (["teacher", "--data=Studies"], "teacher none, which needs no embeddings file"),
        (["teacher", "--data=Studies", "--data.teacher=vectors"], "teacher vectors, which needs"),
        (["teacher", "--data=Studies", "--data.techer=x"], "did you mean `teacher`?"),
    ],
    ids=str,
)
def test_errors_are_sentences(
    prepare_main: Main, words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert prepare_main(*words) == 2
    printed = capsys.readouterr().err
    assert sentence in printed
    assert len(printed.splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--help"], "prepare teacher"),
        (["teacher", "--help"], "teacher_cache"),
        (["data", "--help"], "--download"),
    ],
    ids=str,
)
def test_help(
    prepare_main: Main, words: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert prepare_main(*words) == 0
    assert named in capsys.readouterr().out


def test_phantom_studies_are_generated_and_read_by_a_teacher(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_biomedclip(tmp_path / "tiny_model_of_prepare_tests")
    words = ["prepare", "teacher", "--data=PhantomStudies", f"--data.root={tmp_path / 'p'}"]
    words += ["--data.train_studies=6", "--data.validation_studies=2", "--data.test_studies=2"]
    words += ["--data.teacher=open_clip", f"--data.teacher_source=local-dir:{folder}"]
    words += [f"--data.teacher_cache={tmp_path / 'cache'}"]
    assert main(words) == 0
    printed = capsys.readouterr()
    assert "30/30" in printed.err  # the progress bar: 20 images and 10 reports
    path = Path(printed.out.splitlines()[-1])
    assert path.parent == tmp_path / "cache"
    about = read_about(path)
    assert len(about.text_ids) == 10
    assert len(about.image_ids) == 20  # two views each
    written = path.stat().st_mtime_ns
    assert main(words) == 0
    assert capsys.readouterr().out == f"{path}\n"  # nothing was computed
    assert path.stat().st_mtime_ns == written


# ---- data -------------------------------------------------------------------------------------


def prepare(root: Path, *words: str, data: str = "VQARAD") -> int:
    return main(["prepare", "data", f"--data={data}", f"--data.root={root}", *words])


def test_what_is_there_is_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_vqa_med_2019(tmp_path, splits=["train", "validation"])
    assert prepare(tmp_path, data="VQAMed2019") == 0
    printed = capsys.readouterr().out
    assert "rows: train " in printed
    assert "absent: test:" in printed
    assert prepare(tmp_path / "elsewhere") == 2
    printed = capsys.readouterr().err
    assert "VQA-RAD: the folder" in printed
    assert "to get it, run `python -m amif_lightning prepare data` with --download" in printed
    assert prepare(tmp_path / "elsewhere", data="MIMICCXR") == 2
    assert "to get it, go to https://physionet.org" in capsys.readouterr().err


def test_generated_data_are_made_and_no_teacher_is_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [f"--data.{split}_studies=4" for split in ("train", "validation", "test")]
    words += ["--data.teacher=open_clip", f"--data.teacher_source=local-dir:{tmp_path / 'none'}"]
    words += [f"--data.teacher_cache={tmp_path / 'cache'}"]
    assert prepare(tmp_path / "phantom", *words, data="PhantomStudies") == 0
    assert "rows: train 4, validation 4, test 4" in capsys.readouterr().out
    assert not (tmp_path / "cache").exists()
    assert prepare(tmp_path / "phantom", "--download", *words, data="PhantomStudies") == 2
    assert "has nothing to download" in capsys.readouterr().err


def test_reduced_copies_are_made_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_vqa_rad(tmp_path / "set")
    words = ["--resize=16", f"--data.resized={tmp_path / 'small'}", "--workers=0"]
    assert prepare(tmp_path / "set", *words) == 0
    assert "reduced copies: 13 made, 0 kept, 0 failed" in capsys.readouterr().out
    damaged = next((tmp_path / "set" / "VQA_RAD Image Folder").glob("synpic1*.jpg"))
    damaged.write_bytes(damaged.read_bytes()[:200])
    assert prepare(tmp_path / "set", *words) == 1
    printed = capsys.readouterr().out
    assert f"{damaged} is damaged" in printed
    assert "reduced copies: 0 made, 12 kept, 1 failed" in printed
    assert prepare(tmp_path / "set", "--resize=16") == 2
    out, err = capsys.readouterr()
    assert "give --data.resized FOLDER" in err
    assert "rows" not in out  # refused before the work


def test_a_download_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(source: ReleaseSource, root: Path, *, checksum: bool) -> None:
        assert (source, checksum) == (sources.SOURCES["VQARAD"], False)
        write_vqa_rad(root)

    monkeypatch.setattr(sources, "fetch", fetch)
    assert prepare(tmp_path / "root", "--download", "--no_checksum") == 0


def test_experiment_files_are_copied_and_nothing_is_replaced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["prepare", "experiments"]) == 0
    original = Path(__file__).parents[3] / "experiments"
    files = sorted(path.relative_to(original) for path in original.rglob("*.yaml"))
    assert (
        sorted(p.relative_to("experiments") for p in Path("experiments").rglob("*.yaml")) == files
    )
    assert all(
        (tmp_path / "experiments" / f).read_text() == (original / f).read_text() for f in files
    )
    assert capsys.readouterr().out == f"{len(files)} files copied to experiments\n"
    assert main(["prepare", "experiments"]) == 2
    assert "experiments exists: give --to another folder" in capsys.readouterr().err
    assert main(["prepare", "experiments", "--to", "a/b"]) == 0
    assert [path.name for path in Path("a").iterdir()] == ["b"]
