"""Entry points: ``python -m cmd.controller``, ``python -m cmd.crds``.

The standard library has a module of this name too, which ``pdb`` and others import. Run from this tree they
find this package instead, so it gives them all that the standard module has.
"""

from __future__ import annotations

import importlib.util
import sysconfig
from pathlib import Path

_spec = importlib.util.spec_from_file_location("_stdlib_cmd", Path(sysconfig.get_path("stdlib")) / "cmd.py")
if _spec is None or _spec.loader is None:
    raise ImportError("the standard library's module 'cmd' cannot be found")
_stdlib = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_stdlib)

__all__ = list(_stdlib.__all__)
globals().update({name: value for name, value in vars(_stdlib).items() if not name.startswith("__")})
