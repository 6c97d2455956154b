"""One look at one XlineCluster, and what may come of it: a :class:`World` goes in, the next :class:`Action` comes out.

Each concern (scaling, rolling, expanding, recovering, ...) is a module with a pure function ``next_action(world)``: the
one thing it would do now, or None if it is content. ``controllers.xline.decide`` asks them in their order of
precedence. The same functions serve the operator, and ``plan``, which only prints.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from controllers.xline.members import EngineView
from controllers.xline.names import Names
from controllers.xline.workloads import Workload
from crds.xlinecluster import Bootstrap, XlineCluster
from crds.xlineplan import MembershipPlan
from membership.xline.model import Heartbeat
from runtime.client import Unstructured
from runtime.controller import ReconcileContext


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


@dataclass(frozen=True, slots=True)
class World:
    """What one look has seen. Read-only.

    :ivar plan: as it is persisted.
    :ivar workload: the live StatefulSet or AdvancedStatefulSet behind its common face.
    :ivar members: by ordinal: those of the plan, of the workload, of Pods and of the engine's list.
    :ivar leader: ordinal of the leader a majority agrees on; None: there is none, or it is not known.
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


@dataclass(frozen=True, slots=True)
class Action:
    """The next thing to do, one API call (or one call of a member) at most.

    :ivar reason: one CamelCase word, stable: of the condition and the event.
    :ivar message: what is done or waited for, and why: a sentence for people.
    :ivar do: does it; None: there is nothing to do but wait until what the message names has happened.
    :ivar again: seconds after which to look again if nothing wakes us before.
    """

    reason: str
    message: str
    do: Callable[[ReconcileContext], None] | None = None
    again: float = 5.0
