"""Numbers as words: tables, figures, comparisons, verdicts."""

__all__ = [
    "comparisons",
    "figures",
    "local_tables",
    "local_verdict",
    "markdown",
    "numbers",
    "published",
    "run_info",
    "tables",
    "verdicts",
]
