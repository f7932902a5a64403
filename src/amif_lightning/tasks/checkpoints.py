"""Reading checkpoints, and what must be equal between one and the present set-up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from amif_lightning.batch import AnswerSpace
from amif_lightning.errors import UserError

#: Key of a selection that names the data sets whose pictures were left out, comma-separated.
HELD_OUT = "held_out"


@dataclass(frozen=True, slots=True)
class Origin:
    """What a run that started from a checkpoint owes to it; its own checkpoints carry it on.

    Attributes:
        seconds: Wall-clock seconds that the checkpoint, and what it started from, were trained;
            None where it does not say.
        warnings: Sentences that every output of the run repeats.
    """

    seconds: float | None = None
    warnings: tuple[str, ...] = ()

    def state(self) -> dict[str, Any]:
        """As plain types, for a checkpoint."""
        return {**asdict(self), "warnings": list(self.warnings)}


def origin_of(checkpoint: Mapping[str, Any]) -> Origin | None:
    """What the weights of a checkpoint started from; None where they started anew."""
    state = checkpoint.get("origin")
    return None if state is None else Origin(state["seconds"], tuple(state["warnings"]))


def trained_seconds(checkpoint: Mapping[str, Any]) -> float | None:
    """Seconds of training behind a checkpoint, those before its own run included.

    None where the file does not say (`ResultWriter` counts them).
    """
    own = checkpoint.get("callbacks", {}).get("ResultWriter", {}).get("train_seconds")
    before = origin_of(checkpoint)
    if own is None or (before is not None and before.seconds is None):
        return None
    return float(own) + (0.0 if before is None or before.seconds is None else before.seconds)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint without running code from it.

    Raises:
        UserError: If it does not exist, is truncated, or holds anything but plain types.
    """
    if not path.is_file():
        raise UserError(f"The checkpoint {path} does not exist: check the path.")
    try:
        # Mapped, since most callers want the plain types only: tensors are read when touched.
        loaded: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # torch raises whatever its unpickler and zip reader raise
        raise UserError(
            f"The checkpoint {path} cannot be read ({type(error).__name__}): it is damaged or not "
            "a checkpoint of this suite; train again or copy it again."
        ) from error
    if "state_dict" not in loaded:
        raise UserError(f"{path} holds no state_dict: give a checkpoint that `fit` wrote.")
    return loaded


def tokenizer_of(checkpoint: Mapping[str, Any]) -> str | None:
    """The JSON text of the tokenizer that the weights were trained with, None where unknown."""
    text: str | None = checkpoint.get("tokenizer")
    if text is None and "answer_space" in checkpoint:  # where older files hold it
        text = checkpoint["answer_space"]["tokenizer"]
    return text


def check_activation(checkpoint: Mapping[str, Any], present: bool | None) -> None:
    """The image tower must have the activation that its weights were trained with.

    Args:
        checkpoint: The checkpoint; one that does not say is not compared.
        present: Whether the present tower uses QuickGELU; None where it has no such choice.

    Raises:
        UserError: If the two differ.
    """
    stored = checkpoint.get("hyper_parameters", {}).get("vision_quick_gelu")
    if stored is not None and present is not None and stored != present:
        raise UserError(
            f"The checkpoint's image tower has vision_quick_gelu {str(stored).lower()} and this "
            f"one {str(present).lower()}: give --model.init_args.vision_quick_gelu "
            f"{str(stored).lower()}."
        )


def seen_elsewhere(stored: AnswerSpace, present: AnswerSpace) -> str | None:
    """Whether weights may have seen pictures of a data set that they were not trained on.

    Data sets take pictures from the same archives; what pre-training left out is stored.

    Args:
        stored: What the weights were trained with.
        present: What the data module gives.

    Returns:
        A sentence; None where the data sets are the same, one is unknown, or its pictures were
        left out.
    """
    theirs, ours = stored.selection.get("dataset"), present.selection.get("dataset")
    left_out = str(stored.selection.get(HELD_OUT, "")).split(", ")
    if not theirs or not ours or theirs == ours or ours in left_out:
        return None
    return (
        f"The weights were trained on {theirs}, and nothing says that pictures of {ours} were left "
        f"out: those that both data sets hold may have been seen (pre-training's held_out)."
    )


def check_selection(stored: AnswerSpace, present: AnswerSpace, *, same_protocol: bool) -> None:
    """Rows that trained or chose the weights must not be scored as unseen ones.

    Another data set is allowed (transfer), and an unknown selection is not compared.

    Args:
        stored: What the weights were trained with.
        present: What the data module gives.
        same_protocol: Whether the protocols must agree for other data sets too.

    Raises:
        UserError: If the protocol differs, or any option that selects rows of the same data set.
    """
    theirs, ours = stored.selection, present.selection
    same_data = bool(theirs) and theirs.get("dataset") == ours.get("dataset")
    # What pre-training leaves has no candidates, so nothing of a protocol can have leaked into it.
    answers = same_protocol or bool(stored.candidates)
    if answers and (same_protocol or same_data) and stored.protocol != present.protocol:
        raise UserError(
            f"The checkpoint was trained under the protocol {stored.protocol!r} and the data "
            f"module uses {present.protocol!r}: give --data.init_args.protocol {stored.protocol}."
        )
    if not same_data:
        return
    for name in sorted((theirs.keys() | ours.keys()) - {HELD_OUT}):
        if theirs.get(name) != ours.get(name):
            raise UserError(
                f"The checkpoint was trained with {name} {theirs.get(name)} and the data module "
                f"has {name} {ours.get(name)}, so rows that trained or chose it could be scored: "
                f"give --data.init_args.{name} {theirs.get(name)}."
            )
