"""Run ``fit`` and, when it has ended, ``test`` of the same run, in one process.

Arguments: the words of ``fit``, ``--then``, further words of ``test``.
"""

from __future__ import annotations

import sys

from amif_lightning.cli import main

if __name__ == "__main__":
    cut = sys.argv.index("--then")
    words, more = sys.argv[1:cut], sys.argv[cut + 1 :]
    sys.argv = ["amif-lightning"]
    if code := main(words):
        raise SystemExit(code)
    resumed = [word for word in words[1:] if not word.startswith("--ckpt_path")]
    raise SystemExit(main(["test", *resumed, "--ckpt_path=best", *more]))
