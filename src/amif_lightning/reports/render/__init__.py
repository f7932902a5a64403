"""Numbers as text: tables, figures, comparisons, verdicts."""

__all__ = [
    "comparisons",
    "figures",
    "local_alignment",
    "markdown",
    "numbers",
    "published",
    "run_info",
    "tables",
    "verdicts",
]
