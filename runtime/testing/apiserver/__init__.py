"""A Kubernetes API server for tests: real HTTP, all kinds, in one process."""

from runtime.testing.apiserver.audit import Audit, AuditEntry
from runtime.testing.apiserver.errors import StatusError
from runtime.testing.apiserver.faults import Asked, Fault, Faults
from runtime.testing.apiserver.server import FakeAPIServer

__all__ = ["Asked", "Audit", "AuditEntry", "FakeAPIServer", "Fault", "Faults", "StatusError"]
