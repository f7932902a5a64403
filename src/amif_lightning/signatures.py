"""Complete signatures and docstrings for classes that pass ``**kwargs`` to their bases.

:func:`describe` adds the names in ``**kwargs: Unpack[SomeOptions]``, which editors read, to
``help`` and ``inspect.signature``.
"""

from __future__ import annotations

import inspect
import re
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing import Unpack
else:

    class Unpack:
        """Replaces :class:`typing.Unpack` at run time, where jsonargparse reads annotations.

        jsonargparse would take an unpacked dictionary as arguments without defaults. With ``Any``
        it follows ``**kwargs`` to the defaults of the base class.
        """

        def __class_getitem__(cls, options: object) -> object:
            return Any


def describe(cls: type) -> None:
    """Set ``__signature__`` and complete the section ``Args`` of the docstring."""
    parameters = _parameters(cls)
    cls.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # read by inspect
    cls.__doc__ = _with_arguments(cls, [parameter.name for parameter in parameters])


def options_of(cls: type) -> tuple[str, ...]:
    """Return the names accepted by the constructor's ``**kwargs``; empty without ``Unpack``."""
    owner = next(base for base in cls.__mro__ if "__init__" in vars(base))
    annotation = str(vars(owner)["__init__"].__annotations__.get("kwargs", ""))
    found = re.fullmatch(r"Unpack\[(\w+)\]", annotation)
    if found is None:
        return ()
    options: Any = getattr(sys.modules[owner.__module__], found[1])
    # Keys of the bases too, which `__annotations__` leaves out in Python 3.14.
    return tuple(dict.fromkeys((*options.__required_keys__, *options.__optional_keys__)))


def _parameters(cls: type) -> list[inspect.Parameter]:
    initialisers = [vars(base)["__init__"] for base in cls.__mro__ if "__init__" in vars(base)]
    own = list(inspect.signature(initialisers[0]).parameters.values())[1:]
    accepted = set(options_of(cls))
    found = {p.name: p for p in own if p.kind is not inspect.Parameter.VAR_KEYWORD}
    for initialiser in initialisers[1:]:
        for name, parameter in inspect.signature(initialiser).parameters.items():
            if name in accepted:
                found.setdefault(name, parameter)
    # Arguments of bases follow others with defaults, so they are keyword-only.
    named = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in found.values() if p not in own]
    rest = [p for p in own if p.kind is inspect.Parameter.VAR_KEYWORD and not accepted]
    return [p for p in found.values() if p in own] + named + rest


def _with_arguments(cls: type, names: list[str]) -> str:
    """Replace the ``**kwargs`` line of the docstring by the bases' entries."""
    text = cls.__dict__.get("__doc__") or ""
    entry = re.compile(r"^ {8}(\w+): .*\n(?: {12}.*\n)*", re.MULTILINE)
    own = {found[1] for found in entry.finditer(text)}
    documented = (vars(base).get("__doc__") or "" for base in reversed(cls.__mro__[1:]))
    known = {found[1]: found[0] for doc in documented for found in entry.finditer(doc)}
    inherited = "".join(known.get(name, "") for name in names if name not in own)
    return re.sub(r"(?m)^ {8}\*\*kwargs: .*\n(?: {12}.*\n)*", lambda _: inherited, text)
