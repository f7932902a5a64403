"""The teacher's embeddings: its networks, the cache, and how it is filled."""

__all__ = ["build", "cache", "extract", "networks", "store"]
