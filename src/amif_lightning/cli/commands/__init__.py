"""The commands besides those of the Trainer, one file each."""

__all__ = ["answer", "audit", "prepare", "report", "sweep"]
