"""Values of single samples, gathered exactly from any number of processes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics import Metric


class Rows:
    """Named values of N samples, sorted by their key.

    No dataclass and no mapping: torchmetrics would make scalars of tensors with one entry.

    Attributes:
        values: (N, ...) for every name.
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
        names: Names of the values.
        key: The value that identifies a sample; rows are sorted by it.
    """

    full_state_update = False

    def __init__(self, names: Sequence[str], key: str = "position") -> None:
        super().__init__()
        self.key, self.names = key, tuple(dict.fromkeys((key, *names)))
        for name in self.names:
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def update(self, **values: Tensor) -> None:
        """Keep a batch.

        Args:
            **values: (B, ...) for every name.
        """
        for name in self.names:
            getattr(self, name).append(values[name].detach())

    def compute(self) -> Rows:
        """All rows, each once; none where nothing was kept."""
        joined = {name: _joined(getattr(self, name)) for name in self.names}
        keys = joined[self.key]
        if not len(keys):
            return Rows(joined)
        order = keys.argsort(stable=True)
        first = torch.ones(len(keys), dtype=torch.bool, device=keys.device)
        first[1:] = keys[order][1:] != keys[order][:-1]
        kept = order[first]
        return Rows({name: values[kept] for name, values in joined.items()})


def _joined(parts: list[Tensor] | Tensor) -> Tensor:
    # After a synchronisation torchmetrics leaves one tensor in place of the list.
    if isinstance(parts, Tensor):
        return parts
    return torch.cat(parts) if parts else torch.zeros(0)
