"""The whole program in one object: client, shared caches, controllers, servers, election, and their order."""

from __future__ import annotations

from runtime.manager.cache import Cache
from runtime.manager.errors import BadOption, BindError, LeaderElectionLost, ManagerError, ShutdownTimeout
from runtime.manager.manager import Manager

__all__ = ["BadOption", "BindError", "Cache", "LeaderElectionLost", "Manager", "ManagerError", "ShutdownTimeout"]
