"""Leader election: of many processes, one does the work.

Candidates compete for a ``Lease`` in the API server. See :class:`LeaderElector` for what is promised, and
the rules L1 to L16 in client-go.md. Of client-go's lock types only the Lease is left (L15); the alpha of
coordinated election (L17) is not offered.
"""

from runtime.leaderelection.elector import ElectionStats, EventSink, LeaderElector
from runtime.leaderelection.identity import unique_identity
from runtime.leaderelection.lock import LEASES, LeaseLock, LeaseRecord

__all__ = [
    "ElectionStats",
    "EventSink",
    "LEASES",
    "LeaderElector",
    "LeaseLock",
    "LeaseRecord",
    "unique_identity",
]
