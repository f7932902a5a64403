"""Turn errors of the parser and of torch into one sentence.

The parser hides a wrong key in a dozen lines that differ between releases. So the given keys are
compared with the valid ones instead.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from jsonargparse import ArgumentParser

from amif_lightning.cli.config_files import given_options, locate, suggestion
from amif_lightning.errors import UserError

_OF_A_CLASS = {"class_path", "init_args", "dict_kwargs"}
_OF_EVERY_PARSER = {"config", "help", "print_config"}


def parser_error(
    message: str,
    files: Sequence[str],
    words: Sequence[str],
    options: Iterable[str],
    bases: Mapping[str, type],
    keys: Iterable[str] | None = None,
) -> str:
    """Explain an error of the parser in one sentence.

    It gives the place of the first unknown key or class and the nearest valid name. If all are
    known, it gives the refused value and the parser's message.

    Args:
        message: The text of the error.
        files: The config files of the command line.
        words: Its other words, without the command.
        options: All dotted names that the parser accepts, such as ``trainer.max_epochs``.
        bases: Base class per key that takes a class name: ``model``, ``data``.
        keys: The keys of the files that count; None: all.
    """
    given = given_options(files, words, keys)
    if missing := sorted(key for key in bases if key not in given):
        return (
            f"{' and '.join(missing)} missing: give --config with an experiment, such as "
            "experiments/vqa/phantom.yaml."
        )
    known = {*options, *bases} | _OF_EVERY_PARSER
    # Check each file by itself too: a later one may hide a fault.
    for tree in (*(given_options([name], [], keys) for name in files), given):
        for key, value in tree.items():
            if key in bases:
                faults = _class_faults(key, value, bases[key], files)
            else:
                unknown = (name for name, _ in _leaves(key, value) if not _is_known(name, known))
                faults = (_unknown(name, known, files) for name in unknown)
            if (fault := next(faults, None)) is not None:
                return fault
    text = " ".join(message.split())
    # The parser repeats all arguments of a class; the refused one occurs most often.
    leaves = [leaf for leaf in _leaves("", given) if not leaf[0].endswith("class_path")]
    name, value = max(leaves, key=lambda leaf: _mentions(leaf, text), default=("", None))
    if not name or not _mentions((name, value), text):
        return text
    return f"{locate(name.rpartition('.')[2], files)}{name} does not take {str(value)!r}: {text}"


def _mentions(leaf: tuple[str, Any], text: str) -> int:
    """Count how often a text that contains an option's value names the option in quotes."""
    key = re.escape(leaf[0].rpartition(".")[2])
    return len(re.findall(rf"""['"](?:[\w.]*\.)?{key}['"]""", text)) if str(leaf[1]) in text else 0


def subclasses(base: type) -> list[type]:
    """List ``base`` and all its subclasses that are not abstract, in order of definition."""
    children: list[type] = base.__subclasses__()
    below = [cls for child in children for cls in subclasses(child)]
    return [*([] if inspect.isabstract(base) else [base]), *below]


def user_error_behind(error: BaseException) -> UserError | None:
    """Return the error that a constructor raised, which jsonargparse wraps in a ValueError."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, UserError):
        cause = cause.__cause__
    return cause


def state_mismatch(message: str, checkpoint: str) -> str | None:
    """Explain torch's report of a checkpoint that does not fit; None for other errors."""
    shape = re.search(
        r"size mismatch for (?P<key>[^:]+): .*?torch\.Size\((?P<theirs>[^)]*)\) from checkpoint, "
        r".*?torch\.Size\((?P<ours>[^)]*)\)",
        message,
    )
    missing = re.search(
        r'(?P<kind>Missing|Unexpected) key\(s\) in state_dict: "(?P<key>[^"]+)"', message
    )
    if shape:
        fault = f"{shape['key']} has shape {shape['theirs']}, in this model {shape['ours']}"
    elif missing:
        has = "lacks" if missing["kind"] == "Missing" else "holds an unknown"
        fault = f"it {has} {missing['key']}"
    elif message.startswith("loaded state dict"):  # torch.optim's message
        fault = "its optimizer state belongs to other parameters"
    else:
        return None
    config = Path(checkpoint).with_name("config.yaml")
    action = f"--config {config}" if config.is_file() else "the --config of the run that saved it"
    return f"the checkpoint {checkpoint} does not fit the model: {fault}; use {action}."


def _is_known(option: str, known: set[str]) -> bool:
    """Return whether an option exists, contains others, or is an argument of a class."""
    return any(
        name == option or name.startswith(f"{option}.") or option.startswith(f"{name}.")
        for name in known
    )


def _leaves(above: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield dotted names and values of everything but mappings."""
    if not isinstance(value, dict):
        yield above, value
        return
    for key, below in value.items():
        yield from _leaves(f"{above}.{key}" if above else str(key), below)


def _unknown(option: str, known: set[str], files: Sequence[str]) -> str:
    """Name the first wrong part of a dotted option, and the nearest valid one."""
    prefix = ""
    for part in option.split("."):
        siblings = {name[len(prefix) :].split(".")[0] for name in known if name.startswith(prefix)}
        if part not in siblings:
            break
        prefix += f"{part}."
    where = locate(part, files)
    dashes = "" if where else "--"
    close = suggestion(part, siblings - {""}).replace("`", f"`{dashes}{prefix}", 1)
    return f"{where}there is no option `{dashes}{option}`{close or '; see `fit --help`.'}"


def _class_faults(key: str, node: Any, base: type, files: Sequence[str]) -> Iterator[str]:
    """Yield the faults of a class and its arguments, and of classes among these."""
    if not isinstance(node, dict):
        node = {"class_path": node}
    name = node.get("class_path")
    if name is None:
        return
    cls = _class(str(name), base)
    if cls is None:
        names = [cls.__name__ for cls in subclasses(base) if cls is not base]
        yield f"{locate(name, files)}there is no {key} class `{name}`{suggestion(name, names)}"
        return
    for other in node.keys() - _OF_A_CLASS:  # a misspelt or forgotten `init_args`
        yield (
            f"{locate(other, files)}`{key}:` takes only `class_path:` and `init_args:`; put the "
            f"arguments of {cls.__name__} below `init_args:`."
        )
    # As the parser resolves them, those passed on by **kwargs included.
    known = ArgumentParser().add_class_arguments(cls, fail_untyped=False)
    for option, value in (node.get("init_args") or {}).items():
        if option not in known:
            close = suggestion(option, known, show=40)
            yield f"{locate(option, files)}{key} {cls.__name__} has no option `{option}`{close}"
        for inner in value if isinstance(value, list) else [value]:
            if isinstance(inner, dict) and "class_path" in inner:
                yield from _class_faults(option, inner, base, files)


def _class(name: str, base: type) -> type | None:
    """Return the class of a short name or a full path; None if there is none."""
    for cls in subclasses(base):
        if name == cls.__name__:
            return cls
    try:
        found = resolve_name(name)
    except (ImportError, AttributeError, ValueError):
        return None
    return found if isinstance(found, type) and issubclass(found, base) else None
