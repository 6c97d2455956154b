"""The documentation as a site: ``make docs``. The pages are Markdown, the reference comes from the docstrings."""

from __future__ import annotations

import pydoc
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from sphinx import addnodes
from sphinx.util.nodes import make_refnode

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
# What a docstring refers to must be there.
nitpicky = True
suppress_warnings = ["ref.python"]  # of two homes of one name either will do


def _find(
    app: Sphinx, env: BuildEnvironment, node: addnodes.pending_xref, text: nodes.TextElement
) -> nodes.TextElement | None:
    """A link that Sphinx does not find by itself; plain text for what has no page; None for what is not there."""
    if node.get("refdomain") != "py" or _is_a_type(node, text):
        return text if node.get("refdomain") == "py" else None
    target = str(node["reftarget"])
    for name, found in env.domains.python_domain.objects.items():
        if name.endswith(f".{target}"):
            return make_refnode(app.builder, node["refdoc"], found.docname, found.node_id, text)
    above = [part for part in (node.get("py:module"), node.get("py:class")) if part]
    places = [".".join([*above[:count], target]) for count in range(len(above) + 1)]
    return text if any(_exists(place) for place in places) else None


def _is_a_type(node: addnodes.pending_xref, text: nodes.TextElement) -> bool:
    """Whether it is of a signature or a field list: types are links where they have a page."""
    above = node.parent
    while above is not None and not isinstance(above, addnodes.desc_signature):
        above = above.parent
    return above is not None or isinstance(text, addnodes.literal_strong | addnodes.literal_emphasis)


def _exists(name: str) -> bool:
    try:
        return pydoc.locate(name) is not None
    except pydoc.ErrorDuringImport:
        return False


def setup(app: Sphinx) -> None:
    app.connect("missing-reference", _find)
