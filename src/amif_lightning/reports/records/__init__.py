"""What a run writes and a report reads: result records, predictions, per-study scores."""
