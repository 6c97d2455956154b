"""The whole program in one object: client, shared caches, controllers, servers, election, and their order.

The names below are resolved on first use: a program that only serves HTTP (:mod:`runtime.manager.servers`) does not
pay for controllers.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runtime.manager.cache import Cache
    from runtime.manager.errors import BadOption, BindError, LeaderElectionLost, ManagerError, ShutdownTimeout
    from runtime.manager.manager import Manager

__all__ = ["BadOption", "BindError", "Cache", "LeaderElectionLost", "Manager", "ManagerError", "ShutdownTimeout"]

_HOME = {
    **dict.fromkeys(__all__, "runtime.manager.errors"),
    "Cache": "runtime.manager.cache",
    "Manager": "runtime.manager.manager",
}


def __getattr__(name: str) -> object:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
