"""Read ``--config`` files before the slow import of Lightning; errors name the file and line."""

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
    """Split a command line into the values of ``--config`` (or ``-c``) and the other words.

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
            continue
        file = value if equals else next(words, None)
        if file is None:
            raise UserError(f"`{option}` needs a file, such as experiments/vqa/phantom.yaml.")
        files.append(file)
    return files, rest


def check_configs(files: Sequence[str]) -> None:
    """Read all config files as :func:`read_config`, and warn of each that has old names."""
    for name in files:
        if notes := _read(name)[1]:
            print(f"warning: {name}: {', '.join(notes)}.", file=sys.stderr)


def read_config(name: str) -> yaml.MappingNode:
    """Read a file as a YAML mapping with the line of every key, under current names.

    Raises:
        UserError: If the file is missing, a folder, unreadable, not YAML or not a mapping, or gives
            a key twice.
    """
    return _read(name)[0]


def load_config(name: str) -> dict[str, Any]:
    """Read the values of a configuration file; raises as :func:`read_config`."""
    values: dict[str, Any] = yaml.safe_load(yaml.serialize(read_config(name)))
    return values


def _read(name: str) -> tuple[yaml.MappingNode, dict[str, None]]:
    """Read the mapping under current names, and a note on each key renamed or left out."""
    path = Path(name)
    try:
        if path.is_dir():
            raise UserError(f"{name} is a folder: give --config a file, such as {path}/X.yaml.")
        if not path.is_file():
            raise UserError(f"the config file {name} does not exist{_similar_files(path)}")
        text = path.read_text(encoding="utf-8")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        yaml.safe_load(text)  # refuses tags of Python objects, which `compose` only reads
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
    notes: dict[str, None] = {}
    _check_keys(node, name, "", notes)
    return node, notes


def _check_keys(node: yaml.Node, name: str, above: str, notes: dict[str, None]) -> None:
    """Refuse repeated keys and replace old names, at any depth."""
    seen: dict[str, int] = {}
    kept = []
    for key, value in _entries(node):
        if key is None:
            _check_keys(value, name, above, notes)
            continue
        line = key.start_mark.line + 1
        if key.value in seen:  # YAML would silently keep the second
            raise UserError(
                f"{name}, line {line}: `{key.value}` is given a second time (first in line "
                f"{seen[key.value]}); merge the two."
            )
        seen[key.value] = line
        option = f"{above}.{key.value}" if above else str(key.value)
        # Arguments of any class, at any depth, are named by their key alone.
        place = f"{ARGUMENT}{key.value}" if above.endswith("init_args") else option
        _check_keys(value, name, option, notes)
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


def _entries(node: yaml.Node) -> list[tuple[yaml.ScalarNode | None, yaml.Node]]:
    """List the children of a node, those of a mapping with their keys."""
    if isinstance(node, yaml.MappingNode):
        return [(k if isinstance(k, yaml.ScalarNode) else None, v) for k, v in node.value]
    return [(None, v) for v in node.value] if isinstance(node, yaml.SequenceNode) else []


def current_words(argv: Sequence[str]) -> list[str]:
    """Return the words for the parser: a config file with old names is replaced by its new text.

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


def locate(path: Sequence[str], files: Sequence[str], words: Sequence[str] = ()) -> str:
    """Format ``FILE, line N: `` for the last file with an option, "" if the words give it.

    ``path`` holds the parts of the option's dotted name and the positions in lists.
    """
    node = yaml.compose(yaml.safe_dump(given_options([], words)), Loader=yaml.SafeLoader)
    if _line_of(path, node) is not None:
        return ""
    for name in reversed(files):
        line = _line_of(path, read_config(name))
        if line is not None:
            return f"{name}, line {line}: "
    return ""


