"""What a run writes and a report reads: result records, predictions, per-study scores."""

__all__ = [
    "answering",
    "fields",
    "knowledge",
    "pair_averages",
    "pairs",
    "predictions",
    "provenance",
    "retrieval",
    "run",
    "store",
    "study_scores",
    "test_counter",
]
