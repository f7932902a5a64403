"""``audit``: build the data module alone, print its counts, fail on what must be mended."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import yaml
from jsonargparse import ActionConfigFile, ArgumentParser

from amif_lightning.cli.config_files import read_config, split_configs
from amif_lightning.cli.explain import parser_error, user_error_behind
from amif_lightning.errors import UserError


def main(argv: Sequence[str], base: type | None = None) -> int:
    """Run the audit.

    Args:
        argv: Options: ``--data CLASS --data.X Y``, ``--config EXPERIMENT`` (several; only their
            ``data:`` node is read, and the command line wins), ``--json``.
        base: Base class of the data modules on offer; None takes the project's own.

    Returns:
        1 when something must be mended: a leak under the protocol ``clean``, or pictures that are
        missing or cannot be decoded under any protocol. Else 0; absent splits and picture folders
        are named and are no failure.

    Raises:
        UserError: If an option is wrong or the data set is not there.
    """
    base = base or _data_base()
    files, options = split_configs(argv)
    parser = audit_parser(base)
    try:
        config = parser.parse_args([*_data_nodes(files, helping="--help" in options), *options])
    except argparse.ArgumentError as error:
        raise UserError(
            parser_error(str(error), parser.get_defaults().keys(), {"data": base}, files)
        ) from error
    try:
        module: Any = parser.instantiate(config).data
    except ValueError as error:
        raise user_error_behind(error) or error from error
    module.prepare_data()  # a generated data set is made here, as `fit` would
    report = module.audit()
    print(report.to_json() if config.json else report.to_text())
    return int(report.failed)


def audit_parser(base: type) -> ArgumentParser:
    """The parser of ``audit``."""
    parser = ArgumentParser(
        prog="amif-lightning audit",
        description="Count a data set, and report leaks between its splits. Exit code 1: a leak "
        "under the protocol `clean`, or missing or undecodable pictures under any protocol.",
        allow_abbrev=False,
        exit_on_error=False,
    )
    parser.add_argument(
        "-c", "--config", action=ActionConfigFile, help="An experiment; only its `data:` is read."
    )
    parser.add_subclass_arguments(base, "data", required=True, help="The data class.")
    parser.add_argument("--json", action="store_true", help="Print JSON instead of text.")
    return parser


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


def _data_base() -> type:
    import data_modules
    from data_modules.base import VQADataModule

    assert data_modules  # imported for the short class names
    base: type = VQADataModule
    return base
