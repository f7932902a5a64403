"""The report as one HTML page that needs no other file, no network and no script."""

__all__ = [
    "bars",
    "charts",
    "curves",
    "page",
    "provenance",
    "samples",
    "sections",
    "sheets",
    "thumbnails",
]
