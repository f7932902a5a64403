"""Time, memory, variants and correctness of training steps."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.on_gpu import kernels
from benchmarks.on_gpu.networks import Stage, without_dropout

Figures = dict[str, Any]
_TIMED_MS, _FEWEST, _MOST = 2500.0, 5, 20  # how long and how often a step is timed


def laps(work: Callable[[], object], count: int, device: str) -> list[float]:
    """Return the milliseconds of each of ``count`` calls in a row."""
    if device != "cuda":
        times = [time.perf_counter()]
        for _ in range(count):
            work()
            times.append(time.perf_counter())
        return [1000 * (after - before) for before, after in pairwise(times)]
    events = [torch.cuda.Event(enable_timing=True) for _ in range(count + 1)]
    torch.cuda.synchronize()
    events[0].record()
    for event in events[1:]:
        work()
        event.record()
    torch.cuda.synchronize()
    return [before.elapsed_time(after) for before, after in pairwise(events)]


def median_ms(work: Callable[[], object], device: str, warm: int = 2) -> float:
    """Return the median milliseconds of a call, after ``warm`` calls and one for the count."""
    one = laps(work, warm + 1, device)[-1]
    count = min(_MOST, max(_FEWEST, int(_TIMED_MS / max(one, 0.1))))
    return statistics.median(laps(work, count if device == "cuda" else 2, device))


def flops(stage: Stage, count: int) -> float:
    """Count the floating-point operations of one sample's forward and backward pass."""
    batch = stage.batch(count).to(stage.device)
    with FlopCounterMode(display=False) as counter:
        stage.loss(batch).backward()
    stage.task.zero_grad()
    return float(counter.get_total_flops()) / count


def timed(stage: Stage, count: int, sample_flops: float = 0.0, peak: float = 0.0) -> Figures:
    """Time steps of ``count`` samples; ``peak`` is the card's measured FLOP/s."""
    batch = stage.batch(count)
    stage.reset()
    if stage.device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    ms = median_ms(lambda: stage.step(batch), stage.device)
    found: Figures = {"ms": ms, "a second": 1000 * count / ms}
    if sample_flops:
        rate = sample_flops * count / ms * 1000
        found["TFLOP/s"] = rate / 1e12
        found["share of the peak %"] = 100 * rate / peak
    if stage.device == "cuda":
        found["peak GiB"] = torch.cuda.max_memory_allocated() / 2**30
    return found


def split(stage: Stage, count: int) -> tuple[Figures, Figures, Figures]:
    """Profile one step: milliseconds by part, counts of device activities, slowest kernels."""
    batch = stage.batch(count)
    stage.reset()
    with kernels.ranges(stage.parts):
        for _ in range(2):
            stage.step(batch)
        events = kernels.recorded(lambda: stage.step(batch), stage.device)
    parts = kernels.by_part(events, stage.device)
    return parts, kernels.counts(events), kernels.slowest(events)


@contextmanager
def _matmul(precision: str, tf32: bool) -> Iterator[None]:
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision(precision)
    torch.backends.cudnn.allow_tf32 = tf32
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]


@contextmanager
def _checkpointed(stage: Stage) -> Iterator[None]:
    text: Any = stage.task.text.bert
    vision: Any = stage.task.vision
    text.gradient_checkpointing_enable()
    vision.visual.set_grad_checkpointing(True)
    try:
        yield
    finally:
        text.gradient_checkpointing_disable()
        vision.visual.set_grad_checkpointing(False)


@contextmanager
def _fused(stage: Stage) -> Iterator[None]:
    stage.fused = True
    try:
        yield
    finally:
        stage.fused = None


@contextmanager
def _float32(stage: Stage, precision: str, tf32: bool) -> Iterator[None]:
    before, stage.autocast = stage.autocast, False
    try:
        with _matmul(precision, tf32):
            yield
    finally:
        stage.autocast = before


VARIANTS: dict[str, Callable[[Stage], Any]] = {
    "attention without dropout": lambda stage: without_dropout(stage.task, attention_only=True),
    "no dropout at all": lambda stage: without_dropout(stage.task),
    "fused AdamW": _fused,
    "encoders with activation checkpointing": _checkpointed,
    "float32 with TF32": lambda stage: _float32(stage, "high", True),
    "float32 without TF32": lambda stage: _float32(stage, "highest", False),
}


def variant(stage: Stage, name: str, count: int) -> Figures:
    """Time steps with one change."""
    with VARIANTS[name](stage):
        return timed(stage, count)


def compiled(stage: Stage, count: int) -> Figures:
    """Time steps with compiled encoders; the stage stays compiled."""
    batch = stage.batch(count)
    stage.reset()
    # On CPUs the default backend compiles C++ for minutes.
    backend = "inductor" if stage.device == "cuda" else "eager"
    stage.task.text.compile(backend=backend)
    stage.task.vision.compile(backend=backend)
    (first,) = laps(lambda: stage.step(batch), 1, stage.device)
    return {"first step s": first / 1000} | timed(stage, count)


def reference(stage: Stage, count: int) -> dict[str, float]:
    """Compute the losses in float32 on the stage's present device."""
    with _float32(stage, "highest", False):
        return stage.losses(stage.batch(count))


def differences(found: dict[str, float], expected: dict[str, float]) -> Figures:
    """Return the relative difference of every loss."""
    if found.keys() != expected.keys() or not found:
        raise RuntimeError(f"other losses: {sorted(found)} and {sorted(expected)}")
    pairs = {name: (value, expected[name]) for name, value in found.items()}
    return {
        name.removeprefix("train/"): abs(value - other) / max(abs(other), 1e-12)
        for name, (value, other) in pairs.items()
    }


def half_precision(stage: Stage, count: int) -> Figures:
    """Compare the losses in mixed precision with those in float32."""
    before, stage.autocast = stage.autocast, True
    try:
        found = stage.losses(stage.batch(count))
    finally:
        stage.autocast = before
    return differences(found, reference(stage, count))


def repeated(stage: Stage, count: int, deterministic: bool) -> Figures:
    """Train two steps twice from the same state and seed; compare losses and weights."""
    batch = stage.batch(count)
    start = {name: value.clone() for name, value in stage.task.state_dict().items()}
    runs = []
    torch.use_deterministic_algorithms(deterministic)
    try:
        for _ in range(2):
            stage.task.load_state_dict(start)
            stage.reset()
            torch.manual_seed(0)
            losses = [float(stage.step(batch)) for _ in range(2)]
            runs.append((losses, {n: v.clone() for n, v in stage.task.state_dict().items()}))
    finally:
        torch.use_deterministic_algorithms(False)
        stage.task.load_state_dict(start)
    (losses, weights), (again, others) = runs
    largest = max(float((weights[n].double() - others[n].double()).abs().max()) for n in weights)
    return {
        "difference of the first losses": abs(losses[0] - again[0]),
        "of the second losses": abs(losses[1] - again[1]),
        "largest difference of a weight": largest,
    }
