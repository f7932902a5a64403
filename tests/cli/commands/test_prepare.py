"""``prepare teacher``: the data class of an experiment is asked for its teacher's file."""

from __future__ import annotations

from pathlib import Path

import pytest

from amif_lightning.cli import main
from amif_lightning.cli.commands import prepare
from amif_lightning.data.teacher.cache import Embeddings
from tests.cli.conftest import Main
from tests.cli.toys import ToyData
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
def prepare_main(toy_main: Main, monkeypatch: pytest.MonkeyPatch) -> Main:
    monkeypatch.setattr(prepare, "_data_base", lambda: ToyData)
    return lambda *words: toy_main("prepare", *words)


def test_the_file_is_made_and_named(prepare_main: Main, capsys: pytest.CaptureFixture[str]) -> None:
    assert prepare_main("teacher", "--data=Studies", "--data.teacher=open_clip") == 0
    assert capsys.readouterr().out == "cache/open_clip\n"


def test_an_experiment_names_the_teacher(
    prepare_main: Main, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.yaml").write_text(
        "model:\n  class_path: Unknown\ndata:\n  class_path: Studies\n  init_args:\n"
        "    teacher: checkpoint\n"
    )
    assert prepare_main("teacher", "--config", "a.yaml", "--data.teacher_cache=here") == 0
    assert capsys.readouterr().out == "here/checkpoint\n"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "or `prepare teacher --config EXPERIMENT`"),
        (["techer"], "`prepare techer` prepares nothing"),
        (["teacher"], "data missing: give --config"),
        (["teacher", "--data=Toys"], "data Toys takes no teacher"),
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


def test_the_suites_own_question_answering_data_takes_no_teacher(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("Phantom", "VQARAD"):
        assert main(["prepare", "teacher", f"--data={name}", f"--data.root={tmp_path / 'p'}"]) == 2
        printed = capsys.readouterr().err
        assert f"data {name} takes no teacher" in printed
        assert len(printed.splitlines()) == 1
    assert not (tmp_path / "p").exists()


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
    about = Embeddings(path).about
    assert len(about.text_ids) == 10
    assert len(about.image_ids) == 20  # two views each
    written = path.stat().st_mtime_ns
    assert main(words) == 0
    assert capsys.readouterr().out == f"{path}\n"  # nothing was computed
    assert path.stat().st_mtime_ns == written
