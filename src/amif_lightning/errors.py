"""The one exception whose message is written for the person at the terminal."""


class UserError(Exception):
    """Something the user can mend.

    The message is one sentence that names the thing, the file and the next action; the command line
    prints it without a traceback and exits with code 2.
    """


def first_line(error: Exception) -> str:
    """What an error says, short enough for the middle of a sentence."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].rstrip(".: ")[:200]
