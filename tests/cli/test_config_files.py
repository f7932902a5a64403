"""Checks of config files that come before any parser."""

from __future__ import annotations

from pathlib import Path

import pytest

from amif_lightning.cli.config_files import given_options, locate, read_config, split_configs
from amif_lightning.errors import UserError


def write(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def test_split_configs_in_all_spellings() -> None:
    argv = ["fit", "--config", "a", "--x=1", "--config=b", "-c", "c", "--config_like", "d"]
    assert split_configs(argv) == (["a", "b", "c"], ["fit", "--x=1", "--config_like", "d"])


def test_config_without_its_file() -> None:
    with pytest.raises(UserError, match="needs a file"):
        split_configs(["fit", "--config"])


def test_a_missing_file_names_the_nearest(tmp_path: Path) -> None:
    write(tmp_path / "phantom.yaml", "model: x")
    with pytest.raises(UserError, match=r"phantm.yaml does not exist; did you mean .*phantom.yaml"):
        read_config(str(tmp_path / "phantm.yaml"))
    with pytest.raises(UserError, match="there is no folder"):
        read_config(str(tmp_path / "none" / "phantom.yaml"))


def test_a_folder_is_no_config(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is a folder: give --config a file"):
        read_config(str(tmp_path))


def test_an_unreadable_file_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"x cannot be read \(File name too long\)"):
        read_config("x" * 300)
    name = write(tmp_path / "a.yaml", "model: x")

    def refuse(self: Path, **more: object) -> str:
        raise PermissionError(13, "Permission denied")  # root, as tests may run, is refused nothing

    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(UserError, match=r"a\.yaml cannot be read \(Permission denied\)"):
        read_config(name)


def test_yaml_syntax_names_file_and_line(tmp_path: Path) -> None:
    name = write(tmp_path / "a.yaml", "model:\n  lr: 1\n   width: 2\n")
    with pytest.raises(UserError, match=r"a\.yaml, line 3, column 9: not valid YAML"):
        read_config(name)


@pytest.mark.parametrize("text", ["", "- 1\n", "word\n"])
def test_a_config_is_a_mapping(tmp_path: Path, text: str) -> None:
    with pytest.raises(UserError, match="holds keys"):
        read_config(write(tmp_path / "a.yaml", text))


def test_binary_content(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="not a text file"):
        read_config(str(tmp_path / "a.yaml"))


def test_a_repeated_key_is_refused_at_any_depth(tmp_path: Path) -> None:
    name = write(tmp_path / "a.yaml", "model:\n  lr: 1\n  width: 2\n  lr: 3\n")
    with pytest.raises(UserError, match=r"line 4: `lr` is given a second time \(first in line 2\)"):
        read_config(name)


def test_equal_keys_of_different_parents_are_fine(tmp_path: Path) -> None:
    read_config(write(tmp_path / "a.yaml", "model:\n  seed: 1\ndata:\n  seed: 2\n"))


def test_locate_finds_the_last_file_with_the_key(tmp_path: Path) -> None:
    first = write(tmp_path / "a.yaml", "model:\n  init_args:\n    lrr: 1\n")
    second = write(tmp_path / "b.yaml", "data:\n  class_path: Phantm\n")
    assert locate("lrr", [first, second]) == f"{first}, line 3: "
    assert locate("Phantm", [first, second]) == f"{second}, line 2: "
    assert locate("width", [first, second]) == ""


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
