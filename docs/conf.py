"""The documentation as a site: ``make docs``. The pages are Markdown, the reference comes from the docstrings."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from sphinx import addnodes

if TYPE_CHECKING:
    from docutils import nodes
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

project = "xline-operator"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "xline-operator"
html_copy_source = False

myst_heading_anchors = 4
autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
# A link that a docstring asks for must lead somewhere.
nitpicky = True
suppress_warnings = ["ref.python"]  # of two homes of one name either will do


def _types_need_no_page(
    app: Sphinx, env: BuildEnvironment, node: addnodes.pending_xref, text: nodes.TextElement
) -> nodes.TextElement | None:
    """The types in signatures and field lists are links where they have a page, and text where they have none."""
    del app, env
    above = node.parent
    while above is not None:
        if isinstance(above, addnodes.desc_signature):
            return text
        above = above.parent
    return text if node.get("reftarget", "").split(".")[0] in _ELSEWHERE or "refspecific" not in node else None


_ELSEWHERE = {*sys.stdlib_module_names, *dir(__builtins__), "msgspec", "urllib3", "pytest"}


def setup(app: Sphinx) -> None:
    app.connect("missing-reference", _types_need_no_page)
