"""How Sphinx builds the documentation as a site; `make documentation` runs it."""

import re
from pathlib import Path

PROJECT = Path(__file__).parents[1]

project = "diffunet"
author = "the authors of diffunet"
release = re.findall(
    r'^__version__ = "(.+)"$', (PROJECT / "diffunet/__init__.py").read_text(), flags=re.MULTILINE
)[0]

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
source_suffix = {".md": "markdown"}
myst_heading_anchors = 4  # links to headings, as GitHub makes them

html_theme = "furo"
html_title = f"diffunet {release}"
html_show_sphinx = False
html_copy_source = False

autodoc_typehints = "description"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 80
napoleon_google_docstring = True
