"""Controller machinery with client-go's semantics, for Python.

The names below are resolved on first use, so that importing one part of the library
(say :mod:`runtime.workqueue`) never pays for another.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from runtime.lazy import exports

if TYPE_CHECKING:
    from runtime.types import GVR, Request, Result, TerminalError

__all__ = ["GVR", "Request", "Result", "TerminalError"]

_HOME = dict.fromkeys(__all__, "runtime.types")

__getattr__, __dir__ = exports(__name__, _HOME)
