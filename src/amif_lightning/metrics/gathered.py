"""Per-sample values of a split, gathered exactly from any number of processes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric


class Rows:
    """Named values (N, ...) of N samples, sorted by position.

    torchmetrics would turn one-entry tensors of a dataclass or mapping into scalars.
    """

    def __init__(self, values: dict[str, Tensor]) -> None:
        self.values = values

    def __len__(self) -> int:
        return min(map(len, self.values.values()))

    def __getitem__(self, name: str) -> Tensor:
        """Return the values (N, ...) on the CPU."""
        return self.values[name].cpu()


class GatheredRows(Metric):
    """Keep named values of every sample of a split, once also if a sampler repeats a sample.

    ``position`` identifies a sample and is added to ``names``.
    """

    full_state_update = False

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        self.names = ("position", *names)
        for name in self.names:
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def update(self, **values: Any) -> None:
        """Keep a batch: a tensor (B, ...) for every name; other names are ignored."""
        for name in self.names:
            getattr(self, name).append(values[name].detach())

    def compute(self) -> Any:
        """Return all :class:`Rows`, each once; no rows before the first update."""
        joined = {name: _joined(getattr(self, name)) for name in self.names}
        keys = joined["position"]
        if not len(keys):
            return Rows(joined)
        order = keys.argsort(stable=True)
        first = torch.ones_like(keys, dtype=torch.bool)
        first[1:] = keys[order][1:] != keys[order][:-1]
        return Rows({name: values[order[first]] for name, values in joined.items()})


class SplitFeatures:
    """Features of N studies in split order."""

    position: Tensor  # (N,) long, position of each study in its split, ascending
    image: Tensor  # (N, D) unit features of view 1
    text: Tensor  # (N, D) unit features of the report
    relevance: Tensor  # (N,) long, equal for studies that are relevant to each other
    study: Tensor  # (N,) long identity of the study
    text_id: Tensor  # (N,) long identity of the normalised text
    teacher_image: Tensor | None = None  # (N, T) the teacher's features of view 1
    teacher_text: Tensor | None = None  # (N, T) the teacher's features of the report

    def __init__(self, **features: Tensor | None) -> None:
        vars(self).update(features)

    def __len__(self) -> int:
        return len(self.position)


class StudyFeatures(GatheredRows):
    """Keep the features of every study of a split, with ``teacher`` the teacher's too.

    Retrieval ranks all studies, so scores cannot be summed over shards.
    """

    def __init__(self, teacher: bool = False) -> None:
        optional = ("teacher_image", "teacher_text") if teacher else ()
        super().__init__(("image", "text", "relevance", "study", "text_id", *optional))

    def update(self, **features: Tensor | None) -> None:
        """Keep the attributes of :class:`SplitFeatures`, (B, ...) each, in float32."""
        values = {name: value for name, value in features.items() if value is not None}
        super().update(**{n: v.float() if v.is_floating_point() else v for n, v in values.items()})

    def compute(self) -> SplitFeatures:
        """Return all studies, each once, in split order."""
        return SplitFeatures(**super().compute().values)


def _joined(parts: list[Tensor] | Tensor) -> Tensor:
    # torchmetrics replaces the list by one tensor after a synchronisation.
    if isinstance(parts, Tensor):
        return parts
    return torch.cat(parts) if parts else torch.zeros(0)
