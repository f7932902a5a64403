"""Numbers as text: tables, figures, comparisons, verdicts."""
