"""The files that a run writes and a report reads: records, and a line per question or study."""
