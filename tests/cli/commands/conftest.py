"""Synthetic runs, as for the reports that a command prints."""

from tests.reports.conftest import edit, record, set_field, write_run, write_search

__all__ = ["edit", "record", "set_field", "write_run", "write_search"]
