"""Published numbers of peers with source and protocol, separate from this suite's own tables."""

from __future__ import annotations

from importlib import resources
from typing import Any

from amif_lightning.reports.render.markdown import Table

DATASETS = ("VQARAD", "SLAKE", "PathVQA", "VQAMed2019")
WARNING = (
    "These numbers were read in the named sources and not measured here. Most of these runs train "
    "on rows or choose among answers that come from the test set. They cannot be compared with any "
    "of the `clean` rows above, and with `literature` rows only as far as their protocol is known. "
    "The open/closed rule is that of the source."
)


def published_table() -> Table:
    """Tabulate ``published.yaml`` by data set; a dash if the source gives no percentage."""
    import yaml  # only this table needs it

    text = resources.files(__package__).joinpath("published.yaml").read_text(encoding="utf-8")
    data: dict[str, Any] = yaml.safe_load(text)
    rows = [
        (
            row["dataset"],
            row["model"],
            *(f"{row[name]:.1f}" if name in row else "-" for name in ("open", "closed", "overall")),
            data["protocols"][row["protocol"]],
            row.get("note", ""),
            "; ".join(data["sources"][letter] for letter in row["source"]) or "-",
        )
        for row in sorted(data["results"], key=lambda row: DATASETS.index(row["dataset"]))
    ]
    header = ("data", "model", "open", "closed", "overall", "protocol", "note", "source")
    return Table("Published numbers", header, tuple(rows), WARNING)
