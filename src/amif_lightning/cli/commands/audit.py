"""``audit``: build only the data module, print its counts, and fail on leaks and bad images."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

from jsonargparse import ArgumentParser

from amif_lightning.cli.data_command import build, data_base, data_parser
from amif_lightning.errors import printable


def main(argv: Sequence[str]) -> int:
    """Run the command with the options after ``audit``.

    Returns:
        1 for a leak under ``clean`` or ``disjoint`` (within the data set, or into the validation or
        test set of a held-out one) and for missing or undecodable images under any protocol; else
        0. Absent splits and image folders are reported and do not fail.

    Raises:
        UserError: If an option is wrong, or a data set does not exist.
    """
    base = data_base()
    built, config = build(audit_parser(base), base, argv)
    module, held_out = built.data, built.held_out or []
    for one in (module, *held_out):
        if hasattr(one, "without_teacher"):
            one.without_teacher()  # an audit needs no embeddings
        one.prepare_data()  # generates a generated data set, as `fit` would
    reports: list[Any] = [module.audit(check_images=config.check_images)]
    if held_out:
        from amif_lightning.data.leakage.cross_dataset import across
        from amif_lightning.data.leakage.hash_cache import HashStore

        largest = max(one.max_image_pixels for one in (module, *held_out))
        look = HashStore(config.hashes, sys.stderr.isatty(), largest).look
        reports.append(across(module, held_out, look))
    if config.json:
        fields = json.loads(reports[0].to_json())
        if held_out:
            fields["across"] = json.loads(reports[1].to_json())
        print(printable(json.dumps(fields, indent=2, ensure_ascii=False), keep="\n"))
    else:
        print("\n\n".join(one.to_text() for one in reports))
    return int(any(one.failed for one in reports))


def audit_parser(base: type) -> ArgumentParser:
    """Build the parser of ``audit``."""
    parser = data_parser(
        "audit",
        "Count a data set, and report leaks between its splits and into held-out data sets. Exit "
        "code 1: a leak under the protocol `clean` or `disjoint`, or missing or undecodable images "
        "under any protocol.",
        base,
    )
    add = parser.add_argument
    add("--json", action="store_true", help="Print JSON instead of text.")
    add("--check_images", type=bool, default=True, help="Decode every image once; may take hours.")
    # The base is known at run time only, which a static annotation cannot express.
    held_out: Any = list[base] | None  # type: ignore[valid-type]  # see above
    add(
        "--held_out",
        type=held_out,
        help="Data sets that are scored later, as a list of class_path and init_args: find their "
        "images among the training images.",
    )
    add("--hashes", type=str, default="data/hashes", help="With --held_out: folder of the hashes.")
    return parser
