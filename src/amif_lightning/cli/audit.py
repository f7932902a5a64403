"""``audit``: build the data module alone, print its counts, fail on what must be mended."""

from __future__ import annotations

from collections.abc import Sequence

from jsonargparse import ArgumentParser

from amif_lightning.cli.data_command import build_data, data_parser
from amif_lightning.errors import UserError


def main(argv: Sequence[str], base: type | None = None) -> int:
    """Run the audit.

    Args:
        argv: Options: those of :func:`amif_lightning.cli.data_command.build_data`, ``--json``.
        base: Base class of the data modules on offer; None takes the project's own.

    Returns:
        1 when something must be mended: a leak under the protocol ``clean``, or pictures that are
        missing or cannot be decoded under any protocol. Else 0; absent splits and picture folders
        are named and are no failure.

    Raises:
        UserError: If an option is wrong, the data asks no questions, or the data set is not there.
    """
    base = base or _data_base()
    module, config = build_data(audit_parser(base), base, argv)
    if not hasattr(module, "audit"):
        name = config.data.class_path.rpartition(".")[2]
        raise UserError(
            f"data {name} asks no questions, and `audit` counts questions and answers: name a data "
            "class of question answering, such as Phantom; what is left out of studies is printed "
            "when `fit` starts."
        )
    module.prepare_data()  # a generated data set is made here, as `fit` would
    report = module.audit()
    print(report.to_json() if config.json else report.to_text())
    return int(report.failed)


def audit_parser(base: type) -> ArgumentParser:
    """The parser of ``audit``."""
    parser = data_parser(
        "audit",
        "Count a data set, and report leaks between its splits. Exit code 1: a leak under the "
        "protocol `clean`, or missing or undecodable pictures under any protocol.",
        base,
    )
    parser.add_argument("--json", action="store_true", help="Print JSON instead of text.")
    return parser


def _data_base() -> type:
    import data_modules
    from data_modules.texts import TextDataModule

    assert data_modules  # imported for the short class names
    base: type = TextDataModule  # of studies too: an unknown class would be a misleading answer
    return base
