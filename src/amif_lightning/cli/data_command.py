"""What the commands share that build a data module without a model."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import yaml
from jsonargparse import ActionConfigFile, ArgumentParser, Namespace

from amif_lightning.cli.config_files import (
    check_configs,
    current_words,
    read_config,
    split_configs,
)
from amif_lightning.cli.error_messages import parser_error, user_error_behind
from amif_lightning.errors import UserError


def data_parser(command: str, description: str, base: type) -> ArgumentParser:
    """A parser of ``--data`` and ``--config``.

    Args:
        command: The command's words.
        description: What it does, for its help.
        base: Base class of the data modules on offer.
    """
    parser = ArgumentParser(
        prog=f"amif-lightning {command}",
        description=description,
        allow_abbrev=False,
        exit_on_error=False,
    )
    parser.add_argument(
        "-c", "--config", action=ActionConfigFile, help="An experiment; only its `data:` is read."
    )
    parser.add_subclass_arguments(base, "data", required=True, help="The data class.")
    return parser


def build_data(parser: ArgumentParser, base: type, argv: Sequence[str]) -> tuple[Any, Namespace]:
    """Parse a command line and build its data module.

    Args:
        parser: Made by :func:`data_parser`.
        base: Base class of the data modules on offer.
        argv: Options: ``--data CLASS --data.X Y``, ``--config EXPERIMENT`` (several; only their
            ``data:`` node is read, and the command line wins), and the command's own.

    Returns:
        The data module and everything that was parsed.

    Raises:
        UserError: If an option is wrong.
    """
    built, config = build_all(parser, base, argv)
    return built.data, config


def build_all(parser: ArgumentParser, base: type, argv: Sequence[str]) -> tuple[Any, Namespace]:
    """As :func:`build_data`, with all that was built instead of ``data`` alone."""
    files, options = split_configs(argv)
    options = current_words(options)
    check_configs(files)
    try:
        config = parser.parse_args([*_data_nodes(files, helping="--help" in options), *options])
    except argparse.ArgumentError as error:
        known = parser.get_defaults().keys()
        sentence = parser_error(str(error), files, options, known, {"data": base}, keys=("data",))
        raise UserError(sentence) from error
    try:
        return parser.instantiate(config), config
    except ValueError as error:
        raise user_error_behind(error) or error from error


def _data_nodes(files: Sequence[str], *, helping: bool) -> list[str]:
    """``--config`` options that hold the ``data:`` nodes of experiments, as text.

    The other keys (``model:``, ``trainer:`` ...) are unknown to this parser, which would refuse
    them. Nodes are written back as they were read, so ``1e-4`` keeps its meaning.
    """
    words: list[str] = []
    for name in files:
        node = read_config(name)
        data = [(key, value) for key, value in node.value if key.value == "data"]
        if data:
            words += ["--config", yaml.serialize(yaml.MappingNode(node.tag, data))]
    if files and not words and not helping:
        raise UserError(f"{', '.join(files)}: no `data:` there; give an experiment's config file.")
    return words
