"""The files of MIMIC-CXR: tables, reports and their sections."""
