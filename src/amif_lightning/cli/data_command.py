"""Build a data module without a model, for ``audit`` and ``prepare``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

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


def data_base() -> type:
    """The base class of the project's data modules, after importing all of them."""
    import data_modules
    from amif_lightning.data.loading.base_module import TextDataModule

    assert data_modules  # imported for the short class names
    base: type = TextDataModule
    return base


def data_parser(command: str, description: str, base: type) -> ArgumentParser:
    """A parser of ``--config`` and of ``--data``, a subclass of ``base``."""
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


def build(parser: ArgumentParser, base: type, argv: Sequence[str]) -> tuple[Namespace, Namespace]:
    """Parse a command line; returns the built classes, such as ``data``, and the configuration.

    Of ``--config`` files, of which there may be several, only ``data:`` is read, and the other
    options win.

    Raises:
        UserError: If an option is wrong.
    """
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
    """``--config`` options with the ``data:`` nodes of experiments as text.

    The parser would refuse the other keys. Serialised nodes keep numbers such as ``1e-4`` as
    written.
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
