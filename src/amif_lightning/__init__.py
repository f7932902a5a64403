"""AMiF: medical visual question answering by unified alignment and knowledge fusion."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from amif_lightning.tasks import AMiFPretrain, AMiFVQA

__version__ = "0.1.0"

__all__ = ["AMiFPretrain", "AMiFVQA", "__version__"]


def __getattr__(name: str) -> Any:
    """Import the tasks on first use, because importing torch takes seconds."""
    if name in __all__:
        from amif_lightning import tasks

        return getattr(tasks, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
