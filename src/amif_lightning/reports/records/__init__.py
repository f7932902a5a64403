"""The files that a run writes and a report reads: records, and a line per question or study."""

__all__ = ["answering", "pairs", "provenance", "retrieval", "run", "schema", "store"]
