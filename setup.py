"""The three roots, which setup.cfg cannot discover together; all metadata is in setup.cfg."""

from setuptools import find_packages, setup  # type: ignore[import-untyped]  # stubs for one call

setup(
    packages=[
        *find_packages("src"),
        *find_packages(".", include=["data_modules", "data_modules.*"]),
        "amif_lightning.experiments",  # configurations only, for `prepare experiments`
    ],
)
