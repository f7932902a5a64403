"""The one exception whose message is written for the person at the terminal."""


class UserError(Exception):
    """Something the user can mend.

    The message is one sentence that names the thing, the file and the next action; the command line
    prints it without a traceback and exits with code 2.
    """
