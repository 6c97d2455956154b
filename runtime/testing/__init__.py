"""What tests, and a laptop without Kubernetes, need: an API server, a real control plane behind the same interface,
local nodes, a clock that only you move, and a scripted collection for informers.

Names are resolved on first use: a test that only wants :class:`FakeClock` does not load the server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from runtime.lazy import exports

if TYPE_CHECKING:
    from runtime.testing.apiserver import FakeAPIServer
    from runtime.testing.clock import FakeClock
    from runtime.testing.controllersource import FakeControllerSource, SourceRequest
    from runtime.testing.controlplane import ControlPlane
    from runtime.testing.interface import APIServer

_HOME = {
    "APIServer": "runtime.testing.interface",
    "ControlPlane": "runtime.testing.controlplane",
    "FakeAPIServer": "runtime.testing.apiserver",
    "FakeClock": "runtime.testing.clock",
    "FakeControllerSource": "runtime.testing.controllersource",
    "SourceRequest": "runtime.testing.controllersource",
}

__all__ = ["APIServer", "ControlPlane", "FakeAPIServer", "FakeClock", "FakeControllerSource", "SourceRequest"]

__getattr__, __dir__ = exports(__name__, _HOME)
