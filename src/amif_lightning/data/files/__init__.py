"""Files before any reader sees them: downloads, archives, tables, atomic writes."""

__all__ = [
    "archives",
    "atomic",
    "downloads",
    "json_files",
    "listings",
    "parquet",
    "reduced_copies",
    "sources",
    "tables",
]
