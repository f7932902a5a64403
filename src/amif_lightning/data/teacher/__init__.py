"""The teacher's embeddings: networks, cache, file format and extraction."""

__all__ = ["cache", "extract", "networks", "store"]
