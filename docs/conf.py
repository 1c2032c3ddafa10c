"""The site: `sphinx-build -W -b html docs build/docs`. It needs the extra [docs] and the built package."""

import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent
sys.path.insert(0, str(DOCS / "_ext"))
try:
    import cyevent
except ModuleNotFoundError:
    # Nothing is installed: the modules that were built in place.
    sys.path.append(str(DOCS.parent))
    import cyevent

project = "cyevent"
author = "The cyevent authors"
copyright = author
release = version = cyevent.__version__

extensions = ["myst_parser", "cyevent_api", "outside_links"]
exclude_patterns = ["_ext"]
html_theme = "furo"
html_title = f"cyevent {release}"
html_show_copyright = False
html_theme_options = {"navigation_with_keys": True}

# C API, Cython and Python spell types differently; names that are in no page are no mistake.
nitpicky = False
add_module_names = False
python_display_short_literal_types = True
python_maximum_signature_line_length = 80
toc_object_entries_show_parents = "hide"

myst_enable_extensions = ["colon_fence", "deflist", "fieldlist"]
myst_heading_anchors = 3
