"""Draw studies in several processes, in the order of their jobs."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Generator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing.connection import wait
from pathlib import Path

from data_modules.phantom.study import Job, Written, write_study

SMALLEST_POOL = 200  # studies; a smaller set takes less time than the start of a pool
_CHUNK = 8  # studies per task of a process


def written(
    folder: Path, jobs: Sequence[Job], processes: int | None = None
) -> Generator[Written, None, None]:
    """Draw and save studies below ``folder``; yield the results in the order of the jobs."""
    if processes is None:
        linux = sys.platform == "linux"
        cores = len(os.sched_getaffinity(0)) if linux else os.cpu_count() or 1
        processes = cores if len(jobs) >= SMALLEST_POOL else 1
    if processes == 1:
        yield from (write_study(folder, job) for job in jobs)
        return
    # Forked workers import nothing (torch takes seconds) and only use numpy and Pillow.
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else None)
    pool = ProcessPoolExecutor(processes, mp_context=context, initializer=_start)
    try:
        yield from pool.map(partial(write_study, folder), jobs, chunksize=_CHUNK)
    finally:
        pool.shutdown(cancel_futures=True)


def _start() -> None:
    """Make a worker end with its parent and ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    # A killed parent does not close the queue, and a worker would wait for its next job for ever.
    wait([sentinel])
    os._exit(1)
