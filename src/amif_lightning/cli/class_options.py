"""Check the classes, and the values of their constructor arguments, that options name."""

from __future__ import annotations

import argparse
import inspect
import traceback
from collections.abc import Iterator, Mapping
from enum import Enum
from functools import cache
from importlib import import_module
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import yaml
from jsonargparse import ArgumentParser, Namespace

from amif_lightning.cli.config_files import suggestion
from amif_lightning.errors import first_line

#: The parts of an option's name, and a sentence on what is wrong.
Fault = tuple[tuple[str, ...], str]

_OF_A_CLASS = {"class_path", "init_args", "dict_kwargs"}
_WORDS = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "a text",
    type(None): "null",
}


def class_faults(
    path: tuple[str, ...], node: Any, bases: tuple[type, ...], whole: bool
) -> Iterator[Fault]:
    """Yield the faults of a class and its arguments, or of a list of classes.

    ``node`` is the value of the option ``path``, which takes subclasses of ``bases``. If it is the
    ``whole`` value, required arguments may not be absent.
    """
    key = ".".join(part for part in path if part != "init_args" and not part.isdigit())
    if isinstance(node, str):
        if Path(node).is_file():  # the parser reads it
            return
        loaded = _loaded(node)
        node = loaded if isinstance(loaded, dict | list) else {"class_path": node}
    if isinstance(node, list):
        for place, item in enumerate(node):
            yield from class_faults((*path, str(place)), item, bases, whole)
        return
    if not isinstance(node, dict):
        yield path, f"`--{key}` does not take {node!r}: give the name of a class."
        return
    name = node.get("class_path")
    if name is None:
        return
    cls = _class(str(name), bases)
    if isinstance(cls, str):
        yield (*path, "class_path"), f"there is no {key} class `{name}`{cls}"
        return
    for other in node.keys() - _OF_A_CLASS:  # a misspelt or forgotten `init_args`
        sentence = (
            f"`{key}:` takes only `class_path:` and `init_args:`; put the arguments of "
            f"{cls.__name__} below `init_args:`."
        )
        yield (*path, other), sentence
    arguments = node.get("init_args") or {}
    if not isinstance(arguments, dict):
        yield (*path, "init_args"), f"`init_args:` of {cls.__name__} holds no names and values."
        return
    known = _parser_of(cls)[1]
    for option, value in arguments.items():
        here = (*path, "init_args", str(option))
        if option in known:
            yield from value_faults(here, value, cls, whole)
        else:
            close = suggestion(str(option), known, show=40)
            yield here, f"{key} {cls.__name__} has no option `{option}`{close}"
    for option, parameter in inspect.signature(cls).parameters.items() if whole else ():
        several = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        if parameter.default is parameter.empty and not several and option not in arguments:
            sentence = f"{key} {cls.__name__} needs `{option}`: give --{'.'.join(path)}.{option}."
            yield (*path, "class_path"), sentence


def value_faults(path: tuple[str, ...], value: Any, cls: type, whole: bool) -> Iterator[Fault]:
    """Yield the faults of the value of a constructor argument, the last part of ``path``."""
    hint = _hint(cls, path[-1])
    classes = tuple(_classes(hint))
    loaded = _loaded(value) if isinstance(value, str) else value
    if classes and str not in _members(hint) and loaded not in (None, True, False):
        yield from class_faults(path, value, classes, whole)
    elif not takes(_parser_of(cls)[0], path[-1], value):
        right = f"give {_words(hint)}." if hint is not None else "see `--help`."
        yield path, f"{'.'.join(path)} does not take {value!r}: {right}"


def takes(parser: ArgumentParser, option: str, value: Any) -> bool:
    """Return whether a parser accepts a value for one of its options."""
    try:
        parser.validate(Namespace({option: value}), skip_required=True)
    except (TypeError, ValueError, KeyError, argparse.ArgumentError):
        return False
    return True


def subclasses(base: type) -> list[type]:
    """List ``base`` and all its subclasses that are not abstract, in order of definition."""
    children: list[type] = base.__subclasses__()
    below = [cls for child in children for cls in subclasses(child)]
    return [*([] if inspect.isabstract(base) else [base]), *below]


def _loaded(text: str) -> Any:
    """Return the value of a text in YAML, as the parser takes it; the text if it is not YAML."""
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def _class(name: str, bases: tuple[type, ...]) -> type | str:
    """Return the class of a short name or a full path, or the end of a sentence on its fault."""
    known = [cls for base in bases for cls in subclasses(base)]
    for cls in known:
        if name == cls.__name__:
            return cls
    module, dot, last = name.rpartition(".")
    if not dot:
        names = {cls.__name__ for cls in known if cls not in bases}
        return suggestion(name, [n for n in names if not n.startswith("_")], show=60)
    try:
        found = getattr(import_module(module), last)
    except ModuleNotFoundError as error:
        if f"{module}.".startswith(f"{error.name}."):
            return f": Python finds no module `{error.name}`, so check its name and PYTHONPATH."
        return _import_error(module, error)
    except AttributeError as error:
        if error.name == last:
            return f": the module `{module}` does not define it."
        return _import_error(module, error)
    except Exception as error:  # a module of the user may raise anything
        return _import_error(module, error)
    if isinstance(found, type) and issubclass(found, bases):
        return found
    return f": it is not a subclass of {' or '.join(base.__name__ for base in bases)}."


def _import_error(module: str, error: Exception) -> str:
    place = traceback.extract_tb(error.__traceback__)[-1]
    file, line = place.filename, place.lineno
    if isinstance(error, SyntaxError):
        file, line = error.filename or file, error.lineno or line
    what = f"{type(error).__name__}: {first_line(error)}"
    return f": its module `{module}` cannot be imported ({file}, line {line}: {what})."


@cache
def _parser_of(cls: type) -> tuple[ArgumentParser, tuple[str, ...]]:
    """Return a parser of a class's arguments, and their names: those of its bases included."""
    parser = ArgumentParser(exit_on_error=False)
    return parser, tuple(parser.add_class_arguments(cls, fail_untyped=False))


def _hint(cls: type, option: str) -> Any:
    """Return the type of a constructor argument; None if it is unknown."""
    for base in cls.__mro__:
        try:
            hints: Mapping[str, Any] = get_type_hints(vars(base).get("__init__"))
        except (NameError, TypeError):  # a name for type checkers only; no function
            continue
        if option in hints:
            return hints[option]
    return None


def _members(hint: Any) -> list[Any]:
    """List the members of a union; a single type is one."""
    if get_origin(hint) in (Union, UnionType):
        return [member for part in get_args(hint) for member in _members(part)]
    return [hint]


def _classes(hint: Any) -> Iterator[type]:
    """Yield the classes in a type whose names an option takes."""
    plain = ("builtins", "datetime", "typing")
    if isinstance(hint, type) and get_origin(hint) is None:
        if hint.__module__ not in plain and not issubclass(hint, Enum):
            yield hint
    elif get_origin(hint) is not Literal:
        for part in get_args(hint):
            yield from _classes(part)


def _words(hint: Any) -> str:
    """Describe a type."""
    found: dict[str, None] = {}
    for member in _members(hint):
        if get_origin(member) is Literal:
            found |= dict.fromkeys(str(choice) for choice in get_args(member))
        elif member in _WORDS:
            found[_WORDS[member]] = None
        else:
            origin = get_origin(member) or member
            mapping = isinstance(origin, type) and issubclass(origin, Mapping)
            found["a mapping" if mapping else "a list" if get_args(member) else str(origin)] = None
    *first, last = found
    return f"{', '.join(first)} or {last}" if first else last
