"""What a run writes and a report reads: result records, and a line per question or study."""

__all__ = [
    "answering",
    "pairs",
    "provenance",
    "retrieval",
    "run",
    "schema",
    "store",
    "test_counter",
]
