"""Checks of ``--config`` files that need no parser: they exist, are YAML, give no key twice.

Keys that had another name get the one that they have now (:mod:`amif_lightning.renamed_options`).

They run before Lightning is imported, so a slip is answered at once and with file and line.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from amif_lightning.errors import UserError
from amif_lightning.renamed_options import ARGUMENT, RENAMED, current_name

if TYPE_CHECKING:
    from pydantic import ValidationError

_OPTIONS = ("--config", "-c")
#: Keys that take a class, whose arguments may be written with or without ``init_args``.
CLASSES = ("model", "data")


def split_configs(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Take the ``--config`` options out of a command line.

    Returns:
        The values of ``--config`` (or ``-c``) in order, and the words that are left.

    Raises:
        UserError: If the last word is ``--config`` without its file.
    """
    files: list[str] = []
    rest: list[str] = []
    words = iter(argv)
    for word in words:
        option, equals, value = word.partition("=")
        if option not in _OPTIONS:
            rest.append(word)
        elif equals:
            files.append(value)
        else:
            following = next(words, None)
            if following is None:
                raise UserError(f"`{option}` needs a file, such as experiments/vqa/phantom.yaml.")
            files.append(following)
    return files, rest


def check_configs(files: Sequence[str]) -> None:
    """Read all config files, and print one line for each that has old names.

    Raises:
        UserError: See :func:`read_config`.
    """
    for name in files:
        if notes := _read(name)[1]:
            print(f"warning: {name}: {', '.join(notes)}.", file=sys.stderr)


def read_config(name: str) -> yaml.MappingNode:
    """Read one configuration file as a YAML mapping, which keeps the line of every key.

    Raises:
        UserError: If the file is not there or a folder, cannot be read, is not YAML, is no mapping,
            or gives a key twice.
    """
    return _read(name)[0]


def _read(name: str) -> tuple[yaml.MappingNode, dict[str, None]]:
    """The mapping under current names, and what was renamed or left out, in words."""
    path = Path(name)
    try:
        if path.is_dir():
            raise UserError(f"{name} is a folder: give --config a file, such as {path}/X.yaml.")
        if not path.is_file():
            raise UserError(f"the config file {name} does not exist{_similar_files(path)}")
        node = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except OSError as error:
        raise UserError(
            f"the config file {name} cannot be read ({error.strerror}): check its path and rights."
        ) from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise UserError(f"{name}{where}: not valid YAML: {error.problem}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{name}: not a text file in YAML: {error}") from error
    if not isinstance(node, yaml.MappingNode):
        raise UserError(f"{name}: a config file holds keys such as `model:` and `data:`.")
    _refuse_repeated_keys(node, name)
    notes: dict[str, None] = {}
    _rename(node, "", notes)
    return node, notes


def _rename(node: yaml.Node, above: str, notes: dict[str, None]) -> None:
    kept = []
    for key, value in _entries(node):
        if key is None:
            _rename(value, above, notes)
            continue
        option = f"{above}.{key.value}" if above else str(key.value)
        # Arguments of any class, at any depth, are named by what stands directly above them.
        place = f"{ARGUMENT}{key.value}" if above.endswith("init_args") else option
        _rename(value, option, notes)
        now = RENAMED.get(place, place)
        if now is None:
            notes[f"`{place}` was removed and is left out"] = None
            continue
        if now != place:
            notes[f"`{key.value}` is now `{now.rpartition('.')[2]}`"] = None
            key.value = now.rpartition(".")[2]
        kept.append((key, value))
    if isinstance(node, yaml.MappingNode):
        node.value = kept


def current_words(argv: Sequence[str]) -> list[str]:
    """A command line without old names of options, for the parser.

    A config file that has some is given as its text under the new names.

    Raises:
        UserError: If an option on the command line has an old name.
    """
    words: list[str] = []
    for word in argv:
        option, equals, value = word.partition("=")
        now = current_name(option[2:]) if option.startswith("--") else option[2:]
        if now is None:
            raise UserError(f"`{option}` was removed: leave it out.")
        if now != option[2:]:
            raise UserError(f"`{option}` has another name now: give `--{now}`.")
        if words and words[-1] in _OPTIONS:
            word = _current_text(word)
        elif option in _OPTIONS and equals:
            word = f"{option}={_current_text(value)}"
        words.append(word)
    return words


def _current_text(name: str) -> str:
    node, notes = _read(name)
    return yaml.serialize(node) if notes else name


