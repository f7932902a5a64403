"""Device time of one step by part of the network, forward and backward, from torch.profiler."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile, record_function

from benchmarks.on_gpu.networks import PART

OTHER = "other"
_NODE = "autograd::engine::evaluate_function"
_SYNCHRONISATIONS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize")


@contextmanager
def ranges(parts: Mapping[str, Sequence[nn.Module]]) -> Iterator[None]:
    """Name the forward passes of modules in the profile."""
    opened: list[Any] = []
    hooks: list[Any] = []

    def enter(part: str) -> Callable[..., None]:
        def before(*_: Any) -> None:
            opened.append(record_function(PART + part))
            opened[-1].__enter__()

        return before

    def leave(*_: Any) -> None:
        opened.pop().__exit__(None, None, None)

    for part, modules in parts.items():
        for module in modules:
            hooks.append(module.register_forward_pre_hook(enter(part)))
            hooks.append(module.register_forward_hook(leave))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def recorded(work: Callable[[], object], device: str) -> list[Any]:
    """Profile one call and return the profiler's events."""
    activities = [ProfilerActivity.CPU]
    if device == "cuda":
        activities.append(ProfilerActivity.CUDA)
        torch.cuda.synchronize()
    with profile(activities=activities) as profiler:
        work()
        if device == "cuda":
            torch.cuda.synchronize()
    return list(profiler.events())


def by_part(events: Iterable[Any], device: str) -> dict[str, float]:
    """Sum the milliseconds of each part, ``NAME forward`` and ``NAME backward``.

    A backward node has the sequence number of the forward operation that created it, and so belongs
    to that operation's part.
    """
    ordered = sorted(
        (event for event in events if event.device_type == DeviceType.CPU),
        key=lambda event: float(event.time_range.start),
    )
    part_of_node: dict[int, str] = {}
    places: list[tuple[Any, str, Any]] = []
    for event in ordered:
        part, node = _place(event)
        places.append((event, part, node))
        if node is None and event.sequence_nr >= 0:
            # Operations that create no node have the next node's number; the last one creates it.
            part_of_node[event.sequence_nr] = part
    spent: dict[str, float] = defaultdict(float)
    for event, part, node in places:
        if device == "cuda":
            microseconds = float(sum(kernel.duration for kernel in event.kernels))
        else:
            microseconds = float(event.self_cpu_time_total)
        if node is None:
            spent[f"{part} forward"] += microseconds / 1000
        else:
            spent[f"{part_of_node.get(node.sequence_nr, OTHER)} backward"] += microseconds / 1000
    return {name: value for name, value in sorted(spent.items()) if value > 0}


def _place(event: Any) -> tuple[str, Any]:
    """Return the part around an event, and the backward node that it belongs to."""
    above = event
    while above is not None:
        if above.name.startswith(_NODE):
            return OTHER, above
        if above.name.startswith(PART):
            return above.name.removeprefix(PART), None
        above = above.cpu_parent
    return OTHER, None


def counts(events: Iterable[Any]) -> dict[str, float]:
    """Count kernels, copies and synchronisations, and sum the milliseconds of all kernels."""
    found: dict[str, float] = defaultdict(float)
    for event in events:
        if event.device_type == DeviceType.CPU:
            if event.name in _SYNCHRONISATIONS:
                found[event.name] += 1
        elif event.name.startswith(("Memcpy", "Memset")):
            found[event.name.partition(" (")[0]] += 1
        elif not _annotation(event):
            found["kernels"] += 1
            found["kernels ms"] += event.time_range.elapsed_us() / 1000
    return dict(found)


def slowest(events: Iterable[Any], count: int = 12) -> dict[str, str]:
    """Return the kernels with most time: name, milliseconds and calls."""
    spent, calls = Counter[str](), Counter[str]()
    for event in events:
        if event.device_type != DeviceType.CPU and not _annotation(event):
            spent[event.name] += event.time_range.elapsed_us() / 1000
            calls[event.name] += 1
    return {name[:90]: f"{ms:.2f} ms in {calls[name]}" for name, ms in spent.most_common(count)}


def _annotation(event: Any) -> bool:
    """Return whether a device event is the shadow of a named range, not a kernel."""
    shadow = bool(getattr(event, "is_user_annotation", False))
    return shadow or event.name.startswith((PART, "Optimizer.", "ProfilerStep"))
