"""Base data modules, datasets and samplers: from rows to batches."""
