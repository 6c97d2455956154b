"""A Kubernetes API server for tests: real HTTP, all kinds, in one process.

From the socket inwards: ``listener`` accepts, ``http`` frames, ``handler`` knows who asks for what and which fault
strikes, ``verbs`` does it (``reads``, ``watch``, ``writes``, ``patches``, ``apply``, ``deletes``, ``subresources``),
``store`` keeps the objects and ``log`` their changes, ``lifecycle`` finishes deletions in the background. What differs
between kinds is asked of :mod:`runtime.testing.kinds`.

Where client-go has a fake client this is a server, so that a test sees what a real one does: conflicts are detected,
and a deletion has a version of its own (against T2); a watch replays what came after its version and then goes on live
(T3); apply knows managed fields (T4).

Rules kept from the real server (v1.36), beside the obvious ones: a write that changes nothing has no version; a watch
from a forgotten version gets an ERROR event with 410, one from a future version waits; pages of one list show one
moment; removing the last finalizer of a deleted object answers it under its last version.
"""

from runtime.testing.apiserver.audit import Audit, AuditEntry, AuditLogError
from runtime.testing.apiserver.errors import StatusError
from runtime.testing.apiserver.faults import Asked, Fault, Faults
from runtime.testing.apiserver.server import FakeAPIServer

__all__ = ["Asked", "Audit", "AuditEntry", "AuditLogError", "FakeAPIServer", "Fault", "Faults", "StatusError"]
