"""The report as one HTML page that needs nothing beside it: no network, no script, no font.

Every number on it comes from the functions that write the Markdown report.
"""
