"""The parser of the commands that name no classes."""

from __future__ import annotations

import argparse
from typing import NoReturn

from amif_lightning.errors import UserError


class PlainParser(argparse.ArgumentParser):
    """Argparse without abbreviations, whose errors are a single UserError without the usage."""

    def __init__(self, command: str, description: str) -> None:
        prog = f"python -m amif_lightning {command}"
        super().__init__(prog=prog, description=description, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        """Raise the error."""
        raise UserError(f"{message}; `{self.prog} --help` lists the options.")
