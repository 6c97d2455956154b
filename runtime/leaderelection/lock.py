"""The Lease that candidates compete for, and what it says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from runtime.client import Client, Interrupt, Unstructured, Watch, WatchEvent
from runtime.types import GVR, JSONObject

LEASES = GVR("coordination.k8s.io", "v1", "leases")


@dataclass(frozen=True, slots=True)
class LeaseRecord:
    """The ``spec`` of a Lease.

    :ivar holder: identity of the leader; ``""``: the lease is free (L6).
    :ivar duration: whole seconds for which the holder leads after each renewal.
    :ivar acquired: when the holder took it, :ivar renewed: when it last renewed, both by the holder's wall
        clock: for people to read, never compared with ours (L4).
    :ivar transitions: how often the holder changed.
    """

    holder: str = ""
    duration: int = 0
    acquired: str = ""
    renewed: str = ""
    transitions: int = 0


class LeaseLock:
    """One Lease object, written by compare-and-swap on its resourceVersion. Used by one elector, in one thread, but for
    :meth:`watch` and :meth:`told`.

    :param identity: unique to this process, and never reused while a predecessor may be alive: a candidate that
        finds its own identity in the Lease goes on leading at once. See :func:`unique_identity`.
    :param labels: merged into the Lease's labels at every write; others are preserved (L14).
    """

    def __init__(
        self, client: Client, namespace: str, name: str, identity: str, *, labels: Mapping[str, str] | None = None
    ) -> None:
        self.namespace = namespace
        self.name = name
        self.identity = identity
        self._labels = dict(labels or {})
        self._leases = client.resource(LEASES, namespace=namespace)
        self._lease: Unstructured | None = None

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"

    @property
    def lease(self) -> Unstructured | None:
        """The Lease as last read or written."""
        return self._lease

    def get(self, timeout: float) -> LeaseRecord:
        """Read the Lease.

        :raises NotFound: there is none yet.
        :raises ClientError: any other failure; nothing is known.
        """
        self._lease = self._leases.get(self.name, timeout=timeout)
        return _record(self._lease)

    def create(self, record: LeaseRecord, timeout: float) -> LeaseRecord:
        """Create the Lease; returns what is stored.

        :raises AlreadyExists: another candidate was faster, or an earlier create of ours whose answer was lost.
        """
        lease = {
            "apiVersion": LEASES.api_version,
            "kind": "Lease",
            "metadata": {"name": self.name, "namespace": self.namespace, "labels": self._labels},
            "spec": _spec(record),
        }
        self._lease = self._leases.create(lease, timeout=timeout)
        return _record(self._lease)

    def watch(self, silence: float, stop: Interrupt) -> Watch:
        """The changes of the Lease from now on, its present state first. Iterate it with :meth:`told`.

        :param silence: seconds without any event after which :class:`IdleTimeout` is raised.
        :raises ClientError: the server does not take the watch. :class:`Forbidden`: it never will.
        """
        only_ours = f"metadata.name={self.name}"
        return self._leases.bound(stop=stop).watch(field_selector=only_ours, idle_timeout=silence)

    def told(self, event: WatchEvent) -> LeaseRecord | None:
        """What an event of :meth:`watch` says; None if that is no news: it is older than what was read or written, or
        the Lease was deleted. Its holder leads all the same, until it finds that out."""
        known = self._lease
        if event.type in ("BOOKMARK", "DELETED") or (known is not None and not _newer(event.object, known)):
            return None
        return _record(event.object)

    def update(self, record: LeaseRecord, timeout: float) -> LeaseRecord:
        """Replace the record of the Lease as it was last read or written; returns what is stored.

        Fields of others are kept, but an empty holder also ends a coordinated election (L11).

        :raises Conflict: it has changed since.
        """
        if self._lease is None:
            raise RuntimeError(f"lease {self}: update before get or create")
        lease = self._lease.to_dict()
        if self._labels:
            metadata = lease["metadata"]
            metadata["labels"] = {**(metadata.get("labels") or {}), **self._labels}
        lease["spec"] = {**(lease.get("spec") or {}), **_spec(record)}
        if not record.holder:
            for field in ("strategy", "preferredHolder"):
                lease["spec"].pop(field, None)
        self._lease = self._leases.update(lease, timeout=timeout)
        return _record(self._lease)


def timestamp(moment: datetime) -> str:
    """As the API writes a MicroTime."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _newer(lease: Unstructured, known: Unstructured) -> bool:
    one, other = lease.resource_version, known.resource_version
    return int(one) > int(other) if one.isdecimal() and other.isdecimal() else one != other


def _spec(record: LeaseRecord) -> JSONObject:
    return {
        "holderIdentity": record.holder,
        "leaseDurationSeconds": record.duration,
        "acquireTime": record.acquired,
        "renewTime": record.renewed,
        "leaseTransitions": record.transitions,
    }


def _record(lease: Unstructured) -> LeaseRecord:
    spec = lease.get("spec") or {}
    return LeaseRecord(
        holder=spec.get("holderIdentity") or "",
        duration=int(spec.get("leaseDurationSeconds") or 0),
        acquired=spec.get("acquireTime") or "",
        renewed=spec.get("renewTime") or "",
        transitions=int(spec.get("leaseTransitions") or 0),
    )
