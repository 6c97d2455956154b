"""Controller machinery with client-go's semantics, for Python.

The names below are resolved on first use, so that importing one part of the library
(say :mod:`runtime.workqueue`) never pays for another.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runtime.types import GVR, Request, Result, TerminalError

__all__ = ["GVR", "Request", "Result", "TerminalError"]

_HOME = dict.fromkeys(__all__, "runtime.types")


def __getattr__(name: str) -> object:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
