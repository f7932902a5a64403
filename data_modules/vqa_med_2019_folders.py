"""Where the folders of VQA-Med-2019 lie: unpacked under the root, or still in the released zips."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Folders:
    """Finds the released folders, and unpacks those that are there as a zip only.

    A zip's content lies in a folder of ``unpacked`` that is named after the zip's name, size and
    time, so another zip of the same name is unpacked anew and never mistaken for this one.

    Attributes:
        root: Folder of the data set.
        unpacked: Folder for the content of zips; None looks under ``root`` only.
    """

    root: Path
    unpacked: Path | None = None

    def find(self, folder: str) -> Path | None:
        """Where a released folder lies.

        Args:
            folder: Its path below the root, with forward slashes, such as
                ``VQAMed2019Test/VQAMed2019_Test_Images``.

        Returns:
            The folder, under the root where it is there, else unpacked; None where it is neither.
        """
        return next((place for place in self._places(folder) if place.is_dir()), None)

    def archive(self, folder: str) -> Path | None:
        """The zip that holds a released folder which is not there as such, None without one.

        Args:
            folder: Its path below the root.

        Returns:
            ``<folder>.zip`` under the root or in an unpacked zip, or the zip of a folder around it.
        """
        if self.find(folder):
            return None
        found = next((zipped for zipped in self._archives(folder) if zipped.is_file()), None)
        outer = folder.rpartition("/")[0]
        return found or (self.archive(outer) if outer else None)

    def unpack(self, folder: str) -> None:
        """Unpack the zip of a released folder, where there is one and no such folder.

        Args:
            folder: Its path below the root.

        Raises:
            UserError: If the zip is damaged or cannot be unpacked.
        """
        from data_modules.files.archives import extract

        if self.unpacked is None or self.find(folder):
            return
        for zipped in self._archives(folder):
            if zipped.is_file():
                extract(zipped, self._target(zipped, self.unpacked))
                return

    def _bases(self, folder: str) -> list[Path]:
        """Folders in which a released folder or its zip may lie."""
        outer = folder.rpartition("/")[0]
        return self._places(outer) if outer else [self.root]

    def _places(self, folder: str) -> list[Path]:
        name = folder.rpartition("/")[2]
        places = [base / name for base in self._bases(folder)]
        if self.unpacked is not None:
            zips = [zipped for zipped in self._archives(folder) if zipped.is_file()]
            places += [self._target(zipped, self.unpacked) for zipped in zips]
        return places

    def _archives(self, folder: str) -> list[Path]:
        name = folder.rpartition("/")[2]
        return [base / f"{name}.zip" for base in self._bases(folder)]

    def _target(self, zipped: Path, unpacked: Path) -> Path:
        stat = zipped.stat()
        known = f"{zipped.resolve()}/{stat.st_size}/{stat.st_mtime_ns}"
        mark = hashlib.sha256(known.encode()).hexdigest()[:16]
        return unpacked / f"{zipped.stem}-{mark}" / zipped.stem
