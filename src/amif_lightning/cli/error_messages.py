"""Turn errors of the parser and of torch into one sentence.

The parser's own report differs between releases and hides the wrong option in a dozen lines, so
every given option, class and value is checked again, one by one.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser
from lightning.fabric.utilities.exceptions import MisconfigurationException

from amif_lightning.cli.class_options import (
    Fault,
    class_faults,
    takes,
    value_faults,
)
from amif_lightning.cli.config_files import CLASSES, given_options, locate, suggestion
from amif_lightning.errors import UserError

_OF_EVERY_PARSER = {"config", "help", "print_config"}


def parser_error(
    message: str,
    files: Sequence[str],
    words: Sequence[str],
    parser: ArgumentParser,
    bases: Mapping[str, type],
    groups: Mapping[str, type] | None = None,
    keys: Sequence[str] | None = None,
) -> str:
    """Explain an error of the parser in one sentence.

    It gives the place of the first unknown key or class, or refused value, and what is valid there.
    The parser's message is repeated only if there is none.

    Args:
        message: The text of the error.
        files: The config files of the command line.
        words: Its other words, without the command.
        parser: The parser that raised the error.
        bases: Base class per key that takes a class name, such as ``model``.
        groups: Class per key whose arguments are options, such as ``trainer``.
        keys: The keys of the files that count; None: all.
    """
    given = given_options(files, words, keys)
    if missing := sorted(key for key in bases if key in CLASSES and key not in given):
        return (
            f"{' and '.join(missing)} missing: give --config with an experiment, such as "
            "experiments/vqa/phantom.yaml."
        )
    # The files by themselves too: a later one, or an option, may hide a fault.
    sources = [(files[: count + 1], words[:0], False) for count in range(len(files))]
    for some, more, whole in [*sources, (files, words, False), (files, words, True)]:
        tree = given_options(some, more, keys)
        for path, sentence in _faults(tree, parser, bases, groups or {}, whole):
            where = locate(path, some, more)
            return where + (sentence.replace("`--", "`") if where else sentence)
    return " ".join(message.split())


def _faults(
    tree: Mapping[str, Any],
    parser: ArgumentParser,
    bases: Mapping[str, type],
    groups: Mapping[str, type],
    whole: bool,
) -> Iterator[Fault]:
    """Yield the faults of all options; ``whole`` as in :func:`class_faults`."""
    defaults = parser.get_defaults()
    known = {*defaults.keys(), *bases} | _OF_EVERY_PARSER
    for key, value in tree.items():
        if key in CLASSES and isinstance(value, list):
            yield (key,), f"`--{key}` does not take {value!r}: give the name of a class."
        elif key in bases:
            yield from class_faults((key,), value, (bases[key],), whole)
        if key in bases:
            continue
        for name in _leaves(key, value):
            if not _is_known(name, known):
                yield tuple(name.split(".")), _unknown(name, known)
        if key in groups and isinstance(value, dict):
            for option, inner in value.items():
                yield from value_faults((key, option), inner, groups[key], whole)
        elif key in _OF_EVERY_PARSER or (value == "" and defaults.get(key) is False):
            continue  # a flag
        elif not takes(parser, key, value):
            yield (key,), f"`--{key}` does not take {value!r}; see `--help`."


def check_groups(
    given: Mapping[str, Any], groups: Iterable[str], files: Sequence[str], words: Sequence[str]
) -> None:
    """Raise a UserError for a value of a key that contains options; the parser takes any."""
    for key in groups:
        value = given.get(key, {})
        if not (isinstance(value, dict) or (isinstance(value, str) and Path(value).is_file())):
            where = locate([key], files, words)
            raise UserError(f"{where}`{key}` takes options, not {value!r}: write {key}.NAME.")


def sentence_behind(error: BaseException) -> str | None:
    """Return the message of a constructor's exception, which jsonargparse wraps in a ValueError.

    None for an exception that is no mistake of the user.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, UserError | MisconfigurationException | ImportError):
            return " ".join(str(cause).split())
        cause = cause.__cause__
    return None


def raised_by_lightning(error: Exception) -> bool:
    """Return whether Lightning's own code raised an error: before a run it checks the options."""
    return "lightning" in Path(traceback.extract_tb(error.__traceback__)[-1].filename).parts


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


def _leaves(above: str, value: Any) -> Iterator[str]:
    """Yield the dotted names of everything but mappings."""
    if not isinstance(value, dict):
        yield above
        return
    for key, below in value.items():
        yield from _leaves(f"{above}.{key}", below)


def _unknown(option: str, known: set[str]) -> str:
    """Name the first wrong part of a dotted option, and the nearest valid one."""
    prefix = ""
    for part in option.split("."):
        siblings = {name[len(prefix) :].split(".")[0] for name in known if name.startswith(prefix)}
        if part not in siblings:
            break
        prefix += f"{part}."
    close = suggestion(part, siblings - {""}).replace("`", f"`--{prefix}", 1)
    return f"there is no option `--{option}`{close or '; see `fit --help`.'}"
