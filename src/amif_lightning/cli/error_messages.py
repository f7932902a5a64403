"""What a parser's or torch's error means to the user, in one sentence.

jsonargparse reports a misspelt key as a dozen lines about union types, after the full usage. The
useful part is inside; the patterns below take it out. Wordings belong to the jsonargparse release
(see setup.cfg for the tested range): one that matches no pattern is printed as it came.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from pathlib import Path

from amif_lightning.cli.config_files import locate, suggestion
from amif_lightning.errors import UserError

_UNRECOGNISED = re.compile(r"unrecognized arguments: (?P<words>.+)")
_NOT_ACCEPTED = re.compile(r"(?:does not accept option|Option) '(?P<key>[^']+)'")
_IN_CLASS = re.compile(r"Problem with given class_path '(?P<path>[^']+)'")
_WRONG_CLASS = re.compile(r"Expected a dot import path string: (?P<name>\S+)")
_NO_CLASS = re.compile(r"instantiatable class|Not a valid subclass of|not correspond to a sub")
_PARSER_KEY = re.compile(r'Parser key "(?P<key>[^"]+)"')
_EXPECTED = re.compile(
    r"Expected an? (?!path but )(?P<type>.+?)(?:\. Got value: (?P<value>.*))?$", re.MULTILINE
)
_GIVEN = re.compile(r"Given value: (?P<value>.+)")
_MISSING = re.compile(r"the following arguments are required: (?P<names>.+)")


def parser_error(
    message: str, options: Iterable[str], bases: Mapping[str, type], configs: Sequence[str] = ()
) -> str:
    """Turn a jsonargparse error into one sentence.

    Args:
        message: The text of the error.
        options: All dotted names that the parser accepts, such as ``trainer.max_epochs``.
        bases: Base class per key that takes a class name: ``model``, ``data``.
        configs: The config files of the command line, searched for the misspelt key.

    Returns:
        A sentence that names the option, where it stands and the nearest valid name.
    """
    known = set(options) | {
        f"{key}.{prefix}{name}"
        for key, base in bases.items()
        for cls in subclasses(base)
        for name in arguments(cls)
        for prefix in ("", "init_args.")
    }
    if found := _MISSING.search(message):
        names = [name.split(".")[-1] for name in found["names"].split(", ")]
        return (
            f"{' and '.join(sorted(names))} missing: give --config with an experiment, such as "
            "experiments/vqa/phantom.yaml."
        )
    if found := _UNRECOGNISED.search(message):
        word = found["words"].split()[0]
        if not word.startswith("-"):
            return f"`{word}` belongs to no option: write `--name value`."
        return _unknown(word.partition("=")[0].lstrip("-"), known)
    key = found["key"] if (found := _PARSER_KEY.search(message)) else ""
    if found := _WRONG_CLASS.search(message):
        return _wrong_class(key, found["name"], bases, configs)
    if key in bases and _NO_CLASS.search(message):
        return (
            f"`{key}` names no class that can be built: give the class first, as in `--{key} CLASS "
            f"--{key}.option value`{suggestion('', _names(bases[key]))}"
        )
    if found := _NOT_ACCEPTED.search(message):
        # A data class may take others: the last one that is named holds the wrong key.
        if inside := _IN_CLASS.findall(message):
            return _unknown_argument(inside[-1], found["key"], key, configs)
        return _unknown(found["key"], known, configs)
    return _wrong_value(message, key, configs) or " ".join(message.split())


def subclasses(base: type) -> list[type]:
    """``base`` and all classes derived from it that can be built, in order of definition."""
    children: list[type] = base.__subclasses__()
    below = [cls for child in children for cls in subclasses(child)]
    return [*([] if inspect.isabstract(base) else [base]), *below]


def arguments(cls: type) -> list[str]:
    """The names of a class's constructor arguments, those passed on by ``**kwargs`` included."""
    names: list[str] = []
    for parent in inspect.getmro(cls):
        if "__init__" not in vars(parent):
            continue
        parameters = inspect.signature(parent.__init__).parameters.values()  # type: ignore[misc]  # the class's own constructor, whatever its signature
        names += [p.name for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
        if all(p.kind is not p.VAR_KEYWORD for p in parameters):
            break
    return [name for name in dict.fromkeys(names) if name != "self"]


def import_class(path: str) -> type:
    """The class behind a full ``class_path``."""
    module, _, name = path.rpartition(".")
    found = getattr(import_module(module), name)
    if not isinstance(found, type):
        raise TypeError(f"{path} is not a class")
    return found


def user_error_behind(error: BaseException) -> UserError | None:
    """The sentence that a constructor raised, which jsonargparse buries in a ValueError."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, UserError):
        cause = cause.__cause__
    return cause


def state_mismatch(message: str, checkpoint: str | None) -> str | None:
    """Turn torch's report of a checkpoint that does not fit the model into one sentence.

    Args:
        message: Text of the error that loading raised.
        checkpoint: The file that was loaded.

    Returns:
        The sentence, or None if the error is about something else.
    """
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
    elif message.startswith("loaded state dict"):  # torch.optim's words
        fault = "its optimizer state belongs to other parameters"
    else:
        return None
    config = Path(checkpoint or "").parent / "config.yaml"
    action = (
        f"use --config {config}"
        if checkpoint and config.is_file()
        else "use the --config of the run that saved it"
    )
    return f"the checkpoint {checkpoint} does not fit the model: {fault}; {action}."


def _unknown(option: str, known: set[str], configs: Sequence[str] | None = None) -> str:
    """Name the first part of a dotted option that is wrong, and the nearest right one.

    ``configs`` are searched for it; None says that the option stands on the command line.
    """
    prefix = ""
    for part in option.split("."):
        siblings = {name[len(prefix) :].split(".")[0] for name in known if name.startswith(prefix)}
        if part not in siblings:
            break
        prefix += f"{part}."
    siblings.discard("")
    dashes = "--" if configs is None else ""
    close = suggestion(part, siblings).replace("`", f"`{dashes}{prefix}", 1)
    return (
        f"{locate(part, configs or ())}there is no option `{dashes}{option}`"
        f"{close or '; see `fit --help`.'}"
    )


def _unknown_argument(class_path: str, option: str, key: str, configs: Sequence[str]) -> str:
    cls = import_class(class_path)
    name, _, below = option.partition(".")
    where = locate(name, configs)
    if name == "class_path" or below:  # a misspelt or forgotten `init_args`
        return (
            f"{where}under `{key}:` only `class_path:` and `init_args:` may stand; put the "
            f"arguments of {cls.__name__} below `init_args:`."
        )
    # One that the class refuses by hand stands in its signature through `**kwargs`.
    known = [name for name in arguments(cls) if name != option]
    close = suggestion(option, known, show=40)
    return f"{where}{key} {cls.__name__} has no option `{option}`{close}"


def _wrong_class(key: str, name: str, bases: Mapping[str, type], configs: Sequence[str]) -> str:
    where = locate(name, configs)
    if key not in bases:
        return (
            f"{where}{key}: there is no class `{name}`; give its full path, such as package.Class."
        )
    return f"{where}there is no {key} class `{name}`{suggestion(name, _names(bases[key]))}"


def _names(base: type) -> list[str]:
    """Short names of the classes a configuration may give, the base itself left out."""
    return [cls.__name__ for cls in subclasses(base) if cls is not base]


def _wrong_value(message: str, key: str, configs: Sequence[str]) -> str | None:
    """``trainer.max_epochs expects int or null, not 'x'``, from the nested list of failed types."""
    keys = [found["key"] for found in _PARSER_KEY.finditer(message)]
    expected = [(f["type"], f["value"]) for f in _EXPECTED.finditer(message)]
    if not keys or not expected:
        return None
    if len(keys) > 1:  # the last `Expected a NoneType` speaks of the class, not of its argument
        expected = expected[:-1] or expected
    given = [found["value"] for found in _GIVEN.finditer(message)]
    value = next((v for _, v in expected if v), given[0] if given else "")
    types = " or ".join(dict.fromkeys(_type_name(name) for name, _ in expected))
    where = locate(keys[-1].split(".")[-1], configs)
    return f"{where}{'.'.join(keys)} expects {types}, not {value!r}."


def _type_name(text: str) -> str:
    text = re.sub(r"<class '(?:.*\.)?(\w+)'>", r"\1", text)
    text = re.sub(r"(?:typing\.)?Literal\[(.*)\]", r"one of \1", text)
    return "null" if text == "NoneType" else text
