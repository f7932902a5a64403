"""The exception for errors that the user can fix."""


class UserError(Exception):
    """An error that the user can fix; the command line prints it and exits with code 2.

    The message is one sentence that names the thing, the file and the next action. Control
    characters and halves of characters, which names of files may hold, are escaped.
    """

    def __init__(self, message: str) -> None:
        # torch raises the error of a loader's worker again with its traceback, escaped before.
        super().__init__(message if message.startswith("Caught ") else printable(message))


def printable(text: str) -> str:
    """Return a text with control characters and other non-printable ones as Python escapes."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, short enough for the middle of a sentence."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].rstrip(".: ")[:200]


def errors_behind(error: BaseException | None) -> list[BaseException]:
    """Return an error after those that led to it, the first one first."""
    found: list[BaseException] = []
    while error is not None and error not in found:  # an error raised twice may lead to itself
        found.append(error)
        error = error.__cause__ or error.__context__
    return found[::-1]
