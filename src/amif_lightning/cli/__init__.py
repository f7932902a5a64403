"""The command line; importing this package imports neither torch nor Lightning."""

from amif_lightning.cli.entry import main

__all__ = ["main"]
