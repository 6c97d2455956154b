"""A real control plane for tests: etcd and kube-apiserver as processes, by the conventions of envtest.

``binaries`` finds the programs, ``settings`` makes their command lines, ``programs`` starts, watches and ends them, and
``plane`` puts them together behind the interface of :class:`~runtime.testing.FakeAPIServer`.
"""

from runtime.testing.controlplane.binaries import Binaries, BinariesMissing, find_binaries
from runtime.testing.controlplane.plane import ControlPlane
from runtime.testing.controlplane.programs import ControlPlaneFailed

__all__ = ["Binaries", "BinariesMissing", "ControlPlane", "ControlPlaneFailed", "find_binaries"]
