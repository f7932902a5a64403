"""A task that was trained for one step, and its checkpoint, as for `inference`."""

from tests.inference.conftest import restored, saved

__all__ = ["restored", "saved"]
