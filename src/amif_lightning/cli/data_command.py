"""Build a data module without a model, for ``audit`` and ``prepare``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import yaml
from jsonargparse import ActionConfigFile, ArgumentParser, Namespace

from amif_lightning.cli.config_files import check_configs, current_words, read_config, split_configs
from amif_lightning.cli.error_messages import parser_error, sentence_behind
from amif_lightning.errors import UserError


def data_base() -> type:
    """Import all data modules of the project, and return their base class."""
    import data_modules
    from amif_lightning.data.loading.base_module import TextDataModule

    assert data_modules  # imported for the short class names
    base: type = TextDataModule
    return base


def data_parser(command: str, description: str, base: type) -> ArgumentParser:
    """Build a parser of ``--config`` and of ``--data``, a subclass of ``base``."""
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
    """Parse a command line; return the built classes, such as ``data``, and the configuration.

    Only ``data:`` is read from the ``--config`` files; other options override it.

    Raises:
        UserError: If an option is wrong.
    """
    files, options = split_configs(argv)
    options = current_words(options)
    check_configs(files)
    try:
        config = parser.parse_args([*_data_nodes(files, helping="--help" in options), *options])
    except argparse.ArgumentError as error:
        bases = {"data": base, "held_out": base}
        raise UserError(
            parser_error(str(error), files, options, parser, bases, keys=("data",))
        ) from error
    try:
        return parser.instantiate(config), config
    except (ImportError, ValueError) as error:
        sentence = sentence_behind(error)
        if sentence is None:
            raise
        raise UserError(sentence) from error


def _data_nodes(files: Sequence[str], *, helping: bool) -> list[str]:
    """Return ``data:`` nodes of experiments as ``--config`` options; numbers stay as written."""
    words: list[str] = []
    for name in files:
        node = read_config(name)
        data = [(key, value) for key, value in node.value if key.value == "data"]
        if data:
            words += ["--config", yaml.serialize(yaml.MappingNode(node.tag, data))]
    if files and not words and not helping:
        raise UserError(f"{', '.join(files)}: no key `data:`; give an experiment's config file.")
    return words
