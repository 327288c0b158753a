"""The site of the documentation: `make docs` builds it into site/, with warnings as errors."""

from __future__ import annotations

import sys
from importlib.metadata import version as version_of
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "lsns"
release = version = version_of("lsns")
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "commands",
    "hints",
    "mathml",
    "names",
]
exclude_patterns = ["_ext", "_static"]  # Options begin with two hyphens, not with a dash.
smartquotes = False

# Pages are Markdown that a code host shows as well: no syntax that it would show as text.
myst_enable_extensions = ["dollarmath", "linkify"]
myst_linkify_fuzzy_links = False
myst_heading_anchors = 4
# A price or a shell variable is not an equation.
myst_dmath_allow_digits = False
myst_dmath_allow_space = False

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
napoleon_numpy_docstring = False
napoleon_use_ivar = True
# `name` in a docstring: a link where it is documented, else code; see _ext/names.py.
default_role = "py:obj"
add_module_names = False
python_maximum_signature_line_length = 88
nitpicky = True
# What is documented elsewhere; every name of lsns must be found here.
nitpick_ignore_regex = [
    ("py:.*", r"(collections|pathlib|typing|torch|numpy|jaxtyping|altair|alt|pyarrow)\..+"),
    ("py:.*", r"ndarray|Path|Any|'.*'"),
]
# Of no use to one who does not work on the package itself.
nitpick_ignore = [
    ("py:class", "lsns.store.Store"),
    ("py:class", "lsns.evaluation.benchmark.Benchmark"),
    ("py:class", "lsns.evaluation.conditions.Condition"),
    ("py:class", "lsns.evaluation.conditions.MaskSpec"),
    # Names of types that signatures show as they are written.
    ("py:class", "Masks"),
    ("py:class", "MaskSpec"),
    ("py:class", "Evidence"),
    ("py:class", "Expect"),
    ("py:class", "Verdict"),
    ("py:class", "lsns.specs.Expect"),
    ("py:class", "lsns.specs._Kind"),
    ("py:class", "lsns.specs._text"),
    ("py:class", "text"),
    ("py:class", "lsns.models.source.ModelSource"),
]

html_theme = "furo"
html_title = "lsns"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_js_files = ["site.js"]
html_math_renderer = "mathml"
html_copy_source = False
html_show_sourcelink = False
html_show_copyright = False
html_show_sphinx = False
