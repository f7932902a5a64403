"""Read released JSON files of questions.

``title`` is the data set's name in error sentences, ``source`` the origin of its files.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from amif_lightning.errors import UserError


def check_folder(title: str, root: Path, source: str) -> None:
    """Raise a UserError that names the option and the source if the root folder is missing."""
    if not root.is_dir():
        raise UserError(
            f"{title}: the folder {root} does not exist, so give the right --data.init_args.root "
            f"or download the data set from {source} into it."
        )


def unexpected(title: str, path: Path, what: str, source: str) -> UserError:
    """Return the error for a readable file with other content than the release."""
    return UserError(
        f"{title}: {path} is not the expected release because {what}, so fetch it from {source}."
    )


def read_json(title: str, path: Path, source: str) -> Any:
    """Read a JSON file; raise a UserError if it cannot be read or is not JSON."""
    try:
        # Some copies start with a byte order mark, which plain utf-8 would pass to the parser.
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:  # bad JSON and bad UTF-8 are both ValueErrors
        raise UserError(
            f"{title}: {path} is not valid JSON ({error}), probably a truncated download, so fetch "
            f"it again from {source}."
        ) from error
    except OSError as error:
        raise UserError(
            f"{title}: {path} cannot be read ({error.strerror}), so check the file or fetch it "
            f"again from {source}."
        ) from error


def load_questions(
    title: str, path: Path, keys: Collection[str], source: str
) -> list[dict[str, Any]]:
    """Read a JSON list of questions in released order.

    Raises:
        UserError: If the file is unreadable, not a non-empty JSON list of objects, or lacks a key.
    """
    items = read_json(title, path, source)
    if not isinstance(items, list) or not items or not all(isinstance(i, dict) for i in items):
        raise unexpected(title, path, "it is not a list of questions", source)
    for number, item in enumerate(items):
        if missing := sorted(set(keys) - item.keys()):
            raise unexpected(title, path, f"question {number} has no {', '.join(missing)}", source)
    return items
