"""The report as one HTML page that needs no other file, no network and no script."""
