"""Published numbers of peers, each with its source and protocol, kept apart from our own table."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from amif_lightning.reports.render.markdown import markdown

DATASETS = ("VQARAD", "SLAKE", "PathVQA", "VQAMed2019")


@dataclass(frozen=True, slots=True)
class Published:
    """One published result; percentages as printed by the source, None where not given.

    Attributes:
        model: Name of the model.
        dataset: Data class of this suite.
        open: Accuracy on open questions.
        closed: Accuracy on closed questions.
        overall: Accuracy on all questions.
        protocol: Label of what is known about training file and candidates.
        sources: Where the numbers were read.
        note: What makes the row special, or empty.
    """

    model: str
    dataset: str
    open: float | None
    closed: float | None
    overall: float | None
    protocol: str
    sources: tuple[str, ...]
    note: str


@cache
def published() -> tuple[Published, ...]:
    """All rows of ``published.yaml``, sorted by data set in the order of `DATASETS`."""
    import yaml  # only this table needs it

    text = resources.files(__package__).joinpath("published.yaml").read_text(encoding="utf-8")
    data: dict[str, Any] = yaml.safe_load(text)
    rows = [
        Published(
            model=row["model"],
            dataset=row["dataset"],
            open=row.get("open"),
            closed=row.get("closed"),
            overall=row.get("overall"),
            protocol=data["protocols"][row["protocol"]],
            sources=tuple(data["sources"][letter] for letter in row["source"]),
            note=row.get("note", ""),
        )
        for row in data["results"]
    ]
    return tuple(sorted(rows, key=lambda row: DATASETS.index(row.dataset)))


WARNING = (
    "Read in the sources named, not measured here. Most of these runs train on rows or choose "
    "among answers that come from the test set, so they are comparable with none of the "
    "`clean` rows above and with `literature` rows only as far as their protocol is known. "
    "Their open/closed rule is the source's own."
)


HEADER = ("data", "model", "open", "closed", "overall", "protocol", "note", "source")


def published_rows() -> list[tuple[str, ...]]:
    """The cells of the table under `HEADER`; a dash where a percentage is not given."""
    return [
        (
            row.dataset,
            row.model,
            *(
                "-" if value is None else f"{value:.1f}"
                for value in (row.open, row.closed, row.overall)
            ),
            row.protocol,
            row.note,
            "; ".join(row.sources) or "-",
        )
        for row in published()
    ]


def published_table() -> str:
    """A section with the published numbers and the warning that they are not comparable rows."""
    return f"## Published numbers\n\n{WARNING}\n\n{markdown(HEADER, published_rows())}\n"
