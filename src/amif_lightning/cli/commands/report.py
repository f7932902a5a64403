"""``report``: write tables, a figure and a page from result records."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from amif_lightning.cli.commands.plain_parser import PlainParser
from amif_lightning.data.files.atomic import write_atomically
from amif_lightning.errors import UserError, printable
from amif_lightning.reports.analysis.groups import AnyGroup, group_runs
from amif_lightning.reports.records.store import ScoredRecord, find_records
from amif_lightning.reports.render.comparisons import check_baselines
from amif_lightning.reports.render.tables import published_table, report, summary
from amif_lightning.reports.render.terminal import overview


def report_parser() -> PlainParser:
    """Build the parser of ``report``."""
    parser = PlainParser(
        "report",
        "One row per configuration from all result records under a folder: its score, and whether "
        "it is above the question-only baseline and above itself with shuffled images; for "
        "retrieval of a pre-training run, above chance and above the best constant ranking.",
    )
    add = parser.add_argument
    add("folder", metavar="DIR", type=Path, help="folder of the runs")
    add("--details", action="store_true", help="print all tables and comparisons, as Markdown")
    add("--summary", action="store_true", help="print the rows as Markdown and nothing else")
    add("--output", metavar="FILE", type=Path, help="write all tables as Markdown")
    add(
        "--baseline",
        metavar="EXPERIMENT",
        action="append",
        default=[],
        help="compare each experiment with this one only; may be given several times, such as "
        "once for each task",
    )
    add("--published", action="store_true", help="add the published numbers of other methods")
    add(
        "--figure",
        metavar="FILE.svg",
        type=_ends_in(".svg"),
        help="also draw the scores as an SVG image",
    )
    add(
        "--html",
        metavar="FILE.html",
        type=_ends_in(".html"),
        help="also write everything as one page, with figures, sample answers and "
        "provenance; it needs no other file, no network and no script",
    )
    add("--no-images", action="store_true", help="no sample images: the data must not be passed on")
    return parser


def _ends_in(ending: str) -> Callable[[str], Path]:
    def path(name: str) -> Path:
        if Path(name).suffix.lower() != ending:
            raise argparse.ArgumentTypeError(f"{name} is no such file: end its name in {ending}")
        return Path(name)

    return path


def main(argv: Sequence[str]) -> int:
    """Run the command with the options after ``report``; returns 0.

    Raises:
        UserError: If no record is found, one is broken, no record belongs to the baseline, or a
            file name has the wrong ending.
    """
    options = report_parser().parse_args(argv)
    if options.published and not (options.details or options.output or options.html):
        raise UserError("--published needs --details, --output FILE or --html FILE.html.")
    if options.no_images and options.html is None:
        raise UserError("--no-images needs --html FILE.html.")
    found = find_records(options.folder)
    check_baselines(options.baseline, (record.experiment for _, record in found))
    answers, searches = group_runs(found)
    groups: list[AnyGroup] = [*answers, *searches]
    if options.summary:
        sys.stdout.write(summary(groups))
    if options.details or options.output is not None:
        text = report(answers, searches, options.baseline)
        if options.published:
            heading, table, warning = published_table().parts
            text += f"\n{heading}\n\n{warning}\n\n{table}\n"
        if options.details:
            sys.stdout.write(text)
        if options.output is not None:
            write_atomically(options.output, text)
    if not (options.summary or options.details):
        print(overview(groups))
    if options.output is not None:
        print(f"Report written to {options.output}.")
    if options.figure is not None:
        from amif_lightning.reports.render.figures import draw

        write_atomically(options.figure, draw(answers, searches))
        print(f"Figure written to {options.figure}.")
    if options.html is not None:
        from amif_lightning.reports.page.page import page

        html = page(
            options.folder,
            answers,
            searches,
            options.baseline,
            images=not options.no_images,
            published=options.published,
            command=shlex.join(["python", "-m", "amif_lightning", "report", *argv]),
        )
        write_atomically(options.html, html)
        print(f"Page written to {options.html}.")
    if not (options.summary or options.details):
        print("\n".join(["Next:", *_next(options, found)]))
    return 0


def show(folder: Path) -> None:
    """Print the overview of a run folder and commands that show more, if it has a record."""
    if any(folder.glob("result-*.json")):
        main([str(folder)])


def _next(options: argparse.Namespace, found: Sequence[tuple[Path, ScoredRecord]]) -> list[str]:
    """List commands that show more."""
    call, folder = "  python -m amif_lightning", shlex.quote(str(options.folder))
    commands = [f"{call} report {folder} --details"]
    if options.html is None:
        commands.append(f"{call} report {folder} --html report.html")
    commands.append(f"  make tensorboard RUNS={folder}")
    kept = (path.parent / "best.ckpt" for path, run in found if run.kind != "retrieval")
    checkpoint = next((path for path in kept if path.is_file()), None)
    if checkpoint is not None:
        commands.append(f"{call} demo --ckpt_path {shlex.quote(str(checkpoint))}")
    return [printable(command) for command in commands]
