"""Read a file of ``experiments/sweep/`` and plan its runs."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel, ValidationError

from amif_lightning.cli.config_files import fault, load_config, read_config, suggestion
from amif_lightning.errors import UserError

After = Literal["test", "validate", "nothing"]
#: Variables with an option of ``sweep``, and their defaults.
OPTIONS: dict[str, str | None] = {
    "size": "tiny",
    "protocol": "clean",
    "root": "",
    "split": "",
    "init_from": "",
}


class RunTemplate(BaseModel, extra="forbid"):
    """One run of a comparison, or one for each variant. Texts may contain ``{variables}``.

    A configuration or option with an empty variable is left out; a name loses only the part in
    [brackets] with that variable.

    Attributes:
        name: The experiment's name, a folder below ``--runs``.
        config: Configuration files, later ones win: paths below ``experiments/``, without ending.
        variants: Words, split as by a shell: the run is repeated for each as ``{variant}``.
            Overlays joined by ``-`` are one variant; a configuration with ``{part}`` is repeated
            for each of them. None: one run.
        options: Further options of ``fit`` and ``test``; lists and mappings are passed as JSON.
        protocol: The protocol of the data module; empty: ``clean``.
        split: The released split to use as the test set; empty: ``test``.
        after: The run that this one starts from: its ``best.ckpt`` with the same seed.
        weights: The run whose ``best.ckpt`` is tested; nothing is trained.
        then: The command after ``fit``. A run with ``nothing`` is skipped once all runs that start
            from it are finished.
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


class SweepFile(BaseModel, extra="forbid"):
    """A comparison; ``--set`` or dedicated options (:data:`OPTIONS`) override variables."""

    variables: dict[str, str | int | None] = {}  # defaults; null: required
    where: dict[str, dict[str, dict[str, str]]] = {}  # other defaults by variable and value
    runs: list[RunTemplate]  # each after those that it starts from
    report: str = ""  # the run to report; empty: all below --runs; only if something is tested
    baselines: list[str] = []  # the runs to compare others with


@dataclass(frozen=True)
class PlannedRun:
    """One run with its variables filled in; ``words`` are its configurations and options."""

    name: str
    protocol: str
    split: str
    words: tuple[str, ...]
    after: PlannedRun | None
    weights: PlannedRun | None
    then: After


@dataclass(frozen=True)
class Plan:
    """A sweep with its variables filled in; ``report`` and ``baselines`` as in its file."""

    runs: tuple[PlannedRun, ...]
    report: str
    baselines: tuple[str, ...]


def plan(path: Path, given: Mapping[str, str]) -> Plan:
    """Read a file and fill in its variables; ``given`` are values by lower-case name.

    Raises:
        UserError: If the file is wrong, a variable is unknown or not set, a configuration does not
            exist, or a run starts from one that is not before it.
    """
    try:
        sweep = SweepFile.model_validate(load_config(str(path)))
    except ValidationError as error:
        raise UserError(f"{path}: {fault(error)} (docs/cli.md lists the keys).") from error
    values = _values(path, sweep, given)
    runs: dict[str, PlannedRun] = {}
    for template in sweep.runs:
        cases = [values]
        if template.variants is not None:
            variants = shlex.split(_filled(template.variants, values) or "")
            cases = [values | {"variant": variant} for variant in variants]
        for local in cases:
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


def _filled(value: Any, values: Mapping[str, str]) -> Any:
    """Fill in the variables of all texts in a value; a text with an empty one becomes None."""
    if isinstance(value, list):
        return [_filled(one, values) for one in value]
    if isinstance(value, dict):
        return {key: _filled(one, values) for key, one in value.items()}
    if not isinstance(value, str):
        return value
    for name in _VARIABLE.findall(value):
        if name not in values:
            raise UserError(f"`{value}` names no variable of the sweep{suggestion(name, values)}.")
        if not values[name]:
            return None
    return _VARIABLE.sub(lambda found: values[found[1]], value)


def _named(text: str, values: Mapping[str, str]) -> str:
    """Fill in a name; a part in brackets with an empty variable is left out."""
    kept = re.sub(r"\[([^\]]*)\]", lambda found: _filled(found[1], values) or "", text)
    return _VARIABLE.sub(lambda found: values.get(found[1], ""), kept)


def _planned(
    path: Path, template: RunTemplate, values: dict[str, str], earlier: Mapping[str, PlannedRun]
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
        filled = _filled(value, values)
        if isinstance(value, str) and not filled:
            continue
        text = filled if isinstance(filled, str) else json.dumps(filled)
        words += [f"--{_named(key, values)}", text]
    starts: dict[str, PlannedRun | None] = {}
    for key, text in (("after", template.after), ("weights", template.weights)):
        name = _named(text, values)
        if name and name not in earlier:
            raise UserError(
                f"{path}: `{key}: {name}` names no earlier run{suggestion(name, earlier)}."
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