def locate(key: str, files: Sequence[str]) -> str:
    """``FILE, line N: `` for the last file with a key or a class's name; else empty."""
    for name in reversed(files):
        line = _line_of(key, read_config(name))
        if line is not None:
            return f"{name}, line {line}: "
    return ""


def given_options(
    files: Sequence[str], words: Sequence[str], keys: Iterable[str] | None = None
) -> dict[str, Any]:
    """What config files and options give, merged as the parser does: later ones win.

    Args:
        files: The config files.
        words: The other words of the command line.
        keys: The keys of the files that count; None: all.

    Returns:
        A tree by the parts of dotted names. Arguments of a class lie below ``init_args``.

    Raises:
        UserError: If a word belongs to no option.
    """
    tree: dict[str, Any] = {}
    found: Any
    for name in files:
        found = yaml.safe_load(yaml.serialize(read_config(name)))
        _merge(tree, {k: v for k, v in found.items() if keys is None or k in keys})
    rest = list(words)
    while rest:
        option, equals, value = rest.pop(0).partition("=")
        if not option.startswith("-"):
            raise UserError(f"`{option}` belongs to no option: write `--name value`.")
        if not equals and rest and not rest[0].startswith("--"):
            value = rest.pop(0)
        parts = option.lstrip("-").rstrip("+").split(".")
        if parts[0] in CLASSES:
            parts[1:] = [p for part in parts[1:] for p in _in_class(part)] or ["class_path"]
        found = value
        for part in reversed(parts):
            found = {part: found}
        _merge(tree, found)
    return tree


def _in_class(part: str) -> list[str]:
    if part == "init_args":
        return []
    return [part] if part in ("class_path", "dict_kwargs") else ["init_args", part]


def _merge(tree: dict[str, Any], more: Mapping[str, Any]) -> None:
    for key, value in more.items():
        if key in CLASSES and isinstance(value, str):
            value = {"class_path": value}
        if isinstance(value, dict) and isinstance(tree.get(key), dict):
            _merge(tree[key], value)
        else:
            tree[key] = value


def _line_of(key: str, node: yaml.Node) -> int | None:
    for name, value in _entries(node):
        if name is not None and key in (name.value, value.value):  # a key, or a class's name
            return int(name.start_mark.line) + 1
        found = _line_of(key, value)
        if found is not None:
            return found
    return None


def _entries(node: yaml.Node) -> list[tuple[yaml.ScalarNode | None, yaml.Node]]:
    """The children of a node, each with its key where it has one."""
    if isinstance(node, yaml.MappingNode):
        return [(k if isinstance(k, yaml.ScalarNode) else None, v) for k, v in node.value]
    return [(None, v) for v in node.value] if isinstance(node, yaml.SequenceNode) else []


def _refuse_repeated_keys(node: yaml.Node, name: str) -> None:
    seen: dict[str, int] = {}
    for key, value in _entries(node):
        if key is not None:
            line = key.start_mark.line + 1
            if key.value in seen:  # YAML would silently keep the second
                raise UserError(
                    f"{name}, line {line}: `{key.value}` is given a second time (first in line "
                    f"{seen[key.value]}); merge the two."
                )
            seen[key.value] = line
        _refuse_repeated_keys(value, name)


def _similar_files(path: Path) -> str:
    if not path.parent.is_dir():
        return f"; there is no folder {path.parent}."
    found = nearest(path.name, [entry.name for entry in path.parent.iterdir() if entry.is_file()])
    return f"; did you mean {path.parent / found}?" if found else f"; look into {path.parent}."


def nearest(name: str, valid: Iterable[str]) -> str | None:
    """The valid name most like ``name``, in whatever case; None where nothing is alike."""
    by_lower = {candidate.lower(): candidate for candidate in valid}
    found = get_close_matches(name.lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[found[0]] if found else None


def suggestion(name: str, valid: Iterable[str], *, show: int = 12) -> str:
    """A closing clause for an error message: the nearest name, else the list of names.

    Args:
        name: What was typed.
        valid: The names that would have been accepted.
        show: How many names a list may hold before it is left out.

    Returns:
        A clause that starts with ``; `` or is empty.
    """
    names = sorted(set(valid))
    found = nearest(name, names)
    if found is not None:
        return f"; did you mean `{found}`?"
    return f"; use one of {', '.join(names)}" if 0 < len(names) <= show else ""


def fault(error: ValidationError) -> str:
    """The first fault that pydantic found, as ``key: what is wrong``."""
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    return f"{key}: {first['msg']}" if key else first["msg"]
