"""Feed mutated files to every reader: ``python -m tests.fuzz --minutes 10``.

A reader may succeed or raise a UserError; anything else is a crash, and more than 20 seconds are a
hang. Each kind is kept below ``--out`` with the mutated file and the traceback, and ``--target NAME
--number N --seed S`` runs its input again. The exit code is 1 after a crash or a hang.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import io
import logging
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from amif_lightning.errors import UserError
from tests.fuzz.mutations import mutated
from tests.fuzz.targets import TARGETS, Case

SECONDS = 20  # that a reader may take for one input
MEMORY = 6 * 2**30  # bytes of one target's process
KEPT = 2  # inputs of one kind
FAILED = 10  # exit code of one target's process after a crash or a hang that it survived


class Hang(BaseException):
    """A reader took too long; no subclass of Exception, which readers may catch."""


@dataclass
class Counts:
    """Inputs of a target, and those that failed, by kind."""

    inputs: int = 0
    crashes: Counter[str] = field(default_factory=Counter)
    hangs: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        crashes, hangs = self.crashes.total(), self.hangs.total()
        return f"inputs {self.inputs}, crashes {crashes}, hangs {hangs}"


@contextlib.contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raise Hang after some seconds."""

    def end(*_: object) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


class Fuzzer:
    """One target: its valid files below ``folder``, and where failures are kept."""

    def __init__(self, name: str, cases: list[Case], folder: Path, out: Path, seed: str) -> None:
        self.name, self.folder, self.out, self.seed = name, folder, out, seed
        self.counts = Counts()
        self._cases: list[tuple[Case, Path, list[Path]]] = []
        for number, case in enumerate(cases):
            root = folder / f"{number}" / "set"
            root.mkdir(parents=True)
            case.write(root)
            files = sorted({f for p in case.files for f in root.glob(p) if f.is_file()})
            assert files, (name, number, case.files)
            self._cases.append((case, root, files))

    def run(self, number: int, seconds: float = SECONDS) -> None:
        """Make input ``number`` and read it."""
        rng = Random(f"{self.seed}/{self.name}/{number}")
        case, root, files = rng.choice(self._cases)
        file = rng.choice(files)
        before, state = file.read_bytes(), file.stat()
        kept = {path for path in root.parent.rglob("*")}
        after = mutated(before, file.name, rng)
        file.write_bytes(after)
        scratch = Path(tempfile.mkdtemp(dir=self.folder))
        self.counts.inputs += 1
        try:
            with limited(seconds), _silent(), contextlib.suppress(UserError):
                case.read(root, scratch)
        except Hang as error:
            self._keep(self.counts.hangs, error, number, file, after)
        except Exception as error:
            self._keep(self.counts.crashes, error, number, file, after)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
            file.write_bytes(before)
            os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))
            for path in sorted(set(root.parent.rglob("*")) - kept, reverse=True):
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def _keep(
        self, counter: Counter[str], error: BaseException, number: int, file: Path, data: bytes
    ) -> None:
        frames = traceback.extract_tb(error.__traceback__)
        own = [f for f in frames if "amif_lightning" in f.filename or "data_modules" in f.filename]
        last = (own or frames)[-1]
        kind = f"{type(error).__name__} at {Path(last.filename).name}:{last.lineno}"
        counter[kind] += 1
        if counter[kind] > KEPT:
            return
        kept = self.out / f"{self.name}-{self.seed}-{number}"
        kept.mkdir(parents=True, exist_ok=True)
        (kept / file.name).write_bytes(data)
        text = "".join(traceback.format_exception(error, limit=-30))
        again = f"--target {self.name} --seed {self.seed} --number {number}"
        (kept / "traceback.txt").write_text(
            f"{again}\n{file.relative_to(self.folder)}\n{text}", encoding="utf-8", errors="replace"
        )
        print(f"{self.name}: {kind} ({again})", flush=True)


def fuzz(name: str, seed: str, out: Path, seconds: float, number: int | None = None) -> Counts:
    """Fuzz one target for some seconds, or read one input."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        os.chdir(folder)  # readers write caches to data/
        fuzzer = Fuzzer(name, TARGETS[name](), Path(folder) / "cases", out, seed)
        end = time.monotonic() + seconds
        while number is None and time.monotonic() < end:
            (out / f".{name}").write_text(str(fuzzer.counts.inputs))  # for a killed process
            fuzzer.run(fuzzer.counts.inputs)
        if number is not None:
            fuzzer.run(number)
        os.chdir("/")
    return fuzzer.counts


def _target(name: str, options: argparse.Namespace, out: Path) -> bool:
    """Fuzz one target in a process of its own, which a decoder may kill; True without a failure."""
    words = ["--target", name, "--seed", options.seed, "--out", str(out)]
    seconds = options.minutes * 60 / len(TARGETS)
    command = [sys.executable, "-m", "tests.fuzz", *words, "--seconds", str(seconds)]
    log = out / f"{name}-{options.seed}.stderr"  # also takes what decoders in C print
    with log.open("wb") as stream:
        code = subprocess.run(command, stderr=stream).returncode
    last = out / f".{name}"
    if code not in (0, FAILED):
        at = last.read_text() if last.exists() else "the start"
        print(f"{name}: the process ended with {code} at input {at} ({log}): crashes 1", flush=True)
    else:
        log.unlink()
    last.unlink(missing_ok=True)
    return code == 0


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10, help="for all targets together")
    parser.add_argument("--seconds", type=float, default=60, help="for one target")
    parser.add_argument("--seed", default=str(int(time.time())))
    parser.add_argument("--out", type=Path, default=Path("runs/fuzz"))
    parser.add_argument("--target", choices=TARGETS)
    parser.add_argument("--number", type=int, help="read this input of --target only")
    options = parser.parse_args()
    out: Path = options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    if options.target is None:
        print(f"seed {options.seed}, {options.minutes:g} minutes, failures in {out}", flush=True)
        return int(not all([_target(name, options, out) for name in TARGETS]))
    faulthandler.enable()
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    counts = fuzz(options.target, options.seed, out, options.seconds, options.number)
    print(f"{options.target}: {counts}", flush=True)
    return FAILED if counts.crashes or counts.hangs else 0


if __name__ == "__main__":
    sys.exit(main())
