"""The teacher's embeddings: networks, cache, file format and extraction."""
