"""Compare checkpoints with the current model and data."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from amif_lightning.answer_space import AnswerSpace
from amif_lightning.errors import UserError

#: Key of a selection: data sets whose images were left out, comma-separated.
HELD_OUT = "held_out"
#: The stages, as errors name them; only a checkpoint of the second has an answer decoder.
PRETRAINING, ANSWERING = "pre-training", "answering"


@dataclass(frozen=True, slots=True)
class Origin:
    """Facts about the earlier runs that a run started from, stored in its checkpoints."""

    seconds: float | None = None  # wall-clock training time of all earlier runs
    warnings: tuple[str, ...] = ()  # sentences that every output of the run repeats

    def state(self) -> dict[str, Any]:
        """Convert to plain types for a checkpoint."""
        return {**asdict(self), "warnings": list(self.warnings)}


def origin_of(checkpoint: Mapping[str, Any]) -> Origin | None:
    """Return the origin of a checkpoint; None if its run started from scratch."""
    state = checkpoint.get("origin")
    return None if state is None else Origin(state["seconds"], tuple(state["warnings"]))


def trained_seconds(checkpoint: Mapping[str, Any]) -> float | None:
    """Return the seconds of training with earlier runs; None if `ResultWriter` stored none."""
    own = checkpoint.get("callbacks", {}).get("ResultWriter", {}).get("train_seconds")
    before = origin_of(checkpoint)
    if own is None or (before is not None and before.seconds is None):
        return None
    return float(own) + (0.0 if before is None or before.seconds is None else before.seconds)


def readable_by_lightning(checkpoint: Mapping[str, Any]) -> io.BytesIO:
    """Return a copy in memory of what a task needs, for ``load_from_checkpoint``."""
    copy = io.BytesIO()
    torch.save({k: v for k, v in checkpoint.items() if k != "optimizer_states"}, copy)
    copy.seek(0)
    return copy


def check_stage(checkpoint: Mapping[str, Any], stage: str, source: object) -> None:
    """Raise a UserError if a checkpoint belongs to the other stage than ``stage``."""
    names = checkpoint.get("state_dict", ())
    stored = ANSWERING if any(name.startswith("decoder.") for name in names) else PRETRAINING
    if not names or stored == stage:
        return
    advice = "give a checkpoint that `fit` of this stage wrote, or the other stage's --config"
    if stage == ANSWERING:
        advice = (
            f"fine-tune it first (`fit` with --model.init_args.init_from {source}) and give that "
            "run's best.ckpt"
        )
    raise UserError(
        f"{source} is a checkpoint of the {stored} stage and this is the {stage} stage: {advice}."
    )


def tokenizer_of(checkpoint: Mapping[str, Any]) -> str | None:
    """Return the JSON text of the tokenizer of the weights; None if unknown."""
    text: str | None = checkpoint.get("tokenizer")
    if text is None and "answer_space" in checkpoint:  # old files
        text = checkpoint["answer_space"]["tokenizer"]
    return text


def check_activation(checkpoint: Mapping[str, Any], present: bool | None) -> None:
    """Raise if image tower and weights differ in their activation (QuickGELU); None is unknown."""
    stored = checkpoint.get("hyper_parameters", {}).get("vision_quick_gelu")
    if stored is not None and present is not None and stored != present:
        raise UserError(
            f"The checkpoint's image tower has vision_quick_gelu {str(stored).lower()} and this "
            f"one {str(present).lower()}: give --model.init_args.vision_quick_gelu "
            f"{str(stored).lower()}."
        )


def seen_elsewhere(stored: AnswerSpace, present: AnswerSpace) -> str | None:
    """Return a warning if training on another data set may have included images of this one.

    None if the data sets are equal, one is unknown, or the images were held out.
    """
    theirs, ours = by_dataset(stored.selection), by_dataset(present.selection)
    left_out = set(str(stored.selection.get(HELD_OUT, "")).split(", "))
    if theirs:  # or every part of the mixture held it out
        left_out |= set.intersection(
            *(set(str(part.get(HELD_OUT, "")).split(", ")) for part in theirs.values())
        )
    unknown = [name for name in ours if name not in theirs and name not in left_out]
    if not theirs or not unknown:
        return None
    return (
        f"The weights were trained on {' and '.join(theirs)} and images of "
        f"{' and '.join(unknown)} were not held out: images in both data sets may have been seen "
        "in training (set held_out in pre-training)."
    )


def by_dataset(selection: Mapping[str, str | int | float | bool]) -> dict[str, dict[str, Any]]:
    """Return the options that select rows, by data set; empty if unknown.

    A mixture stores those of its parts as ``<data set>.<option>`` (data/loading/mixture.py).
    """
    parts: dict[str, dict[str, Any]] = {}
    for key, value in selection.items():
        name, dot, option = key.partition(".")
        if dot:
            parts.setdefault(name, {})[option] = value
    if not parts and "dataset" in selection:
        parts[str(selection["dataset"])] = dict(selection)
    return parts


def check_selection(stored: AnswerSpace, present: AnswerSpace, *, same_protocol: bool) -> None:
    """Check that no training or validation row of the checkpoint can be scored as unseen.

    Another data set is allowed (transfer), and an unknown selection is not compared. With
    ``same_protocol`` the protocols must be equal for other data sets too.

    Raises:
        UserError: If the protocol or an option that selects rows of the same data set differs.
    """
    theirs, ours = by_dataset(stored.selection), by_dataset(present.selection)
    shared = [name for name in ours if name in theirs]
    # Pre-training has no candidates, so no answers can have leaked through the protocol.
    answers = same_protocol or bool(stored.candidates)
    if answers and (same_protocol or shared) and stored.protocol != present.protocol:
        raise UserError(
            f"The checkpoint was trained under the protocol {stored.protocol!r} and the data "
            f"module uses {present.protocol!r}: give --data.init_args.protocol {stored.protocol}."
        )
    for dataset in shared:
        old, new = theirs[dataset], ours[dataset]
        place = f"its part {dataset} " if len(ours) > 1 else "--data.init_args."
        of = f" of {dataset}" if len(theirs) + len(ours) > 2 else ""
        for name in sorted((old.keys() | new.keys()) - {HELD_OUT}):
            if old.get(name) != new.get(name):
                raise UserError(
                    f"The checkpoint was trained with {name} {old.get(name)}{of} and the data "
                    f"module has {name} {new.get(name)}, so rows of its training or validation "
                    f"could be scored: give {place}{name} {old.get(name)}."
                )


def load_matching(
    module: nn.Module, given: Mapping[str, Tensor], path: object
) -> tuple[list[str], str]:
    """Load the tensors that a module has; return its missing keys, and a summary.

    Raises:
        UserError: If a tensor of the checkpoint at ``path`` has another shape.
    """
    own = module.state_dict()
    wrong = [key for key in given if key in own and own[key].shape != given[key].shape]
    if wrong:
        raise UserError(
            f"{path} holds {wrong[0]} of shape {tuple(given[wrong[0]].shape)}, this model has "
            f"{tuple(own[wrong[0]].shape)}: start from a checkpoint of the same size."
        )
    missing, unused = module.load_state_dict(given, strict=False)
    return missing, (
        f"{len(own) - len(missing)} tensors loaded, {len(missing)} missing ({_groups(missing)}), "
        f"{len(unused)} unused ({_groups(unused)})"
    )


def _groups(keys: list[str]) -> str:
    """Return the modules of state keys, or `none`."""
    return ", ".join(sorted({key.split(".")[0] for key in keys})) or "none"
