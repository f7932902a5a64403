"""Speed, memory and correctness of both stages on one GPU, at the paper's sizes.

Run ``python -m benchmarks.gpu [--output FOLDER] [--seconds 480] [--only NAME ...]``; ``--dry-run``
shrinks every size and runs on the CPU, to check the script. Nothing is downloaded: weights and
inputs are random, except in ``runs``, which train on generated phantoms. The parts, in this order:

- ``card``: name, driver and the measured peak: bf16 product of two square matrices, copy on the
  device;
- ``correctness``: losses on the GPU against the CPU and in bf16-mixed against float32 (relative
  differences, no dropout);
- ``steps``: pre-training (joint stage, two views, reports of up to 120 tokens, hard negatives) and
  answering (3,000 vocabulary entries) in bf16-mixed: copy to the device, forward, backward, AdamW;
- ``split``: one profiled step: milliseconds by part, counts of kernels and synchronisations;
- ``ranking`` and ``transport``: ours against the plain formulation and the released solver;
- ``tests``: the tests marked ``gpu``;
- ``variants``: the same steps with one change each;
- ``repeatability``: differences between two equal runs of two steps;
- ``runs``: pre-training, then answering, on phantoms of 224 pixels by the command line;
- ``compiled``: steps with compiled encoders.

Each measurement has its own time limit; one that fails gets a line with the error and the rest
continues. ``gpu.md`` and ``gpu.jsonl`` in the output folder are written after each of them.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import signal
import subprocess
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.on_gpu import networks, others, steps
from benchmarks.on_gpu.networks import Scale, Stage
from benchmarks.on_gpu.steps import Figures, median_ms

STAGES: dict[str, Callable[[Scale, Path], Stage]] = {
    "pre-training": networks.pretraining,
    "answering": networks.answering,
}


class TimeOver(BaseException):
    """A measurement took too long; no library catches it, as some do with Exception."""


@dataclass(frozen=True)
class Measurement:
    """One line of the table; ``work`` returns its figures within ``seconds``."""

    part: str
    name: str
    seconds: float
    work: Callable[[], Figures]


@dataclass
class Report:
    """Writes figures as they come."""

    folder: Path
    rows: list[str] = field(default_factory=list)

    def add(self, measurement: Measurement, figures: Figures, seconds: float) -> None:
        """Print a line and write both files."""
        shown = "; ".join(f"{name} {_shown(value)}" for name, value in figures.items())
        shown = shown.replace("|", "/").replace("\n", " ")
        row = f"| {measurement.part} | {measurement.name} | {shown} | {seconds:.1f} |"
        print(row, flush=True)
        self.rows.append(row)
        head = "| part | measurement | figures | s |\n|---|---|---|---|\n"
        (self.folder / "gpu.md").write_text(head + "\n".join(self.rows) + "\n", encoding="utf-8")
        line = {"part": measurement.part, "name": measurement.name, "seconds": seconds} | figures
        with (self.folder / "gpu.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


@contextmanager
def limit(seconds: float) -> Iterator[None]:
    """Raise TimeOver in the main thread after ``seconds``."""

    def late(*_: object) -> None:
        raise TimeOver(f"not finished within {seconds:.0f} s")

    handler = signal.signal(signal.SIGALRM, late)
    started = time.monotonic()
    left, _ = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        # An outer limit, such as that of a test, continues.
        outer = max(left - (time.monotonic() - started), 0.01) if left else 0.0
        signal.setitimer(signal.ITIMER_REAL, outer)
        signal.signal(signal.SIGALRM, handler)


def run(measurements: Sequence[Measurement], report: Report, seconds: float) -> int:
    """Measure in order for at most ``seconds``; return the number of failures."""
    end, failed = time.monotonic() + seconds, 0
    for measurement in measurements:
        started = time.monotonic()
        left = min(measurement.seconds, end - started)
        try:
            if left < 1:
                raise TimeOver(f"left out, because {seconds:.0f} s are over")
            with limit(left):
                figures = measurement.work()
        except (Exception, TimeOver) as error:  # one failure must not lose the rest
            failed += 1
            figures = {"FAILED": traceback.format_exception_only(error)[-1].strip()[:400]}
        report.add(measurement, figures, time.monotonic() - started)
        if "FAILED" in figures and torch.cuda.is_available():
            gc.collect()  # the tensors of a step that did not fit
            torch.cuda.empty_cache()
    return failed


class Bench:
    """All measurements at one scale; stages are built when first used."""

    def __init__(self, scale: Scale, device: str, folder: Path, output: Path, dry: bool) -> None:
        self.scale, self.device, self.dry = scale, device, dry
        self.folder, self.output = folder, output
        self.peak = 0.0  # FLOP/s, once measured
        self.flops: dict[str, float] = {}  # of one sample of each stage
        self.stages: dict[str, Stage] = {}
        self.expected: dict[str, dict[str, float]] = {}  # losses on the CPU

    def stage(self, name: str) -> Stage:
        """Return a stage on the device, in the precision of the Trainer's bf16-mixed."""
        if name not in self.stages:
            made = STAGES[name](self.scale, self.folder)
            self.expected[name] = steps.reference(made, self.scale.small)
            made.device, made.autocast = self.device, True
            self.stages[name] = made
        for other in self.stages.values():
            if other.name != name:  # leaves the card to this stage
                other.optimizer = None
                other.task.zero_grad()
                other.task.to("cpu")
        self.stages[name].task.to(self.device)
        return self.stages[name]

    # ---- measurements -------------------------------------------------------------------------

    def card(self) -> Figures:
        """Describe software and card."""
        found: Figures = {"torch": torch.__version__, "cores": os.cpu_count()}
        if self.device == "cuda":
            query = "--query-gpu=name,driver_version,memory.total"
            command = ["nvidia-smi", query, "--format=csv,noheader"]
            done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
            found["card"] = done.stdout.strip()
            found["CUDA"] = torch.version.cuda
        return found

    def peaks(self) -> Figures:
        """Measure the rate of a bf16 product and of a copy, read and written bytes counted."""
        side, device = self.scale.square, self.device
        left, right = torch.randn(2, side, side, device=device, dtype=torch.bfloat16)
        ms = median_ms(lambda: left @ right, device, 5)
        self.peak = 2 * side**3 / ms * 1000
        source = torch.randn(side * side * (1 if self.dry else 16), device=device)
        target = torch.empty_like(source)
        copied = median_ms(lambda: target.copy_(source), device, 3)
        return {
            "bf16 TFLOP/s": self.peak / 1e12,
            "copy TB/s": 2 * source.nbytes / copied / 1e9,
        }

    def against_cpu(self, name: str) -> Figures:
        """Compare float32 losses on the device and on the CPU."""
        found = steps.reference(self.stage(name), self.scale.small)
        return steps.differences(found, self.expected[name])

    def half(self, name: str) -> Figures:
        """Compare losses in mixed precision and in float32."""
        return steps.half_precision(self.stage(name), self.scale.small)

    def repeated(self, name: str, deterministic: bool) -> Figures:
        """Compare two equal runs of two steps."""
        return steps.repeated(self.stage(name), self.scale.small, deterministic)

    def count(self, name: str) -> Figures:
        """Count the operations of one sample."""
        self.flops[name] = steps.flops(self.stage(name), self.scale.batches[0])
        return {"GFLOP a sample": self.flops[name] / 1e9}

    def step(self, name: str, count: int) -> Figures:
        """Time steps of ``count`` samples."""
        known = self.flops.get(name, 0.0) if self.peak else 0.0
        return steps.timed(self.stage(name), count, known, self.peak)

    def variant(self, name: str, change: str) -> Figures:
        """Time steps with one change."""
        return steps.variant(self.stage(name), change, self.scale.middle)

    def compiled(self, name: str) -> Figures:
        """Time steps with compiled encoders."""
        return steps.compiled(self.stage(name), self.scale.middle)

    def split(self, name: str) -> Figures:
        """Profile one step."""
        parts, counts, slowest = steps.split(self.stage(name), self.scale.middle)
        lines = [f"{ms:8.2f} ms  {part}" for part, ms in parts.items()]
        lines += [f"{value:8.0f}     {kind}" for kind, value in counts.items()]
        lines += [f"{value}  {kernel}" for kernel, value in slowest.items()]
        text = "\n".join(lines) + "\n"
        (self.output / f"split-{name}.txt").write_text(text, encoding="utf-8")
        return {f"{part} ms": ms for part, ms in parts.items()} | counts

    def measurements(self) -> list[Measurement]:
        """List everything, the most valuable first."""
        found = [
            Measurement("card", "software", 40, self.card),
            Measurement("card", "measured peak", 30, self.peaks),
        ]

        def add(part: str, name: str, seconds: float, work: Callable[..., Figures]) -> None:
            found.append(Measurement(part, name, seconds, partial(work)))

        for name in STAGES:
            add("correctness", f"{name}: GPU, CPU", 90, partial(self.against_cpu, name))
            add("correctness", f"{name}: bf16, float32", 20, partial(self.half, name))
        for name in STAGES:
            add("steps", f"{name}: operations", 30, partial(self.count, name))
            for count in self.scale.batches:
                add("steps", f"{name}: batch {count}", 30, partial(self.step, name, count))
        for name in STAGES:
            add("split", name, 45, partial(self.split, name))
        for count in self.scale.candidates:
            work = partial(others.ranked, self.scale, count, self.device)
            add("ranking", f"{count} candidates", 30, work)
        add("transport", "one loss", 20, partial(others.transported, self.scale, self.device))
        add("tests", "marked gpu", 100, partial(others.gpu_tests, self.output, 95.0))
        for name in STAGES:
            for change in steps.VARIANTS:
                add("variants", f"{name}: {change}", 25, partial(self.variant, name, change))
        for name in STAGES:
            for kind in (False, True):
                label = "deterministic algorithms" if kind else "default algorithms"
                work = partial(self.repeated, name, kind)
                add("repeatability", f"{name}: {label}", 25, work)
        for name in others.RUNS:
            work = partial(others.trained, name, self.folder, self.output, 75, self.dry)
            add("runs", name, 170, work)
        for name in STAGES:
            add("compiled", name, 120, partial(self.compiled, name))
        return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("runs/gpu"), help="folder to write to")
    parser.add_argument("--seconds", type=float, default=480, help="time of everything together")
    parser.add_argument("--only", nargs="+", help="parts to measure, such as steps")
    parser.add_argument("--dry-run", action="store_true", help="tiny sizes on the CPU")
    given = parser.parse_args(arguments)
    if not (given.dry_run or torch.cuda.is_available()):
        print("No CUDA device, so nothing is measured; --dry-run checks the script on the CPU.")
        return
    # Deterministic matrix products need it, before the first one; on Hopper it is the default size.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    given.output.mkdir(parents=True, exist_ok=True)
    (given.output / "gpu.jsonl").write_text("", encoding="utf-8")
    with tempfile.TemporaryDirectory() as name:
        folder, output = Path(name), given.output.resolve()
        scale = networks.tiny(folder) if given.dry_run else Scale()
        device = "cpu" if given.dry_run else "cuda"
        bench = Bench(scale, device, folder, output, given.dry_run)
        measurements = bench.measurements()
        if given.only:
            measurements = [one for one in measurements if one.part in given.only]
        failed = run(measurements, Report(output), given.seconds)
    print(f"{len(measurements)} measurements, {failed} failed; tables in {given.output}")


if __name__ == "__main__":
    main()
