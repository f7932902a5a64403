"""What data sets share: files, schema, preprocessing, leakage, audit, teacher caches, loading."""
