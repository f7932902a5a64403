"""What a file of ``experiments/sweep/`` may say, and the runs that it means."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from amif_lightning.cli.config_files import fault, read_config, suggestion
from amif_lightning.errors import UserError

After = Literal["test", "validate", "nothing"]
#: Variables that ``sweep`` has an option for, with their defaults.
OPTIONS: dict[str, str | None] = {
    "size": "tiny",
    "protocol": "clean",
    "root": "",
    "split": "",
    "init_from": "",
}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class RunTemplate(_Strict):
    """One run of a comparison, or one for each variant. Texts may hold ``{variables}``.

    A configuration or an option is left out where a variable in it is empty; in a name, the part
    in [brackets] around that variable is.

    Attributes:
        name: The experiment's name, a folder below ``--runs``.
        config: Configuration files, later ones win: paths below ``experiments/``, without ending.
        variants: Words, as a shell splits them: the run is repeated for each as ``{variant}``.
            Overlays joined by ``-`` are one variant; a configuration with ``{part}`` is repeated
            for each of them. None: one run.
        options: Further options of ``fit`` and ``test``; lists and mappings are given as JSON.
        protocol: The protocol of the data module; empty for its default, ``clean``.
        split: The released split in the role of the test set; empty for the test set.
        after: Name of the run whose ``best.ckpt`` of the same seed this one starts from.
        weights: Name of the run whose ``best.ckpt`` is tested; nothing is trained.
        then: The command that follows ``fit``. A run with ``nothing`` is skipped once all runs
            that start from it have their records.
    """

    name: str
    config: list[str]
    variants: str | None = None
    options: dict[str, Any] = {}
    protocol: str = ""
    split: str = ""
    after: str = ""
    weights: str = ""
    then: str = "test"


class SweepFile(_Strict):
    """A comparison: its runs in order, and its report.

    Attributes:
        variables: Defaults of what ``--set`` gives, and of ``size``, ``protocol``, ``root``,
            ``split`` and ``init_from``, which have options of their own; null: has to be given.
        where: Per variable and value, other defaults that hold there.
        runs: The runs, each after those that it starts from.
        report: Name of the run that the report is about; empty for all below ``--runs``. There is
            no report where nothing is tested.
        baselines: Names of the runs that others are compared with.
    """

    variables: dict[str, str | int | None] = {}
    where: dict[str, dict[str, dict[str, str]]] = {}
    runs: list[RunTemplate]
    report: str = ""
    baselines: list[str] = []


@dataclass(frozen=True)
class PlannedRun:
    """One run with all variables filled in; ``words`` are its configurations and options."""

    name: str
    protocol: str
    split: str
    words: tuple[str, ...]
    after: PlannedRun | None
    weights: PlannedRun | None
    then: After


@dataclass(frozen=True)
class Plan:
    """A sweep with all variables filled in; ``report`` and ``baselines`` as in its file."""

    runs: tuple[PlannedRun, ...]
    report: str
    baselines: tuple[str, ...]


def read_sweep(path: Path) -> SweepFile:
    """Read a file.

    Raises:
        UserError: If it is no such file, or has an unknown key or a value of another type.
    """
    read_config(str(path))
    try:
        return SweepFile.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        raise UserError(f"{path}: {fault(error)} (docs/cli.md lists the keys).") from error


def plan(path: Path, given: Mapping[str, str]) -> Plan:
    """Fill in the variables of a file.

    Args:
        path: The file.
        given: Values by the name of the variable, in small letters.

    Raises:
        UserError: If the file is wrong, a variable is unknown or not set, a configuration does not
            exist, or a run starts from one that is not before it.
    """
    sweep = read_sweep(path)
    values = _values(path, sweep, given)
    runs: dict[str, PlannedRun] = {}
    for template in sweep.runs:
        for variant in [None] if template.variants is None else _words(template.variants, values):
            local = values if variant is None else values | {"variant": variant}
            planned = _planned(path, template, local, runs)
            runs[planned.name] = planned
    names = [_named(name, values) for name in (sweep.report, *sweep.baselines)]
    return Plan(tuple(runs.values()), names[0], tuple(names[1:]))


def _values(path: Path, sweep: SweepFile, given: Mapping[str, str]) -> dict[str, str]:
    known = OPTIONS | {n: None if v is None else str(v) for n, v in sweep.variables.items()}
    for name in given:
        if name not in known:
            raise UserError(f"{path} has no variable `{name}`{suggestion(name, known)}.")
    values = {**known, **given}
    for name, cases in sweep.where.items():
        values |= {k: v for k, v in cases.get(values[name] or "", {}).items() if k not in given}
    for name, value in values.items():
        if not value and known[name] is None:
            value = "FOLDER" if name == "root" else "VALUE"
            option = f"--{name} {value}" if name in OPTIONS else f"--set {name}={value}"
            raise UserError(f"{path} needs {option} (of make: {name.upper()}={value}).")
    filled = {name: value or "" for name, value in values.items()}
    return filled | {"pretrained": "pretrained" if filled.get("init_from") else ""}


_VARIABLE = re.compile(r"\{(\w+)\}")


def _filled(text: str, values: Mapping[str, str]) -> str | None:
    """The text with its variables, None where one of them is empty."""
    for name in _VARIABLE.findall(text):
        if name not in values:
            raise UserError(f"`{text}` names no variable of the sweep{suggestion(name, values)}.")
        if not values[name]:
            return None
    return _VARIABLE.sub(lambda found: values[found[1]], text)


def _filled_value(value: Any, values: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return _filled(value, values)
    if isinstance(value, list):
        return [_filled_value(one, values) for one in value]
    if isinstance(value, dict):
        return {key: _filled_value(one, values) for key, one in value.items()}
    return value


def _named(text: str, values: Mapping[str, str]) -> str:
    """A name: a part in brackets is left out where a variable in it is empty."""
    kept = re.sub(r"\[([^\]]*)\]", lambda found: _filled(found[1], values) or "", text)
    return _VARIABLE.sub(lambda found: values.get(found[1], ""), kept)


def _words(text: str, values: Mapping[str, str]) -> list[str]:
    return shlex.split(_filled(text, values) or "")


def _planned(
    path: Path,
    template: RunTemplate,
    values: dict[str, str],
    earlier: Mapping[str, PlannedRun],
) -> PlannedRun:
    words: list[str] = []
    parts = [part for part in values.get("variant", "").split("-") if part]
    for entry in template.config:
        for part in parts if "{part}" in entry else [""]:
            name = _filled(entry, values | {"part": part})
            if name is not None:
                file = path.parent.parent / f"{name}.yaml"
                read_config(str(file))
                words += ["--config", str(file)]
    protocol, split = (_filled(text, values) or "" for text in (template.protocol, template.split))
    options = {
        **template.options,
        "data.init_args.test_split": split,
        "data.init_args.protocol": protocol,
    }
    for key, value in options.items():
        filled = _filled_value(value, values)
        if isinstance(value, str) and not filled:
            continue
        text = filled if isinstance(filled, str) else json.dumps(filled)
        words += [f"--{_named(key, values)}", text]
    starts: dict[str, PlannedRun | None] = {}
    for key, text in (("after", template.after), ("weights", template.weights)):
        name = _named(text, values)
        if name and name not in earlier:
            raise UserError(
                f"{path}: `{key}: {name}` is no run above it{suggestion(name, earlier)}."
            )
        starts[key] = earlier.get(name)
    then: Any = _named(template.then, values)
    if then not in get_args(After):
        raise UserError(f"{path}: `then` is {then!r}: give one of {', '.join(get_args(After))}.")
    return PlannedRun(
        _named(template.name, values),
        protocol or "clean",
        split or "test",
        tuple(words),
        starts["after"],
        starts["weights"],
        then,
    )
