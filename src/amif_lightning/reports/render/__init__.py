"""Numbers as words: tables, figures, comparisons, verdicts."""

__all__ = [
    "comparisons",
    "figures",
    "knowledge_table",
    "local_table",
    "local_verdict",
    "markdown",
    "numbers",
    "published",
    "retrieval_comparisons",
    "run_info",
    "tables",
    "verdicts",
]
