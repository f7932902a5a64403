"""Run ``fit`` and, when it has ended, ``test`` of the same run, as one process id.

Arguments: the words of ``fit``, ``--then``, further words of ``test``.
"""

from __future__ import annotations

import os
import signal
import sys

from amif_lightning.cli import main

#: Set by Lightning for two processes; ``test`` runs as one.
OF_TWO = ("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")

if __name__ == "__main__":
    # A shell starts jobs in the background with an ignored SIGINT.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    cut = sys.argv.index("--then")
    words, more = sys.argv[1:cut], sys.argv[cut + 1 :]
    if code := main(words):
        raise SystemExit(code)
    if int(os.environ.get("LOCAL_RANK", 0)):
        raise SystemExit(0)  # the second process, which Lightning starts with this file
    again = [word for word in words[1:] if not word.startswith("--ckpt_path")]
    test = [sys.executable, "-m", "amif_lightning", "test", *again, "--ckpt_path=best", *more]
    os.execve(test[0], test, {k: v for k, v in os.environ.items() if k not in OF_TWO})
