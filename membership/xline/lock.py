"""The lock under which a cluster's membership is changed: one change at a time, by one agent.

The Lease ``NAME-membership`` in the cluster's namespace, taken and given back by compare-and-swap. etcd refuses a
second change while one is under way; Xline does not, and neither keeps two agents from deciding on the same list.

A holder that dies keeps the others waiting until its time is up, as they measure it: from when they saw the Lease
change last, on their own monotonic clock. A holder that hangs finds out before its next write (:meth:`Hold.check`).

An agent that has it already (it defragments, which takes long, and is to leave meanwhile) does two things under one
hold, which is given back when the first of them is done with. A hold under which something may still go on that nobody
can wait for is not given back at all (:meth:`Hold.abandon`): everybody waits until its time is up, its holder too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from membership.xline.model import MEMBERSHIP_LEASE_SUFFIX
from runtime.client import AlreadyExists, Client, ClientError, Conflict, NotFound, Unstructured
from runtime.clock import SYSTEM, Clock
from runtime.leaderelection import LEASES
from runtime.leaderelection.lock import timestamp
from runtime.logging import get_logger
from runtime.types import JSONObject

DURATION = 15.0  # seconds, whole: so long a dead holder keeps the others waiting
NEEDED = 5.0  # seconds of it that must be left before a write: its deadline, and clocks that run differently
_CALL = 3.0  # seconds for one request
_LOOK = 1.0  # seconds between two looks at a Lease somebody else holds

_log = get_logger("membership.xline.lock")


class LockBusy(Exception):
    """Somebody else changes the membership.

    :ivar holder: its identity.
    """

    def __init__(self, lease: str, holder: str) -> None:
        super().__init__(f"Lease {lease} is held by {holder}")
        self.holder = holder


class LockLost(Exception):
    """Our time is up, or somebody took the Lease: nothing more may be written. Begin anew."""


class Hold:
    """That the lock is ours. Used in one thread, inside of :meth:`MembershipLock.held`.

    :ivar abandoned: see :meth:`abandon`.
    """

    def __init__(self, lock: MembershipLock, lease: Unstructured, since: float) -> None:
        self._lock = lock
        self._holder = lock.holder
        self._lease = lease
        self._since = since
        self.abandoned = False

    @property
    def remaining(self) -> float:
        """Seconds until it ends, unless renewed."""
        return self._since + self._lock.duration - self._lock.clock.monotonic()

    def check(self, need: float = NEEDED) -> None:
        """Call this before each write.

        :param need: seconds the write may take; the lock is renewed if fewer are left.
        :raises LockLost: the lock is no longer ours, or that could not be made sure of.
        """
        if self.remaining >= need:
            return
        if self.remaining <= 0:
            raise LockLost(f"{self._lock}: held for too long")
        self._renew()
        if self.remaining < need:
            raise LockLost(f"{self._lock}: renewing it took too long")

    def _renew(self) -> None:
        since = self._lock.clock.monotonic()
        try:
            self._lease = self._lock.write(self._lease, self._holder)
        except ClientError as error:
            raise LockLost(f"{self._lock}: not renewed: {error}") from error
        self._since = since

    def abandon(self) -> None:
        """Keep it for its whole time from now on, and give it back to nobody, not even to ourselves: a change was asked
        for, and nobody knows whether it is still under way."""
        if self.abandoned:
            return
        self.abandoned = True
        self._lock.forsake()
        try:
            self._renew()
        except LockLost as error:
            _log.warning("the membership lock is not kept for longer", lease=str(self._lock), error=str(error))

    def release(self) -> None:
        """Best effort: what is not given back runs out."""
        if self.abandoned:
            return
        try:
            self._lock.write(self._lease, "")
        except ClientError as error:
            _log.info("the membership lock is left to run out", lease=str(self._lock), error=str(error))


class MembershipLock:
    """One agent's access to the lock of its cluster. Used in one thread.

    :param holder: identity of this life of the agent; never reused.
    :param owner: asked for an owner reference when the Lease has to be created, so that it goes with the cluster.
    """

    def __init__(
        self,
        client: Client,
        namespace: str,
        cluster: str,
        holder: str,
        *,
        owner: Callable[[], JSONObject | None] = lambda: None,
        clock: Clock | None = None,
        duration: float = DURATION,
    ) -> None:
        self.holder = holder
        self._first_name = holder
        self._forsaken = 0
        self._hold: Hold | None = None
        self.owner = owner
        self.clock = clock or SYSTEM
        self.duration = duration
        self._name = cluster + MEMBERSHIP_LEASE_SUFFIX
        self._namespace = namespace
        self._leases = client.resource(LEASES, namespace=namespace)
        self._seen: tuple[str, str, float] = ("", "", 0.0)  # uid, resourceVersion, since when

    def __str__(self) -> str:
        return f"{self._namespace}/{self._name}"

    @contextmanager
    def held(self, timeout: float = 0.0) -> Iterator[Hold]:
        """The lock, for as long as the block lasts and :meth:`Hold.check` says so; inside of another such block the
        hold of that one.

        :param timeout: seconds to wait for whoever has it; 0: ask once.
        :raises LockBusy: somebody else has it.
        :raises ClientError: the API server could not be asked, or refused. The lock may be ours nevertheless: then it
            is taken at once the next time, or runs out.
        """
        outer = self._outer()
        if outer is not None:
            yield outer
            return
        hold = self._hold = self._acquire(self.clock.monotonic() + timeout)
        try:
            yield hold
        finally:
            if self._hold is hold:
                self._hold = None
            hold.release()

    def watch(self) -> None:
        """Look at the Lease, so that a holder that has died is known for one by the time the lock is needed.

        :raises ClientError: the API server does not say.
        """
        with suppress(NotFound):
            self._ran_out(self._leases.get(self._name, timeout=_CALL))

    def _outer(self) -> Hold | None:
        """The hold there is, if it is good for something else, too."""
        hold = self._hold
        if hold is None or hold.abandoned:
            return None
        try:
            hold.check()
        except LockLost:
            return None
        return hold

    def forsake(self) -> None:
        """Be somebody else from now on, who waits for the one we were."""
        self._forsaken += 1
        self.holder = f"{self._first_name}~{self._forsaken}"

    def write(self, lease: Unstructured, holder: str) -> Unstructured:
        """Put ``holder`` into the Lease as it was last read.

        :raises Conflict: it has changed since.
        """
        body = lease.to_dict()
        spec = dict(body.get("spec") or {})
        now = timestamp(self.clock.now())
        if holder != (spec.get("holderIdentity") or ""):
            spec["leaseTransitions"] = int(spec.get("leaseTransitions") or 0) + (1 if holder else 0)
            spec["acquireTime"] = now
        spec.update(holderIdentity=holder, renewTime=now, leaseDurationSeconds=math.ceil(self.duration))
        body["spec"] = spec
        return self._leases.update(body, timeout=_CALL)

    def _acquire(self, deadline: float) -> Hold:
        while True:
            hold, holder = self._try()
            if hold is not None:
                return hold
            if self.clock.monotonic() + _LOOK > deadline:
                raise LockBusy(str(self), holder)
            self.clock.sleep(_LOOK)

    def _try(self) -> tuple[Hold | None, str]:
        """The lock, or who has it."""
        since = self.clock.monotonic()
        try:
            lease = self._leases.get(self._name, timeout=_CALL)
        except NotFound:
            lease = self._created()
        holder = str((lease.get("spec") or {}).get("holderIdentity") or "")
        # Our own name without a hold: an answer of ours that was lost. Nobody else in this life uses it.
        if holder not in ("", self.holder) and not self._ran_out(lease):
            return None, holder
        try:
            return Hold(self, self.write(lease, self.holder), since), ""
        except Conflict:
            return None, holder or "somebody who was faster"

    def _created(self) -> Unstructured:
        metadata: JSONObject = {"name": self._name, "namespace": self._namespace}
        owner = self.owner()
        if owner is not None:
            metadata["ownerReferences"] = [owner]
        lease = {"apiVersion": LEASES.api_version, "kind": "Lease", "metadata": metadata, "spec": {}}
        try:
            return self._leases.create(lease, timeout=_CALL)
        except AlreadyExists:
            return self._leases.get(self._name, timeout=_CALL)

    def _ran_out(self, lease: Unstructured) -> bool:
        """Whether it has not changed for its holder's time while we looked."""
        now = self.clock.monotonic()
        if self._seen[:2] != (lease.uid, lease.resource_version):
            self._seen = (lease.uid, lease.resource_version, now)
        duration = float((lease.get("spec") or {}).get("leaseDurationSeconds") or 0) or self.duration
        return now - self._seen[2] > duration
