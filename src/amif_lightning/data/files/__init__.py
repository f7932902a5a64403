"""Read and write the files of data sets: downloads, archives, tables, atomic writes."""

__all__ = [
    "archives",
    "atomic",
    "downloads",
    "json_files",
    "parquet",
    "reduced_copies",
    "sources",
    "tables",
]
