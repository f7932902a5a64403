"""Read and write the files of data sets: downloads, archives, tables, atomic writes."""
