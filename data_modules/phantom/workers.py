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

#: A pool takes longer to start than a smaller data set takes to draw.
SMALLEST_POOL = 200
_CHUNK = 8  # studies that a process draws before it reports


def processes_for(studies: int) -> int:
    """Number of processes worth starting: all cores that this process may use, or one."""
    if studies < SMALLEST_POOL:
        return 1
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def written(folder: Path, jobs: Sequence[Job], processes: int) -> Generator[Written, None, None]:
    """Draw and save studies.

    Args:
        folder: Where the data set is written.
        jobs: The studies.
        processes: How many processes draw; the files are the same with any number.

    Yields:
        One result for each job, in the order of the jobs.
    """
    if processes == 1:
        yield from (write_study(folder, job) for job in jobs)
        return
    # Forked workers need no imports (torch is among them) and only use numpy and Pillow.
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else None)
    pool = ProcessPoolExecutor(processes, mp_context=context, initializer=_start)
    try:
        yield from pool.map(partial(write_study, folder), jobs, chunksize=_CHUNK)
    finally:
        pool.shutdown(cancel_futures=True)


def _start() -> None:
    """Make a worker end with its parent and leave Ctrl-C to it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    # A killed parent closes nothing in order, and a worker would wait for its next job for ever.
    wait([sentinel])
    os._exit(1)
