"""The features of a whole split of studies, gathered exactly from any number of processes."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric


class SplitFeatures:
    """Features of N studies, in the order of their places in the split.

    No dataclass: torchmetrics would go through its fields and make scalars of those with one entry.

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

    def __init__(
        self,
        *,
        position: Tensor,
        image: Tensor,
        text: Tensor,
        relevance: Tensor,
        study: Tensor,
        text_id: Tensor,
        teacher_image: Tensor | None = None,
        teacher_text: Tensor | None = None,
    ) -> None:
        self.position, self.image, self.text = position, image, text
        self.relevance, self.study, self.text_id = relevance, study, text_id
        self.teacher_image, self.teacher_text = teacher_image, teacher_text

    def __len__(self) -> int:
        return len(self.position)


_ALWAYS = ("position", "image", "text", "relevance", "study", "text_id")
_TEACHER = ("teacher_image", "teacher_text")


class StudyFeatures(Metric):
    """Keeps the features of every study of a split.

    A search ranks all studies, so its scores cannot be summed over shards: the states are the
    features themselves. A study that a sampler repeated to fill a shard is kept once.

    Args:
        teacher: Whether a teacher's features are kept too.
    """

    full_state_update = False

    def __init__(self, teacher: bool = False) -> None:
        super().__init__()
        self.names = (*_ALWAYS, *_TEACHER) if teacher else _ALWAYS
        for name in self.names:
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def update(self, **features: Tensor | None) -> None:
        """Keep a batch.

        Args:
            **features: The attributes of :class:`SplitFeatures`, (B, ...) each.
        """
        for name in self.names:
            value = features[name]
            if value is None:
                raise ValueError(f"expected {name} in every batch, for a teacher was announced")
            value = value.detach()
            getattr(self, name).append(value.float() if value.is_floating_point() else value)

    def compute(self) -> SplitFeatures:
        """All studies, each once, in the split's order."""
        joined = {name: _joined(getattr(self, name)) for name in self.names}
        order = joined["position"].argsort(stable=True)
        places = joined["position"][order]
        first = torch.ones_like(places, dtype=torch.bool)
        first[1:] = places[1:] != places[:-1]
        kept = order[first]
        return SplitFeatures(**{name: values[kept] for name, values in joined.items()})


def _joined(parts: list[Tensor] | Tensor) -> Tensor:
    # After a synchronisation torchmetrics leaves one tensor in place of the list.
    return parts if isinstance(parts, Tensor) else torch.cat(parts)
