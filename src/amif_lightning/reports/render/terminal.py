"""The overview that ``report`` prints: one row per configuration, for terminals of 100 columns."""

from __future__ import annotations

import io
from collections.abc import Iterable

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from amif_lightning.errors import printable
from amif_lightning.reports.analysis.groups import AnyGroup
from amif_lightning.reports.render import numbers
from amif_lightning.reports.render.tables import interval_of, level_of
from amif_lightning.reports.render.verdicts import judge

WIDTH = 100


def overview(groups: Iterable[AnyGroup]) -> str:
    """Draw a table of scores, levels and claims, at most ``WIDTH`` columns wide.

    For retrieval, the baseline is chance and the control is the best constant ranking.
    """
    table = Table(box=SIMPLE_HEAD, padding=(0, 1), show_edge=False)
    table.add_column("configuration", overflow="fold", ratio=5)
    for name in ("score %", "95 % interval", "baseline", "shuffled"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("verdict", overflow="fold", ratio=4)
    for group in groups:
        where = f"{group.key.experiment}\n{group.label}, {numbers.count_of(group.runs)}"
        cells = (
            "\n".join(map(printable, where.split("\n"))),
            level_of(group, group.first.MAIN),
            interval_of(group),
            level_of(group, "baseline"),
            level_of(group, "control"),
            printable(judge(group)[0].partition(", because")[0]),
        )
        table.add_row(*(Text(cell) for cell in cells))
        table.add_section()
    stream = io.StringIO()
    Console(file=stream, width=WIDTH, color_system=None, legacy_windows=False).print(table)
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines()).strip("\n") + "\n"
