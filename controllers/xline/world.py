"""One look at one XlineCluster, and what may come of it: a :class:`World` goes in, the next :class:`Action` comes out.

Each concern (scaling, rolling, expanding, recovering, ...) is a module with a pure function ``next_action(world)``: the
one thing it would do now, or None if it is content. ``controllers.xline.decide`` asks them in their order of
precedence. The same functions serve the operator, and ``plan``, which only prints.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, TypeAlias

from controllers.xline.members import Endpoint, EngineView
from controllers.xline.names import Names
from controllers.xline.workloads import Backend, Workload
from crds.xlinecluster import Bootstrap, XlineCluster
from crds.xlineplan import MembershipPlan
from membership.xline.client import ListedMember
from membership.xline.engines import EngineProfile, profile_for
from membership.xline.model import Heartbeat
from runtime.client import Unstructured
from runtime.controller import ReconcileContext
from runtime.types import JSONMapping

AVAILABLE: Final = "Available"  # the condition that tells whether clients are served


@dataclass(frozen=True, slots=True)
class MemberView:
    """Everything that is known about one ordinal, wanted or not.

    :ivar pod: None if there is none.
    :ivar claim: of its data volume; None if there is none.
    :ivar listed_id: the engine's id of the member, by the engine's own list; 0 if it lists none.
    :ivar heartbeat: the last one on its Pod.
    """

    ordinal: int
    name: str
    pod: Unstructured | None
    claim: Unstructured | None
    listed_id: int = 0
    voter: bool = False
    learner: bool = False
    healthy: bool = False  # its server answers for itself, follows the leader, and its Pod is ready
    heartbeat: Heartbeat | None = None

    @property
    def listed(self) -> bool:
        """Whether the engine counts it among the members, started or not."""
        return self.listed_id != 0

    @property
    def terminating(self) -> bool:
        """Whether its Pod has been told to end."""
        return self.pod is not None and self.pod.deletion_timestamp is not None

    @property
    def ready(self) -> bool:
        """Whether its Pod is ready; one that is being deleted stops serving any moment."""
        if self.pod is None or self.terminating:
            return False
        status: JSONMapping = self.pod.get("status") or {}
        return any(
            condition.get("type") == "Ready" and condition.get("status") == "True"
            for condition in status.get("conditions") or ()
        )

    @property
    def address(self) -> str:
        """Of its Pod; ``""`` while it has none."""
        status: JSONMapping = (self.pod.get("status") if self.pod is not None else None) or {}
        return str(status.get("podIP") or "")


@dataclass(frozen=True, slots=True)
class World:
    """What one look has seen. Read-only.

    :ivar plan: as it is persisted; where none is yet, the one that is published first (``plan.revision`` is 0 then).
    :ivar workload: the live StatefulSet or AdvancedStatefulSet behind its common face.
    :ivar members: by ordinal: those of the plan, of the workload, of Pods and of the engine's list. Pods and members of
        other names are in none of them.
    :ivar leader: ordinal of the leader a majority agrees on; None: there is none, or it is not known.
    :ivar now: when it was looked; aware.
    :ivar strangers: members by the engine's list which are none of this cluster's Pods.
    :ivar endpoints: by name, of the members that can be asked: those whose Pod has an address.
    """

    obj: Unstructured
    cluster: XlineCluster
    names: Names
    bootstrap: Bootstrap
    plan: MembershipPlan
    workload: Workload
    members: Mapping[int, MemberView]
    engine: EngineView
    leader: int | None
    now: datetime
    endpoints: Mapping[str, Endpoint] = field(default_factory=dict)
    strangers: tuple[ListedMember, ...] = ()

    @property
    def backend(self) -> Backend:
        return self.workload.backend

    @property
    def ordinals(self) -> tuple[int, ...]:
        """Of the members the cluster shall have, ascending."""
        return tuple(self.plan.ordinals)

    @property
    def wanted(self) -> tuple[MemberView, ...]:
        """The members the cluster shall have, by ordinal; also those of which nothing is there yet."""
        return tuple(self.members[ordinal] for ordinal in self.ordinals)

    @property
    def profile(self) -> EngineProfile:
        return profile_for(self.cluster.spec)

    @property
    def listing_known(self) -> bool:
        """Whether the engine's own member list could be had: without it nobody knows who is not a member."""
        return bool(self.engine.listed)

    def ordinal_of(self, member: str) -> int | None:
        """The ordinal in a member's name; None if it is none of this cluster's."""
        return self.names.ordinal(member)


class Refused(Exception):
    """What an action cannot do until a person acts.

    :param reason: one CamelCase word, stable: of the condition and the event.
    :param message: a sentence that names object or field and says what to do.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


Do: TypeAlias = Callable[[ReconcileContext], None]


@dataclass(frozen=True, slots=True)
class Action:
    """The next thing to do, one API call (or one call of a member) at most.

    :ivar reason: one CamelCase word, stable: of the condition and the event.
    :ivar message: what is done or waited for, and why: a sentence for people.
    :ivar do: does it; None: there is nothing to do but wait until what the message names has happened. Raises
        ClientError or EngineError if that may pass, and :class:`Refused` if it does not.
    :ivar again: seconds after which to look again if nothing wakes us before.
    :ivar blocks: of a wait: whether what comes after it in the order has to wait, too.
    """

    reason: str
    message: str
    do: Do | None = None
    again: float = 5.0
    blocks: bool = True
