"""The teacher's embeddings: its networks, the cache, and how it is filled."""

__all__ = ["cache", "extract", "networks", "store"]
