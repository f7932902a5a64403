"""Values of single samples of a split, gathered exactly from any number of processes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric


class Rows:
    """Named values (N, ...) of N samples, sorted by position.

    No dataclass and no mapping: torchmetrics would make scalars of tensors with one entry.
    """

    def __init__(self, values: dict[str, Tensor]) -> None:
        self.values = values

    def __len__(self) -> int:
        return min(map(len, self.values.values()))

    def __getitem__(self, name: str) -> Tensor:
        """(N, ...) on the CPU."""
        return self.values[name].cpu()


class GatheredRows(Metric):
    """Keeps named values of every sample of a split.

    A sample that a sampler repeated to fill a shard is kept once.

    Args:
        names: Names of the values; `position`, which identifies a sample, is always kept.
    """

    full_state_update = False

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        self.names = ("position", *names)
        for name in self.names:
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def update(self, **values: Any) -> None:
        """Keep a batch: a tensor (B, ...) for every name; others are left out."""
        for name in self.names:
            getattr(self, name).append(values[name].detach())

    def compute(self) -> Any:
        """All :class:`Rows`, each once; none where nothing was kept."""
        joined = {name: _joined(getattr(self, name)) for name in self.names}
        keys = joined["position"]
        if not len(keys):
            return Rows(joined)
        order = keys.argsort(stable=True)
        first = torch.ones_like(keys, dtype=torch.bool)
        first[1:] = keys[order][1:] != keys[order][:-1]
        return Rows({name: values[order[first]] for name, values in joined.items()})


class SplitFeatures:
    """Features of N studies, in the order of their places in the split.

    Attributes:
        position: (N,) long, place of each study in its split, ascending, each once.
        image: (N, D) of view 1, of unit norm.
        text: (N, D) of the report, of unit norm.
        relevance: (N,) long, equal where two studies are relevant to each other.
        study: (N,) long identity of the study.
        text_id: (N,) long identity of the normalised text.
        teacher_image: (N, T) the teacher's features of view 1; None without a teacher.
        teacher_text: (N, T) the teacher's features of the report; None without a teacher.
    """

    position: Tensor
    image: Tensor
    text: Tensor
    relevance: Tensor
    study: Tensor
    text_id: Tensor
    teacher_image: Tensor | None = None
    teacher_text: Tensor | None = None

    def __init__(self, **features: Tensor | None) -> None:
        vars(self).update(features)

    def __len__(self) -> int:
        return len(self.position)


class StudyFeatures(GatheredRows):
    """Keeps the features of every study of a split.

    A search ranks all studies, so its scores cannot be summed over shards: the states are the
    features themselves.

    Args:
        teacher: Whether a teacher's features are kept too.
    """

    def __init__(self, teacher: bool = False) -> None:
        taught = ("teacher_image", "teacher_text") if teacher else ()
        super().__init__(("image", "text", "relevance", "study", "text_id", *taught))

    def update(self, **features: Tensor | None) -> None:
        """Keep the attributes of :class:`SplitFeatures`, (B, ...) each, in single precision."""
        values = {name: value for name, value in features.items() if value is not None}
        super().update(**{n: v.float() if v.is_floating_point() else v for n, v in values.items()})

    def compute(self) -> SplitFeatures:
        """All studies, each once, in the split's order."""
        return SplitFeatures(**super().compute().values)


def _joined(parts: list[Tensor] | Tensor) -> Tensor:
    # After a synchronisation torchmetrics leaves one tensor in place of the list.
    if isinstance(parts, Tensor):
        return parts
    return torch.cat(parts) if parts else torch.zeros(0)
