"""``audit``: build the data module alone, print its counts, fail on what must be mended."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from jsonargparse import ArgumentParser, Namespace

from amif_lightning.cli.data_command import build_all, data_parser

if TYPE_CHECKING:
    from amif_lightning.data.leakage.cross_dataset import Across


def main(argv: Sequence[str], base: type | None = None) -> int:
    """Run the audit.

    Args:
        argv: Options: those of :func:`amif_lightning.cli.data_command.build_data`, ``--json``.
        base: Base class of the data modules on offer; None takes the project's own.

    Returns:
        1 when something must be mended: a leak under the protocol ``clean``, within the data set or
        into the validation or test set of a held-out one, or images that are missing or cannot be
        decoded under any protocol. Else 0; absent splits and image folders
        are named and are no failure.

    Raises:
        UserError: If an option is wrong, or a data set is not there.
    """
    base = base or _data_base()
    built, config = build_all(audit_parser(base), base, argv)
    module, held_out = built.data, built.held_out or []
    for one in (module, *held_out):
        one.prepare_data()  # a generated data set is made here, as `fit` would
    report = module.audit(check_images=config.check_images)
    found = _across(module, held_out, config) if held_out else None
    if config.json:
        fields = json.loads(report.to_json())
        if found is not None:
            fields["across"] = json.loads(found.to_json())
        print(json.dumps(fields, indent=2, ensure_ascii=False))
    else:
        print("\n\n".join(one.to_text() for one in (report, found) if one is not None))
    return int(report.failed or (found is not None and found.failed))


def _across(module: Any, held_out: Sequence[Any], config: Namespace) -> Across:
    from amif_lightning.data.leakage.cross_dataset import (
        across,  # heavy, and needed with held-out sets only
    )
    from amif_lightning.data.leakage.hash_cache import HashStore

    progress = sys.stderr.isatty()
    return across(module, held_out, HashStore(config.hashes, progress).look)


def audit_parser(base: type) -> ArgumentParser:
    """The parser of ``audit``."""
    parser = data_parser(
        "audit",
        "Count a data set, and report leaks between its splits and into held-out data sets. Exit "
        "code 1: a leak under the "
        "protocol `clean`, or missing or undecodable images under any protocol.",
        base,
    )
    parser.add_argument("--json", action="store_true", help="Print JSON instead of text.")
    parser.add_argument(
        "--check_images",
        type=bool,
        default=True,
        help="Decode every image of the data set once; of a large corpus that takes hours.",
    )
    # The base is known at run time only, which a static annotation cannot say.
    held_out: Any = list[base] | None  # type: ignore[valid-type]  # see above
    parser.add_argument(
        "--held_out",
        type=held_out,
        default=None,
        help="Data sets that are scored later, as a list of class_path and init_args: which of "
        "their images would be trained on.",
    )
    parser.add_argument(
        "--hashes",
        type=str,
        default="data/hashes",
        help="With --held_out: folder that keeps what images look like, so that each is read once.",
    )
    return parser


def _data_base() -> type:
    import data_modules
    from amif_lightning.data.loading.base_module import TextDataModule

    assert data_modules  # imported for the short class names
    base: type = TextDataModule  # of studies too: an unknown class would be a misleading answer
    return base
