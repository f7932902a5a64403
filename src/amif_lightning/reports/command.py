"""The ``report`` command: records in, Markdown (and a picture) out."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from amif_lightning.errors import UserError
from amif_lightning.reports.files import write_atomically
from amif_lightning.reports.groups import group_answers
from amif_lightning.reports.pairs import check_baselines
from amif_lightning.reports.records import find_records
from amif_lightning.reports.retrieval_groups import group_searches
from amif_lightning.reports.table import report, verdicts


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m amif_lightning report",
        description="Tables from all result records under a folder. The first lines say, per "
        "configuration, whether it is above the question-only floor and above itself with "
        "shuffled images; of a pre-training run, whether its search is above chance "
        "and above the best list that is the same for every query.",
        allow_abbrev=False,
    )
    parser.add_argument("folder", metavar="DIR", type=Path, help="folder of the runs")
    parser.add_argument(
        "--output",
        metavar="FILE",
        type=Path,
        help="write the Markdown there; only the verdicts are printed",
    )
    parser.add_argument(
        "--baseline",
        metavar="EXPERIMENT",
        action="append",
        default=[],
        help="compare with this experiment only, and say for each other one whether it differs; "
        "may be given several times, such as once for each task",
    )
    parser.add_argument(
        "--published", action="store_true", help="append the published numbers of peers"
    )
    parser.add_argument(
        "--html",
        metavar="FILE.html",
        type=Path,
        help="also write one page with tables, learning curves and sample answers that needs "
        "nothing beside it",
    )
    parser.add_argument(
        "--images",
        metavar="DIR",
        type=Path,
        help="with --html: the data set's folder, where it is no longer the one in the records",
    )
    parser.add_argument(
        "--no-images",
        action="store_true",
        help="with --html: leave the pictures out of the sample answers, for data that must not "
        "be passed on",
    )
    parser.add_argument(
        "--figure", metavar="FILE.svg", type=Path, help="also draw the scores as an SVG picture"
    )
    return parser


def main(argv: Sequence[str]) -> int:
    """Run the command.

    Args:
        argv: Arguments after ``report``.

    Returns:
        0.

    Raises:
        UserError: If no record is found, one is broken, no record belongs to the baseline, or the
            figure's name is not an SVG file's, or the page's not an HTML file's.
    """
    options = _parser().parse_args(argv)
    _check(options)
    found = find_records(options.folder)
    records = [record for _, record in (*found.answering, *found.retrieval)]
    check_baselines(options.baseline, (record.experiment for record in records))
    groups, searches = group_answers(found.answering), group_searches(found.retrieval)
    text = report(groups, searches, options.baseline)
    if options.published:
        from amif_lightning.reports.published import published_table

        text += "\n" + published_table()
    if options.output is None:
        sys.stdout.write(text)
    else:
        write_atomically(options.output, text)
        print("\n\n".join(verdicts(groups, searches)))
        print(f"\nReport written to {options.output}.")
    if options.figure is not None:
        from amif_lightning.reports.figure import draw

        write_atomically(options.figure, draw(groups, searches))
        print(f"\nFigure written to {options.figure}.")
    if options.html is not None:
        from amif_lightning.reports.page.page import Options, page

        shown = Options(
            options.baseline, options.published, options.images, pictures=not options.no_images
        )
        write_atomically(options.html, page(groups, searches, shown))
        print(f"\nPage written to {options.html}.")
    return 0


def _check(options: argparse.Namespace) -> None:
    """Refuse options that do not go together, before anything is read."""
    for path, suffix, what in (
        (options.figure, ".svg", "figure is an SVG"),
        (options.html, ".html", "page is an HTML"),
    ):
        if path is not None and path.suffix.lower() != suffix:
            raise UserError(f"{path}: the {what} file; end its name in {suffix}.")
    if options.html is None and (options.images is not None or options.no_images):
        raise UserError("--images and --no-images belong to --html: give it too.")
    if options.images is not None and options.no_images:
        raise UserError("--images and --no-images contradict each other: leave one out.")
    if options.images is not None and not options.images.is_dir():
        raise UserError(f"--images {options.images} is not a folder: give the data set's folder.")
