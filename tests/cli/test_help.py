"""The static help against the real parser."""

from __future__ import annotations

import re

import pytest

from amif_lightning.cli.app import AmifCLI
from amif_lightning.cli.entry import COMMANDS, TRAINER_COMMANDS, help_text
from tests.cli.conftest import Main


def test_trainer_commands_are_those_of_the_parser() -> None:
    assert set(TRAINER_COMMANDS) == set(AmifCLI.subcommands())


def test_every_command_is_listed() -> None:
    listed = set(re.findall(r"^  (\w+) +\w", help_text(), flags=re.MULTILINE))
    assert listed >= set(COMMANDS)


def test_every_option_of_the_static_help_exists(
    toy_main: Main, capsys: pytest.CaptureFixture[str]
) -> None:
    options = set(re.findall(r"^  (--\w+) ", help_text(), flags=re.MULTILINE))
    assert options >= {"--config", "--ckpt_path", "--overwrite"}
    assert toy_main("fit", "--help") == 0
    printed = capsys.readouterr().out
    assert {option for option in options if option not in printed} == set()
