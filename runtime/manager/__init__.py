"""The whole program in one object: client, shared caches, controllers, servers, election, and their order."""

from __future__ import annotations

from runtime.manager.election import LeaderElectionLost
from runtime.manager.lifecycle import ShutdownTimeout
from runtime.manager.manager import Manager
from runtime.manager.servers import BindError

__all__ = ["BindError", "LeaderElectionLost", "Manager", "ShutdownTimeout"]
