"""Synthetic runs, as for the reports that a command prints."""

from tests.reports.conftest import write_run, write_search

__all__ = ["write_run", "write_search"]
