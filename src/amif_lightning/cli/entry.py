"""The one entry point: picks the command before anything slow is imported, and prints errors."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from amif_lightning.cli.help import COMMANDS, help_text, version_text
from amif_lightning.cli.nearest import suggestion
from amif_lightning.errors import UserError


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        args: The arguments without the program's name; None reads ``sys.argv``. A run with
            ``--trainer.strategy ddp`` starts its other processes from ``sys.argv``, so such a run
            has to come from a shell.

    Returns:
        The exit code: 0 done, 1 ``audit`` found a leak or bad pictures or ``answer``
        left a question open, 2 the user can mend the
        error printed on stderr, 130 interrupted, 143 terminated. Any other exception is a bug and
        is raised.
    """
    argv = list(sys.argv[1:] if args is None else args)
    debug = "--debug" in argv or os.environ.get("AMIF_DEBUG", "") not in {"", "0"}
    argv = [word for word in argv if word != "--debug"]
    try:
        return _dispatch(argv)
    except UserError as error:
        if debug:
            raise
        print(f"error: {_message(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as interrupt:
        print(str(interrupt) or "interrupted: run the same command again", file=sys.stderr)
        return 130
    except SystemExit as stop:  # how argparse ends after --help, and a run after SIGTERM
        if stop.code is None or isinstance(stop.code, int):
            return stop.code or 0
        raise


def _dispatch(argv: list[str]) -> int:
    if not argv or argv[0] in {"-h", "--help"}:
        print(help_text(), end="")
        return 0
    if argv[0] == "--version":
        print(version_text())
        return 0
    command, rest = argv[0], argv[1:]
    if command.startswith("-"):
        raise UserError(
            f"`{command}` stands before the command; write the command first, such as "
            f"`python -m amif_lightning fit {command} ...`."
        )
    if command not in COMMANDS:
        raise UserError(f"there is no command `{command}`{suggestion(command, COMMANDS)}")
    # Each branch imports only what it needs: torch and Lightning cost about 6 s.
    if command == "report":
        from amif_lightning.reports.command import main as report

        return report(rest)
    if command == "answer":
        from amif_lightning.cli.answer import main as answer

        return answer(rest)
    if command == "audit":
        from amif_lightning.cli.audit import main as audit

        return audit(rest)
    if command == "prepare":
        from amif_lightning.cli.prepare import main as prepare

        return prepare(rest)
    from amif_lightning.cli.app import run

    run(argv)
    return 0


def _message(error: UserError) -> str:
    """The sentence itself; an error from a loader's worker arrives wrapped in its traceback."""
    text = str(error)
    if text.startswith("Caught "):
        text = text.rsplit(f"{UserError.__name__}: ", 1)[-1]
    return text.strip()
