"""Gathering features over all processes without losing their gradient."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable


def world() -> tuple[int, int]:
    """This process's rank and the number of processes; (0, 1) where no group was started."""
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


def gather_padded(local: Tensor, length: int, fill: float = 0.0) -> Tensor:
    """Gather sequences of which each process has padded its own to another length.

    Args:
        local: (B, L, ...) this process's sequences.
        length: Common length, at least every process's L (see :func:`longest`).
        fill: Value on the new padding.

    Returns:
        (G, length, ...).
    """
    missing = length - local.shape[1]
    if missing:
        padding = local.new_full((local.shape[0], missing, *local.shape[2:]), fill)
        local = torch.cat([local, padding], dim=1)
    return gather(local)


def longest(length: int, device: torch.device) -> int:
    """The greatest of all processes' lengths.

    Args:
        length: This process's.
        device: Where the processes' backend communicates.
    """
    if world()[1] == 1:
        return length
    value = torch.tensor(length, device=device)
    dist.all_reduce(value, op=dist.ReduceOp.MAX)
    return int(value)
