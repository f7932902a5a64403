"""The exception for errors that the user can fix."""


class UserError(Exception):
    """An error that the user can fix; the command line prints it and exits with code 2.

    The message is one sentence that names the thing, the file and the next action.
    """


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, short enough for the middle of a sentence."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].rstrip(".: ")[:200]
