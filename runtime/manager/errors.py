"""Why a manager could not be made, or ended."""

from __future__ import annotations

__all__ = ["BadOption", "BindError", "LeaderElectionLost", "ManagerError", "ShutdownTimeout"]


class ManagerError(Exception):
    """Root of the manager's own errors: a program prints them and exits with 1."""


class BadOption(ManagerError, ValueError):
    """An option that makes no sense; the message names it."""


class BindError(ManagerError):
    """A server cannot listen on its address; the message says which, why, and what to do."""


class LeaderElectionLost(ManagerError):
    """Another instance leads now. What ran here has been cancelled; the process must end (M3)."""


class ShutdownTimeout(ManagerError):
    """Something still ran when the grace period was over (M3); the message names it. Its threads are left behind."""
