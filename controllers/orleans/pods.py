"""What the Pods say of a silo: that its Pod is there, or that it is gone for good.

Orleans.Hosting.Kubernetes calls a silo like its Pod and has it listen at the Pod's address; without it the host name is
the Pod's. A row is taken for a Pod's if the name (either) and the address agree. That its Pod is gone then needs proof:
that there is no Pod of that name proves nothing of a silo that never ran in one.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from controllers.orleans.settings import SKEW
from membership.orleans.address import SiloAddress
from membership.orleans.entry import MembershipEntry
from runtime.client import Unstructured
from runtime.types import GVR

PODS = GVR("", "v1", "pods")
CLUSTER_LABEL = "orleans/clusterId"
"""Orleans.Hosting.Kubernetes puts it on the Pods of its silos."""

_FINISHED = ("Succeeded", "Failed")


@dataclass(frozen=True, slots=True)
class Pod:
    """What matters of a Pod. :ivar addresses: of the Pod, in the form of :class:`SiloAddress`."""

    name: str
    uid: str
    addresses: frozenset[str]
    created: datetime | None = None
    finished: bool = False
    ready: bool = False
    deleting: bool = False


class Binding(NamedTuple):
    """Which Pod a silo was seen to run in."""

    name: str
    uid: str


class Trace(enum.Enum):
    """What is known of a silo's Pod."""

    NONE = "none"  # the silo runs in none, or nobody can tell
    RUNNING = "running"
    GONE = "gone"  # proven: deleted, replaced or finished
    MISSING = "missing"  # by its name it was a Pod's, and that is not there; but we have never seen it run in that Pod


@dataclass(frozen=True, slots=True)
class Evidence:
    """:ivar text: what is so of the Pod; empty with ``NONE``. :ivar pod: the one it runs in."""

    trace: Trace
    text: str = ""
    pod: Pod | None = None


NOTHING = Evidence(Trace.NONE)
ByName = Callable[[str], Pod | None]


def pod_of(obj: Unstructured) -> Pod:
    """The Pod as it stands in the cache."""
    status = obj.get("status") or {}
    conditions = status.get("conditions") or ()
    return Pod(
        name=obj.name,
        uid=obj.uid,
        addresses=frozenset(_addresses(status)),
        created=obj.creation_timestamp,
        finished=status.get("phase") in _FINISHED,
        ready=any(one.get("type") == "Ready" and one.get("status") == "True" for one in conditions),
        deleting=obj.deletion_timestamp is not None,
    )


def evidence(entry: MembershipEntry, by_name: ByName, seen: Binding | None, hosted: bool) -> Evidence:
    """What is to be thought of the Pod of a silo.

    :param by_name: the Pods of the silo's namespace, all of them.
    :param seen: the Pod this silo was seen to run in earlier.
    :param hosted: Orleans.Hosting.Kubernetes has labelled Pods of this cluster. At its start each silo then declares
        those dead whose name is no Pod's; hence so do we, if the name is the host's as well.
    """
    found = [pod for name in names_of(entry, seen) if (pod := by_name(name)) is not None]
    for pod in found:
        if entry.silo_address.address in pod.addresses:
            if pod.finished:
                return Evidence(Trace.GONE, f"its Pod {pod.name} has finished")
            return Evidence(Trace.RUNNING, f"its Pod {pod.name} is there", pod)
    for pod in found:
        known = seen if seen is not None and seen.name == pod.name else None
        if known is not None and known.uid == pod.uid and pod.finished:
            return Evidence(Trace.GONE, f"its Pod {pod.name} has finished")  # an evicted one has no address any more
        if not pod.addresses:
            return NOTHING  # it may run already, with this address: the kubelet is a moment behind
        if known is not None:  # of the same uid it has got new sandboxes, and nothing runs on in the old ones
            return Evidence(Trace.GONE, f"Pod {pod.name} has another address: the one it ran in was replaced")
        if _came_after(pod, entry):
            return Evidence(Trace.MISSING, f"Pod {pod.name} was made after its last sign of life")
    if found:
        return NOTHING
    if seen is not None:
        return Evidence(Trace.GONE, f"its Pod {seen.name} was deleted")
    if hosted and entry.silo_name and entry.silo_name == entry.host_name:
        return Evidence(Trace.MISSING, f"there is no Pod {entry.silo_name}")
    return NOTHING


def names_of(entry: MembershipEntry, seen: Binding | None) -> tuple[str, ...]:
    """Those of the Pod that a silo may run in, the likeliest first."""
    names = (seen.name if seen is not None else "", entry.silo_name, entry.host_name)
    return tuple(dict.fromkeys(name for name in names if name))


def binding_of(found: Evidence) -> Binding | None:
    """What to remember of a look. A Pod that is being deleted may be followed by one with the same name and address, of
    which the cache does not know yet: it is not bound anew."""
    pod = found.pod
    return Binding(pod.name, pod.uid) if pod is not None and not pod.deleting else None


def _came_after(pod: Pod, entry: MembershipEntry) -> bool:
    """Whether the silo ran, and fell silent, before this Pod with its name was made: there is never more than one."""
    if pod.created is None:
        return False
    return entry.start_time < pod.created and entry.last_alive <= pod.created + timedelta(seconds=SKEW)


def _addresses(status: dict[str, Any]) -> Iterator[str]:
    for text in (status.get("podIP"), *(one.get("ip") for one in status.get("podIPs") or ())):
        try:
            if text:
                yield SiloAddress(text, 0, 0).address
        except ValueError:
            continue  # no address of any silo either
