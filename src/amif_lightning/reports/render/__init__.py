"""Numbers as words: tables, figures, comparisons, verdicts."""
