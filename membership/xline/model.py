"""What the parts of the agent tell each other: the published plan, how a server is started, a heartbeat."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias

from crds.meta import Record

# On a member's Pod. Written by its agent, read by the operator and by the other agents.
HEARTBEAT = "xline.io.datenlord.com/heartbeat"  # annotation: a Heartbeat as JSON
ROLE = "xline.io.datenlord.com/role"  # label
Role: TypeAlias = Literal["leader", "follower", "learner"]

AGENT_PORT = 2382
MEMBERSHIP_LEASE_SUFFIX = "-membership"  # the Lease NAME-membership serialises all changes of a cluster's membership


def member_selector(cluster: str) -> dict[str, str]:
    """Labels that select the Pods of a cluster's members. The name is part of it: others use ``instance``, too."""
    return {"app.kubernetes.io/instance": cluster, "app.kubernetes.io/name": "xlinecluster"}


def member_selector_text(cluster: str) -> str:
    """The same as requests have it."""
    return ",".join(f"{key}={value}" for key, value in member_selector(cluster).items())


@dataclass(frozen=True, slots=True)
class PublishedPlan:
    """What the XlineCluster says, in one reading.

    :ivar uid: of the XlineCluster.
    :ivar resource_version: of this reading; ``""`` if it was read from the local copy.
    :ivar stale: the API server could not be asked, and this is the copy of an earlier reading. Nothing may be added,
        removed or deleted on its word.
    :ivar deleting: the XlineCluster is being deleted: its members keep their membership and just stop.
    :ivar bootstrapped: a majority has been seen with a leader once; nobody may bootstrap again.
    :ivar cluster_id: the engine's, 0 if it is not known yet.
    :ivar initial: names of the members the cluster is bootstrapped with, in ordinal order.
    :ivar ordinals: of the members the cluster shall have; None: nothing was published yet, so nobody is condemned.
    :ivar size: ``spec.replicas``.
    :ivar survivor: name of the member that the last recovery from a lost majority starts or started from, with
        ``recovery_id``; ``""``: there never was one. Data of before that recovery is of a cluster that is gone, also
        after it has completed.
    :ivar replace_after: seconds after which a member that is down, and whose volume is gone, may be removed; None:
        never.
    :ivar from_backup: the cluster starts with the data of a backup, so its first member never starts without data.
    :ivar defragment_above: percent of a member's database that may hold nothing; None: it is left as it is.
    """

    uid: str
    resource_version: str
    stale: bool
    deleting: bool
    paused: bool
    bootstrapped: bool
    cluster_id: int
    token: str
    initial: tuple[str, ...]
    ordinals: frozenset[int] | None
    size: int
    survivor: str = ""
    recovery_id: str = ""
    recovery_completed: bool = False
    replace_after: float | None = None
    defragment_above: int | None = None
    from_backup: bool = False

    def wants(self, ordinal: int) -> bool | None:
        """Whether the cluster shall have this member; None: not known."""
        return None if self.ordinals is None else ordinal in self.ordinals


StartKind: TypeAlias = Literal["bootstrap", "join", "restart", "recover"]


@dataclass(frozen=True, slots=True)
class Start:
    """How the server is to be started.

    :ivar kind: ``bootstrap`` a new cluster with ``members``; ``join`` the one that has ``members``, this one included;
        ``restart`` on the data that is there, and on nothing else: without data such a start fails instead of making
        or joining a cluster; ``recover`` as the only member of a new membership, on the data that is there.
    :ivar members: (name, peer URL), as the engine or the frozen list has them, byte for byte.
    """

    kind: StartKind
    members: tuple[tuple[str, str], ...] = ()


class Server(Protocol):
    """The server beside the agent: a container of the same Pod, or a child process."""

    def allow(self, start: Start) -> None:
        """Let it start, or go on, this way. Idempotent: the same start again changes nothing."""

    def forbid(self) -> None:
        """Do not let it start (again). One that runs goes on running."""

    def stop(self, timeout: float) -> bool:
        """Forbid, end the one that runs and wait until it is gone.

        :param timeout: seconds until it is killed, where it is ours to kill.
        :returns: whether it is gone.
        """

    @property
    def running(self) -> bool:
        """Whether it runs, as far as can be seen: a child by its process, a container by its ports."""

    @property
    def allowed(self) -> bool:
        """Whether it may start, or go on."""

    @property
    def exits(self) -> int:
        """How often it has ended without being asked to, since the last time it was well."""


class Heartbeat(Record, frozen=True, kw_only=True):
    """What an agent says about its member. Ids are hexadecimal, as ``status.members`` has them.

    :ivar sequence: grows with each writing while the agent lives; freshness is judged by it, never by a clock.
    :ivar incarnation: differs between two lives of the agent.
    :ivar state: of the agent's state machine, such as ``Running``.
    :ivar detail: why it is in that state, for people; empty if all is well.
    :ivar reachable: names of the members whose server answered this agent.
    :ivar recovered: id of the last recovery from a lost majority that the member's data is of.
    :ivar ran: whether the member has followed a leader, on its volume or since its Pod was made, whatever has become of
        its data since.
    """

    sequence: int
    incarnation: str
    cluster_uid: str
    pod: str
    pod_uid: str
    ordinal: int
    state: str
    detail: str = ""
    member_id: str = ""
    cluster_id: str = ""
    leader_id: str = ""
    is_leader: bool = False
    is_learner: bool = False
    term: int = 0
    applied_index: int = 0
    raft_index: int = 0
    revision: int = 0
    db_size: int = 0
    version: str = ""
    alarms: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()
    reachable: tuple[str, ...] = ()
    agent_version: str = ""
    recovered: str = ""
    ran: bool = False


@dataclass(frozen=True, slots=True)
class Identity:
    """Who this agent is, from its flags and environment; never changes.

    :ivar peer_url: what this member is known by to the others, byte for byte.
    :ivar addresses: (name, client URL) of the members the cluster was bootstrapped with.
    """

    namespace: str
    cluster: str
    pod: str
    pod_uid: str
    ordinal: int
    engine: str
    peer_url: str
    client_url: str
    initial: tuple[tuple[str, str], ...] = field(default=())
    addresses: tuple[tuple[str, str], ...] = field(default=())

    @property
    def home(self) -> str:
        """What its data is known by: a copy of a volume may come to another Pod."""
        return f"{self.namespace}/{self.pod}"