def _line_of(path: Sequence[str], node: yaml.Node | None, line: int | None = None) -> int | None:
    """Return the line of an option; of a class, if it is written without ``class_path``."""
    if not path or isinstance(node, yaml.ScalarNode):
        return line
    if isinstance(node, yaml.SequenceNode):
        if (place := int(path[0])) >= len(node.value):
            return None
        item = node.value[place]
        return _line_of(path[1:], item, int(item.start_mark.line) + 1)
    for key, value in [] if node is None else _entries(node):
        if key is not None and key.value == path[0]:
            return _line_of(path[1:], value, int(key.start_mark.line) + 1)
    return None


def given_options(
    files: Sequence[str], words: Sequence[str], keys: Iterable[str] | None = None
) -> dict[str, Any]:
    """Merge config files and the other words of a command line as the parser does: later ones win.

    Of the files only ``keys`` count, if given. The result is a tree by the parts of dotted names,
    with the arguments of a class below ``init_args``.

    Raises:
        UserError: If a word belongs to no option.
    """
    tree: dict[str, Any] = {}
    for name in files:
        given = load_config(name)
        _merge(tree, {k: v for k, v in given.items() if keys is None or k in keys})
    rest = list(words)
    while rest:
        found: Any
        option, equals, found = rest.pop(0).partition("=")
        if not option.startswith("-"):
            raise UserError(f"`{option}` belongs to no option: write `--name value`.")
        if not equals and rest and not rest[0].startswith("--"):
            found = rest.pop(0)
        parts = option.lstrip("-").rstrip("+").split(".")
        if parts[0] in CLASSES:
            parts[1:] = [p for part in parts[1:] for p in _in_class(part)] or ["class_path"]
        if option.endswith("+"):
            before = value_at(tree, parts)
            found = [*(before if isinstance(before, list) else []), found]
        for part in reversed(parts):
            found = {part: found}
        _merge(tree, found)
    return tree


def value_at(tree: Any, parts: Sequence[str]) -> Any:
    """Return a value of :func:`given_options`; None if there is none."""
    for part in parts:
        tree = tree.get(part) if isinstance(tree, dict) else None
    return tree


def _in_class(part: str) -> list[str]:
    if part == "init_args":
        return []
    return [part] if part in ("class_path", "dict_kwargs") else ["init_args", part]


def _merge(tree: dict[str, Any], more: Mapping[str, Any]) -> None:
    if len({_short(one["class_path"]) for one in (tree, more) if "class_path" in one}) == 2:
        tree.pop("init_args", None)  # arguments of another class
    for key, value in more.items():
        if key in CLASSES and isinstance(value, str):
            value = {"class_path": value}
        if isinstance(value, dict) and isinstance(tree.get(key), dict):
            _merge(tree[key], value)
        else:
            tree[key] = value


def _short(name: object) -> str:
    return str(name).rpartition(".")[2]


def _similar_files(path: Path) -> str:
    if not path.parent.is_dir():
        return f"; there is no folder {path.parent}."
    found = nearest(path.name, [entry.name for entry in path.parent.iterdir() if entry.is_file()])
    return f"; did you mean {path.parent / found}?" if found else f"; look into {path.parent}."


def nearest(name: str, valid: Iterable[str]) -> str | None:
    """Return the most similar valid name, ignoring case; None if no name is similar."""
    by_lower = {candidate.lower(): candidate for candidate in valid}
    found = get_close_matches(name.lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[found[0]] if found else None


def suggestion(name: str, valid: Iterable[str], *, show: int = 12) -> str:
    """Format the end of an error sentence: the nearest valid name, else at most ``show`` names."""
    names = sorted(set(valid))
    found = nearest(name, names)
    if found is not None:
        return f"; did you mean `{found}`?"
    return f"; use one of {', '.join(names)}" if 0 < len(names) <= show else ""


def fault(error: ValidationError) -> str:
    """Format the first fault that pydantic found, as ``key: fault``."""
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    return f"{key}: {first['msg']}" if key else first["msg"]
