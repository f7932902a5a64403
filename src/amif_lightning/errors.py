"""The exception for errors that the user can fix, and safe text for terminals."""

import json
import unicodedata


class UserError(Exception):
    """An error that the user can fix; the command line prints it and exits with code 2.

    The message is one sentence that names the thing, the file and the next action. Control
    characters and halves of characters, which names of files may hold, are escaped.
    """

    def __init__(self, message: str) -> None:
        # torch raises the error of a loader's worker again with its traceback, escaped before.
        super().__init__(message if message.startswith("Caught ") else printable(message))


def printable(text: str, keep: str = "") -> str:
    r"""Write control and format characters as ``\u001b``, except those in ``keep``.

    Text from files could otherwise move the cursor, forge lines or reverse the reading direction.
    JSON stays valid and keeps its meaning.
    """
    if text.isprintable():
        return text
    unsafe = ("Cc", "Cf", "Cs", "Zl", "Zp")
    return "".join(
        json.dumps(char)[1:-1]
        if unicodedata.category(char) in unsafe and char not in keep
        else char
        for char in text
    )


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
