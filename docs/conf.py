"""The manual as web pages: `make docs` builds it with warnings as errors."""

from importlib.metadata import version as version_of

project = "nymgate"
copyright = "the nymgate authors"  # noqa: A001 - the name that Sphinx reads
release = version = version_of("nymgate")
extensions = ["myst_parser"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"nymgate {release}"
html_show_sphinx = False
# No request to anybody but the site itself when a page is read.
html_theme_options = {"footer_icons": []}
myst_heading_anchors = 4
myst_enable_extensions = ["attrs_block"]
nitpicky = True
# The JSON of the protocol pages leaves things out with "…".
suppress_warnings = ["misc.highlighting_failure"]
