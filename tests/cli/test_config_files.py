"""Checks of config files that come before any parser."""

from __future__ import annotations

from pathlib import Path

import pytest

from amif_lightning.cli.config_files import (
    given_options,
    locate,
    read_config,
    split_configs,
    suggestion,
)
from amif_lightning.errors import UserError


def write(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def test_split_configs_in_all_formats() -> None:
    argv = ["fit", "--config", "a", "--x=1", "--config=b", "-c", "c", "--config_like", "d"]
    assert split_configs(argv) == (["a", "b", "c"], ["fit", "--x=1", "--config_like", "d"])
    with pytest.raises(UserError, match="needs a file"):
        split_configs(["fit", "--config"])


def test_a_missing_file_names_the_nearest(tmp_path: Path) -> None:
    write(tmp_path / "phantom.yaml", "model: x")
    for name, message in (
        ("phantm.yaml", r"phantm.yaml does not exist; did you mean .*phantom.yaml"),
        ("none/phantom.yaml", "there is no folder"),
        (".", "is a folder: give --config a file"),
        ("x" * 300, r"x cannot be read \(File name too long\)"),
    ):
        with pytest.raises(UserError, match=message):
            read_config(str(tmp_path / name))


def test_an_unreadable_file_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = write(tmp_path / "a.yaml", "model: x")

    def refuse(self: Path, **more: object) -> str:
        raise PermissionError(13, "Permission denied")  # root, as tests may run, is refused nothing

    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(UserError, match=r"a\.yaml cannot be read \(Permission denied\)"):
        read_config(name)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"model:\n  lr: 1\n   width: 2\n", r"a\.yaml, line 3, column 9: not valid YAML"),
        (b"", "holds keys"),
        (b"- 1\n", "holds keys"),
        (b"word\n", "holds keys"),
        (b"\xff\xfe\x00", "not a text file"),
        (
            b"model:\n  lr: 1\n  width: 2\n  lr: 3\n",
            r"line 4: `lr` is given a second time \(first in line 2\)",
        ),
    ],
)
def test_a_wrong_file_is_one_sentence(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.yaml").write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_config(str(tmp_path / "a.yaml"))


def test_equal_keys_of_different_parents_are_fine(tmp_path: Path) -> None:
    read_config(write(tmp_path / "a.yaml", "model:\n  seed: 1\ndata:\n  seed: 2\n"))


def test_locate_finds_the_last_file_with_the_option(tmp_path: Path) -> None:
    first = write(tmp_path / "a.yaml", "model:\n  init_args:\n    lrr: 1\n  seed: 2\nx: {lrr: 3}\n")
    second = write(tmp_path / "b.yaml", "data: Phantm\ntrainer:\n  callbacks:\n  - A\n  - B\n")
    files = [first, second]
    assert locate(["model", "init_args", "lrr"], files) == f"{first}, line 3: "
    assert locate(["x", "lrr"], files) == f"{first}, line 5: "
    assert locate(["data", "class_path"], files) == f"{second}, line 1: "
    assert locate(["trainer", "callbacks", "1", "class_path"], files) == f"{second}, line 5: "
    assert locate(["trainer", "callbacks", "2"], files) == locate(["lrr"], files) == ""
    # An option of the command line is not blamed on a file.
    assert locate(["model", "init_args", "lrr"], files, ["--model.lrr=4"]) == ""


def test_given_options_are_those_of_the_files_then_of_the_words(tmp_path: Path) -> None:
    name = write(tmp_path / "a.yaml", "model: Task\ntrainer: {max_epochs: 1}\ndata: {x: 1}\n")
    words = ["--data.seed=3", "--data.init_args.size", "-1", "--model.init_args.inner.root=x"]
    assert given_options([name], [*words, "--overwrite", "--trainer.max_epochs=2"]) == {
        "model": {"class_path": "Task", "init_args": {"inner": {"init_args": {"root": "x"}}}},
        "data": {"x": 1, "init_args": {"seed": "3", "size": "-1"}},
        "trainer": {"max_epochs": "2"},
        "overwrite": "",
    }
    assert given_options([name], [], keys=("data",)) == {"data": {"x": 1}}


def test_given_options_append_to_lists_and_drop_arguments_of_another_class(tmp_path: Path) -> None:
    words = ["--trainer.callbacks+=A", "--trainer.callbacks+", "B"]
    assert given_options([], words) == {"trainer": {"callbacks": ["A", "B"]}}
    name = write(tmp_path / "a.yaml", "data: {init_args: {x: 1}, class_path: some.Phantom}\n")
    same = given_options([name], ["--data=Phantom"])
    assert same == {"data": {"init_args": {"x": 1}, "class_path": "Phantom"}}
    other = given_options([name], ["--data=Other", "--data.y=2"])
    assert other == {"data": {"class_path": "Other", "init_args": {"y": "2"}}}


def test_suggestion_is_the_nearest_name_in_any_case_or_a_short_list() -> None:
    assert suggestion("fti", ["fit", "test"]) == "; did you mean `fit`?"
    assert suggestion("vqarad", ["Phantom", "VQARAD"]) == "; did you mean `VQARAD`?"
    assert suggestion("zzz", ["b", "a", "a"]) == "; use one of a, b"
    assert suggestion("zzz", [f"n{i}" for i in range(20)]) == ""
