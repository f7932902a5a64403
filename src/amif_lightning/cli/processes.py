"""The processes of a run: how they reach each other, what they print, and faults that end them."""

from __future__ import annotations

import logging
import os
import re
import socket
import threading
import warnings
from pathlib import Path

from amif_lightning.data.files.atomic import no_space, unwritable
from amif_lightning.errors import UserError, errors_behind, first_line

_LOOPBACK = ("lo", "lo0")  # Linux; BSD and macOS
# Patterns of torch's errors, which need no import of torch.
_DEAD_WORKER = r"^RuntimeError: DataLoader worker .*(killed by signal|exited unexpectedly)"
_DEAD_PROCESS = (
    r"^RuntimeError: .*\bgloo/.*(closed|reset|[Rr]ead error|[Ww]rite error|[Tt]imed out)"
    r"|^DistBackendError: .*(remote process|abort|[Tt]imeout)"
    r"|^DistStoreError|^DistNetworkError: (?!The server)"
)
_FAULTS = {
    _DEAD_WORKER: (
        "a worker process of the data loader died ({reason}), probably because the memory was "
        "full: lower --data.init_args.num_workers or --data.init_args.batch_size"
    ),
    _DEAD_PROCESS: (
        "another process of this run ended or does not answer ({reason}): read its message; "
        "without one the system killed it, probably because the memory was full"
    ),
}


def keep_on_loopback() -> None:
    """Make the processes of a run on one machine exchange gradients over the loopback interface.

    Gloo uses the interface of the host's name, which other machines may reach, unless the variable
    GLOO_SOCKET_IFNAME names another.
    """
    names = {name for _, name in socket.if_nameindex()}
    for name in names.intersection(_LOOPBACK):
        os.environ.setdefault("GLOO_SOCKET_IFNAME", name)


def hide_full_disk_of_threads() -> None:
    """Print no traceback of TensorBoard's thread on a full disk; its `flush` raises the error."""
    if threading.excepthook is not threading.__excepthook__:
        return  # another program's

    def hook(args: threading.ExceptHookArgs) -> None:
        if no_space(args.exc_value) is None:
            threading.__excepthook__(args)

    threading.excepthook = hook


def fault(error: BaseException, folder: Path | None = None) -> str | None:
    """Explain a fault of the machine, without a full stop; None for other errors.

    Args:
        error: The error that ended the command. The first explicable one that led to it counts.
        folder: The folder that the command writes to.
    """
    causes = errors_behind(error)
    for cause in causes:
        if isinstance(cause, UserError):  # other errors followed while the run ended
            return str(cause).removesuffix(".")
    for cause in causes:
        if folder is not None and isinstance(cause, OSError) and no_space(cause) is not None:
            sentence = f"a file in {unwritable(folder, cause, 'free disk space there')}"
            return sentence.removesuffix(".")
        text = f"{type(cause).__name__}: {cause}"
        for pattern, sentence in _FAULTS.items():
            if re.search(pattern, text, flags=re.DOTALL):
                # Without the place in torch's sources and its general advice.
                reason = re.sub(r"^\[\S+\] ", "", first_line(cause)).partition(". ")[0]
                return sentence.format(reason=reason)
    return None


def silence() -> None:
    """Hide Lightning's advertisements and four warnings that no user can act on."""
    for message in (
        r".*isinstance\(treespec, LeafSpec\).*",
        # The run folder contains config.yaml by then; RunFolder.check_fit protects earlier runs.
        r"Checkpoint directory .* exists and is not empty",
        # Lightning looks for `state_dict` on the loader. Ours continues exactly without: the data
        # module skips the batches that the trainer has seen (VQADataModule.train_dataloader).
        r"You're resuming from a checkpoint that ended before the epoch ended and your dataloader "
        r"is not resumable\.",
        r"Found \d+ module\(s\) in eval mode at the start of training",  # frozen encoders
    ):
        warnings.filterwarnings("ignore", message=message)
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(_not_a_tip)
    hide_full_disk_of_threads()


def _not_a_tip(record: logging.LogRecord) -> bool:
    return "Tip: For seamless cloud" not in record.getMessage()
