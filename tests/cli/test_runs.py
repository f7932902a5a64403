"""Run folders: names, named checkpoints, and the protection of earlier runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from amif_lightning.cli.runs import RunFolder
from amif_lightning.errors import UserError


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    run = RunFolder.of(str(tmp_path), "demo", "clean", 3)
    run.path.mkdir(parents=True)
    return run


def test_layout(tmp_path: Path) -> None:
    run = RunFolder.of(str(tmp_path), "VQARAD-AMiFVQA", "literature", 12)
    assert run.path == tmp_path / "VQARAD-AMiFVQA" / "literature" / "seed12"
    for name in ("", "a/b", "..", ".hidden", "a b"):
        with pytest.raises(UserError, match="not a folder name"):
            RunFolder.of(str(tmp_path), name, "clean", 0)


@pytest.mark.parametrize("name", ["best", "last"])
def test_named_checkpoints(folder: RunFolder, name: str) -> None:
    path = folder.path / f"{name}.ckpt"
    with pytest.raises(UserError, match=f"holds no {name}.ckpt"):
        folder.checkpoint(name)
    folder.check_scored("test", None)
    path.touch()
    assert folder.checkpoint(name) == str(path)
    with pytest.raises(UserError, match=f"`test` without --ckpt_path .* give --ckpt_path {name}"):
        folder.check_scored("test", None)
    folder.check_scored("test", str(path))


def test_other_checkpoints(folder: RunFolder, tmp_path: Path) -> None:
    assert folder.checkpoint(None) is None
    assert folder.checkpoint("s3://bucket/x.ckpt") == "s3://bucket/x.ckpt"
    with pytest.raises(UserError, match="no such file"):
        folder.checkpoint(str(tmp_path / "x.ckpt"))
    (tmp_path / "x.ckpt").touch()
    assert folder.checkpoint(str(tmp_path / "x.ckpt")) == str(tmp_path / "x.ckpt")


def test_only_a_new_folder_may_be_used(folder: RunFolder, tmp_path: Path) -> None:
    (folder.path / "config.yaml").touch()  # a run that never saved a checkpoint
    folder.check_fit(None, overwrite=False)
    other = folder.path / "epoch=3.ckpt"
    for path, name, resumable in (
        (other, other, None),
        (folder.path / "best.ckpt", "best", "best"),
        (folder.path / "last.ckpt", "last", "last"),
    ):
        path.touch()
        assert folder.resumable == resumable
        message = re.escape(f"({path.name}): give `--ckpt_path {name}` to resume it")
        for start in (None, str(tmp_path / "other.ckpt")):
            with pytest.raises(UserError, match=f"unfinished run {message}.*--overwrite"):
                folder.check_fit(start, overwrite=False)
        folder.check_fit(str(path), overwrite=False)
        folder.check_fit(None, overwrite=True)
        with pytest.raises(UserError, match="give one of the two"):
            folder.check_fit(str(path), overwrite=True)
    (folder.path / "result-test.json").touch()
    with pytest.raises(UserError, match=r"finished run \(result-test.json\)"):
        folder.check_fit(None, overwrite=False)


def test_records_are_set_aside_under_a_new_name_each_time(
    folder: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    folder.set_aside()
    assert capsys.readouterr().out == ""
    for content in ("first", "second"):
        for name in ("result-test.json", "predictions-test.jsonl"):
            (folder.path / name).write_text(content)
        (folder.path / "best.ckpt").write_text(content)
        folder.set_aside()
        assert "result-test.json, predictions-test.jsonl renamed" in capsys.readouterr().out
        (folder.path / "best.ckpt").write_text("trained further")
        folder.set_aside()  # an interrupted training that is resumed: nothing was scored meanwhile
    assert folder.results == []
    assert {path.name: path.read_text() for path in folder.path.iterdir()} == {
        f"superseded-{number}-{name}": content
        for number, content in ((1, "first"), (2, "second"))
        for name in ("result-test.json", "predictions-test.jsonl", "best.ckpt")
    } | {"best.ckpt": "trained further"}


def test_clear_deletes_what_the_suite_wrote_and_nothing_else(
    folder: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    written = ["config.yaml", "last.ckpt", "best.ckpt", "result-test.json", "hparams.yaml"]
    written += ["predictions-test.jsonl", "studies-test.jsonl"]
    written += ["answers-test.jsonl", "answers-test.csv", "events.out.tfevents.1.host.2.0"]
    written += ["superseded-1-result-test.json", "superseded-1-best.ckpt"]
    written += ["scores/events.out.tfevents.1.host.2.0"]
    (folder.path / "scores").mkdir()
    kept = ["notes.txt", "test-runs-test.json"]  # the count of tests outlives the run
    for name in [*written, *kept]:
        (folder.path / name).touch()
    earlier = folder.written()
    (folder.path / "events.out.tfevents.3.host.4.0").touch()  # of the run that starts
    folder.clear(earlier)
    left = ["events.out.tfevents.3.host.4.0", *kept]
    assert sorted(path.name for path in folder.path.iterdir()) == left
    assert "13 files" in capsys.readouterr().out
