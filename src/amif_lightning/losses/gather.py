"""Gathering features over all processes without losing their gradient."""

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
    # torch has announced the end of its own differentiable gathers (dist.nn.functional).

    @staticmethod
    def forward(ctx: Any, local: Tensor) -> Tensor:
        parts = [torch.empty_like(local) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, local.contiguous())
        return torch.cat(parts)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        # Every process has computed the whole loss, so each holds a gradient for these rows. Their
        # sum, averaged over processes by DDP afterwards, is the gradient of the one loss.
        # A copy: `all_reduce` writes, and autograd may have handed the same tensor to others too.
        gradient = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(gradient)
        return gradient.chunk(dist.get_world_size())[dist.get_rank()]


def gather(local: Tensor) -> Tensor:
    """Concatenate the rows of all processes, in the order of their ranks.

    The gradient flows back to the process that a row came from. A loss that every process computes
    in whole from gathered rows needs no factor: DDP's average is the gradient of one process with
    the whole batch.

    Args:
        local: (B, ...) this process's rows, of the same shape in all processes.

    Returns:
        (G, ...) with G = B x processes; ``local`` itself where there is one process.
    """
    if world()[1] == 1:
        return local
    gathered: Tensor = _Gather.apply(local)
    return gathered


def gather_padded(local: Tensor, length: int) -> Tensor:
    """Gather sequences of which each process has padded its own to another length.

    Args:
        local: (B, L, ...) this process's sequences.
        length: Common length, at least every process's L (see :func:`longest`).

    Returns:
        (G, length, ...), 0 on the new padding.
    """
    unpadded = [0, 0] * (local.ndim - 2)
    return gather(F.pad(local, [*unpadded, 0, length - local.shape[1]]))


def longest(length: int, device: torch.device) -> int:
    """Return the greatest of all processes' lengths; ``device`` is where they communicate."""
    if world()[1] == 1:
        return length
    value = torch.tensor(length, device=device)
    dist.all_reduce(value, op=dist.ReduceOp.MAX)
    return int(value)
