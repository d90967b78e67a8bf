"""How Sphinx builds these pages: `sphinx-build -W -b html docs OUT`."""

import re
from pathlib import Path

_package = (Path(__file__).parents[1] / "sagan" / "__init__.py").read_text(encoding="utf-8")

project = "sagan"
copyright = "the sagan authors"
release = re.findall(r'__version__ = "(.+)"', _package)[0]

extensions = ["myst_parser"]
myst_heading_anchors = 3  # so that pages can link to one another's headings
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"sagan {release}"
