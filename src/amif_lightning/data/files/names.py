"""Names and texts of a release, which may be made to read or write elsewhere.

Names are compared as text: a user's symbolic links out of the folder are followed.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from amif_lightning.errors import UserError

OUTSIDE = "its image's path leaves the data set's folder or is no valid name"
NO_TEXT = "a text has a NUL character or half of a surrogate pair"

# Longest name and path in bytes that file systems take, with room for the folder around them.
_NAME, _PATH, _FOLDERS = 255, 1024, 100


def is_text(value: object) -> bool:
    """Return whether a value is text without NUL that UTF-8 can encode.

    JSON may contain lone surrogates, which tokenizers, hashes and file names reject.
    """
    if not isinstance(value, str) or "\0" in value:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def inside(path: str) -> str | None:
    """Return a relative path in plain form with forward slashes; None if it could leave the folder.

    Absolute paths, including those of Windows, any ``..``, and paths that no file can have (NUL, a
    name of more than 255 bytes, more than 100 folders) give None.
    """
    path = path.strip()
    plain = PurePosixPath(path)
    if plain.is_absolute() or ".." in path.replace("\\", "/").split("/") or path[1:2] == ":":
        return None
    if not is_text(path) or len(path.encode()) > _PATH or len(plain.parts) > _FOLDERS:
        return None
    if any(len(part.encode()) > _NAME for part in plain.parts):
        return None
    return plain.as_posix() if plain.parts else None


def under(root: Path, name: str) -> Path:
    """Join a folder and a released name; a UserError if the result could leave the folder."""
    if inside(name) is None:
        raise UserError(
            f"The name {name[:200]!r} leaves the folder {root} or is no valid name: correct it in "
            "the files of the data set, or download them again."
        )
    return root / name
