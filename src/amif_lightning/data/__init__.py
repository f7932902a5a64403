"""What data sets share: files, schema, preprocessing, leakage, audit, teacher caches, loading."""

__all__ = ["audit", "files", "leakage", "loading", "preprocessing", "schema", "teacher"]
