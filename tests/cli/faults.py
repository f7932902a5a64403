"""Faults of the machine during a `fit` of the toys, in this process or as a program.

`python -m tests.cli.faults fit ...` is the command line on the toys; Lightning starts the further
processes of a run with the same words.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch.utils.data import DataLoader, TensorDataset

from amif_lightning.cli import app, main
from tests.cli import toys


class Full(L.Callback):
    """From the second epoch on a file has at most ``limit`` bytes; ``text`` letters are logged."""

    def __init__(self, limit: int, text: int = 0) -> None:
        self.limit, self.text = limit, text

    def on_train_epoch_start(self, trainer: L.Trainer, module: Any) -> None:
        if trainer.current_epoch == 1 and trainer.is_global_zero:
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.limit, -1))
            if self.text:
                module.logger.experiment.add_text("text", self.text * "x", trainer.global_step)


class KilledWorkers(L.Callback):
    """Kill the workers of the data loader in the second epoch."""

    def on_train_epoch_start(self, trainer: L.Trainer, module: Any) -> None:
        if trainer.current_epoch == 1:
            for worker in multiprocessing.active_children():
                worker.kill()


class KilledProcess(L.Callback):
    """Write the addresses of the sockets of each process, then kill the one of that rank."""

    def __init__(self, rank: int) -> None:
        self.rank = rank

    def on_train_epoch_start(self, trainer: L.Trainer, module: Any) -> None:
        if trainer.current_epoch == 1:
            file = Path(trainer.default_root_dir) / f"sockets-{trainer.global_rank}.json"
            file.write_text(json.dumps({os.environ["GLOO_SOCKET_IFNAME"]: listening()}))
            trainer.strategy.barrier()
            if trainer.global_rank == self.rank:
                os.kill(os.getpid(), signal.SIGKILL)


def listening() -> list[str]:
    """The addresses at which this process accepts connections; Linux only."""
    own = {os.readlink(path) for path in Path("/proc/self/fd").iterdir() if path.is_symlink()}
    found = []
    for name, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        for line in Path("/proc/net", name).read_text().splitlines()[1:]:
            _, local, _, state, *rest = line.split()
            if state == "0A" and f"socket:[{rest[5]}]" in own:
                words = bytes.fromhex(local.partition(":")[0])  # of 4 bytes, the last one first
                address = b"".join(words[i : i + 4][::-1] for i in range(0, len(words), 4))
                found.append(socket.inet_ntop(family, address))
    return found


class Loaded(toys.ToyData):
    """Toys that worker processes load."""

    def __init__(self, workers: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.workers = workers

    def train_dataloader(self) -> DataLoader[Any]:
        x = torch.linspace(-1, 1, 240).reshape(80, 3)
        return DataLoader(
            TensorDataset(x, x.sum(1, keepdim=True)),
            batch_size=4,
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
        )


if __name__ == "__main__":
    app.load_suite = toys.toy_suite
    sys.exit(main(sys.argv[1:]))
