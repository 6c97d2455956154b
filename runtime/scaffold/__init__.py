"""A new controller project for somebody's CRD: ``python -m runtime new NAME --crd FILE``.

What is written is a program that runs and tests that pass, not a set of gaps: each object gets a ConfigMap with what it
asks for, and the author replaces that by what the controller is for.
"""

from runtime.scaffold.definition import ScaffoldError
from runtime.scaffold.project import Project, write

__all__ = ["Project", "ScaffoldError", "write"]
