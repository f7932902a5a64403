"""Gather features from all processes and keep their gradient."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable


def world() -> tuple[int, int]:
    """Return this process's rank and the number of processes; (0, 1) without a process group."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


class _Gather(torch.autograd.Function):
    # torch has deprecated its own differentiable gathers (dist.nn.functional).

    @staticmethod
    def forward(ctx: Any, local: Tensor) -> Tensor:
        parts = [torch.empty_like(local) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, local.contiguous())
        return torch.cat(parts)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        # Every process computes the whole loss, so each has a gradient for these rows. DDP later
        # averages their sum, which gives the gradient of the one loss. The copy is needed because
        # `all_reduce` writes in place and autograd may share the tensor.
        gradient = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(gradient)
        return gradient.chunk(dist.get_world_size())[dist.get_rank()]


def gather(local: Tensor) -> Tensor:
    """Concatenate the rows (B, ...) of all processes in rank order: (G, ...), G = B x processes.

    All shapes must be equal. Each process receives the gradient of its own rows. If every process
    computes the whole loss from gathered rows, DDP's average equals the gradient of one process
    with the whole batch. A single process gets ``local`` itself.
    """
    if world()[1] == 1:
        return local
    gathered: Tensor = _Gather.apply(local)
    return gathered


def gather_padded(local: Tensor, length: int) -> Tensor:
    """Pad sequences (B, L, ...) with 0 to a common length (see :func:`longest`) and gather them."""
    unpadded = [0, 0] * (local.ndim - 2)
    return gather(F.pad(local, [*unpadded, 0, length - local.shape[1]]))


def longest(length: int, device: torch.device) -> int:
    """Return the largest length of all processes; they communicate on ``device``."""
    if world()[1] == 1:
        return length
    value = torch.tensor(length, device=device)
    dist.all_reduce(value, op=dist.ReduceOp.MAX)
    return int(value)
