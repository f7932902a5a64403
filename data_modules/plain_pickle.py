"""Reading pickles that nobody vouches for."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any, NoReturn

from amif_lightning.errors import UserError


class _Plain(pickle.Unpickler):
    """Reads containers, numbers and texts; anything else would name a class, and is refused."""

    def find_class(self, module_name: str, global_name: str, /) -> NoReturn:
        raise pickle.UnpicklingError(f"it asks for {module_name}.{global_name}")


def read_pickle(path: Path, title: str) -> Any:
    """The content of a pickle that holds plain containers only; no code of it is run.

    Args:
        path: The file.
        title: Name of the data set, for messages.

    Raises:
        UserError: If it cannot be read, is damaged, or asks for a class or a function.
    """
    try:
        with path.open("rb") as stream:
            return _Plain(stream).load()
    except OSError as error:
        raise UserError(
            f"{title}: {path} cannot be read ({error.strerror}), so check the file."
        ) from error
    except Exception as error:  # a damaged pickle raises whatever its bytes happen to mean
        raise UserError(
            f"{title}: {path} is no pickle of plain lists ({type(error).__name__}: {error}), so do "
            "not use it and fetch the parquet files instead."
        ) from error
