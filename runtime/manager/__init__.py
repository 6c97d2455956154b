"""The whole program in one object: client, shared caches, controllers, servers, election, and their order.

The names below are resolved on first use: a program that only serves HTTP (:mod:`runtime.manager.servers`) does not
pay for controllers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from runtime.lazy import exports

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

__getattr__, __dir__ = exports(__name__, _HOME)
