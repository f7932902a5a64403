"""Configuration of Sphinx: `make docs`."""

from __future__ import annotations

import amif_lightning

project = "AMiF-Lightning"
release = version = amif_lightning.__version__
extensions = [
    "myst_nb",  # Markdown, and the notebook with its stored output
    "sphinx.ext.apidoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
myst_heading_anchors = 3
suppress_warnings = ["myst.header"]  # printed tables begin below a report's title
napoleon_use_ivar = True  # attributes of a class docstring are also fields
nb_execution_mode = "off"
html_theme = "furo"
html_title = project
apidoc_modules = [
    {"path": path, "destination": "api", "module_first": True, "max_depth": 2}
    for path in ("../src/amif_lightning", "../data_modules")
]
autodoc_member_order = "bysource"
autodoc_typehints = "description"
