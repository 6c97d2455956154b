"""What the agent of a member does next: the table of its states, and nothing else.

:data:`TABLE` is read from top to bottom; the first row whose condition holds is the state. :class:`Facts` are what the
conditions may look at: few, discrete, and gathered elsewhere (``membership.xline.look``), so that all combinations of
them can be tried. What a state does is in ``membership.xline.agent``.

What the order and the conditions guarantee:

- A cluster is bootstrapped only where the operator says, just now, that it never was, and nobody answers who has a
  history.
- Data is set aside only if a linearizable list of the same cluster does not have its member, or if this agent itself
  has taken the member out and marked the data.
- Joining and giving up a lost disk are begun only on the word of a plan read from the API server, and never while
  the cluster is paused.
- A server that has data and is not proven to be out is started: nobody else is needed for that, neither the API
  server nor the operator nor the other members.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from enum import Enum, StrEnum


class State(StrEnum):
    """Of one member, as its heartbeat tells it."""

    INIT = "Init"
    BOOTSTRAP = "Bootstrap"
    WAIT_PEERS = "WaitPeers"
    RESTART = "Restart"
    EVICTED = "Evicted"
    FOREIGN_CLUSTER = "ForeignCluster"
    LOST_DISK = "LostDisk"
    RESUME = "Resume"
    JOIN = "Join"
    NOT_WANTED = "NotWanted"
    START_JOIN = "StartJoin"
    CATCH_UP = "CatchUp"
    RUNNING = "Running"
    PARTITIONED = "Partitioned"
    SERVER_CRASH = "ServerCrash"
    RECOVER = "Recover"
    DRAINING = "Draining"
    LEAVING = "Leaving"
    DELETING = "Deleting"
    FAILED = "Failed"


class Data(Enum):
    """What is in the data folder, or what a server that answers has."""

    NONE = "none"
    PRESENT = "present"
    REMOVED = "removed"  # of a member that has left the cluster, and was marked so


class Listed(Enum):
    """What a linearizable list of our cluster says about this member: by the id its data has; without data by its peer
    URL and its name."""

    UNKNOWN = "unknown"  # there is no such list
    FOREIGN = "foreign"  # data is of another cluster than the one that runs here, or of another Pod's member
    ABSENT = "absent"
    UNSTARTED = "unstarted"  # without data: one entry, whose server has never run
    DUPLICATE = "duplicate"  # without data: several such entries
    LEARNER = "learner"  # without data: the server of the entry has run, and its disk is lost
    VOTER = "voter"  # the same


class Wanted(Enum):
    """Whether the plan has this member. A copy of an earlier reading says nothing."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


class Bootstrapped(Enum):
    """Whether the cluster ever had a majority. A copy of an earlier reading can only say yes."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


class Recovery(Enum):
    """How the member's data stands to the last recovery from a lost majority."""

    NONE = "none"  # there was none, or the data is of after it
    MINE = "mine"  # this member's data is what the cluster goes on with
    OTHER = "other"  # another's is: this data is of a cluster that is gone


class Server(Enum):
    DOWN = "down"
    SILENT = "silent"  # it runs, but does not answer: etcd's do not until they know a leader
    UP = "up"


class Stopping(Enum):
    """Whether the member is being stopped, and what becomes of its membership."""

    NO = "no"
    STAY = "stay"  # a restart, a drain, a rollout
    LEAVE = "leave"  # condemned: see membership.xline.leave
    DELETE = "delete"  # with the whole cluster


@dataclass(frozen=True, slots=True)
class Facts:
    """What the table may look at.

    :ivar initial: whether this member is one of those the cluster is bootstrapped with, by plan and flags alike.
    :ivar unrestored: whether the cluster starts with the data of a backup, which is not on this volume.
    :ivar history: whether some other server answers that has a leader, or has had one.
    :ivar leader: whether the own server knows a leader.
    :ivar crashing: whether the own server has ended too often.
    :ivar broken: whether the disk cannot be used.
    :ivar frozen: whether no change of the membership may be begun: the cluster is paused, or its engine has none.
    """

    data: Data = Data.NONE
    listed: Listed = Listed.UNKNOWN
    wanted: Wanted = Wanted.UNKNOWN
    bootstrapped: Bootstrapped = Bootstrapped.UNKNOWN
    initial: bool = False
    unrestored: bool = False
    history: bool = False
    recovery: Recovery = Recovery.NONE
    server: Server = Server.DOWN
    leader: bool = False
    crashing: bool = False
    broken: bool = False
    frozen: bool = False
    stopping: Stopping = Stopping.NO

    def __str__(self) -> str:
        """``data=none listed=absent wanted=yes ...``, without what is false."""
        shown = []
        for one in fields(self):
            value = getattr(self, one.name)
            if isinstance(value, Enum):
                shown.append(f"{one.name}={value.value}")
            elif value:
                shown.append(one.name)
        return " ".join(shown)


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table.

    :ivar when: its condition in words; what ``/status`` and the heartbeat give as the reason.
    :ivar action: what the agent does, in words.
    :ivar next: where it goes from there, if nothing goes wrong.
    """

    state: State
    when: str
    condition: Callable[[Facts], bool]
    action: str
    next: str


_LISTED = (Listed.LEARNER, Listed.VOTER)


def _no_data(facts: Facts) -> bool:
    return facts.data is Data.NONE


def _has_data(facts: Facts) -> bool:
    return facts.data is Data.PRESENT


def _may_change(facts: Facts) -> bool:
    return facts.wanted is Wanted.YES and not facts.frozen


def _may_bootstrap(facts: Facts) -> bool:
    return (
        _no_data(facts)
        and facts.listed is Listed.UNKNOWN
        and facts.bootstrapped is Bootstrapped.NO
        and facts.initial
        and not facts.history
        and facts.recovery is Recovery.NONE
    )


TABLE: tuple[Row, ...] = (
    # -- being stopped ------------------------------------------------------------------------------------------------
    Row(
        State.DELETING,
        "the cluster is being deleted",
        lambda f: f.stopping is Stopping.DELETE,
        "keep the membership; let the server stop",
        "end",
    ),
    Row(
        State.LEAVING,
        "the plan does not have this member any more, and its Pod is being deleted",
        lambda f: f.stopping is Stopping.LEAVE,
        "under the lock and its guard: hand leadership over, remove the member through another voter, look whether it "
        "is gone, mark the data",
        "end; what is not done in time is left to the clean task",
    ),
    Row(
        State.DRAINING,
        "the server is about to be stopped, and the member stays one",
        lambda f: f.stopping is Stopping.STAY,
        "hand leadership over to the healthiest voter",
        "end, or Init",
    ),
    # -- what needs somebody's hand -----------------------------------------------------------------------------------
    Row(
        State.FAILED,
        "the disk cannot be used",
        lambda f: f.broken and f.server is not Server.UP,
        "do not let the server start; say so",
        "Init when the disk is well",
    ),
    Row(
        State.FOREIGN_CLUSTER,
        "the data is of another cluster than the one that runs here, or a copy of another Pod's",
        lambda f: _has_data(f) and f.listed is Listed.FOREIGN,
        "do not let the server start, stop the one that runs, and keep the data; say so",
        "by hand",
    ),
    # -- after a majority was lost ------------------------------------------------------------------------------------
    Row(
        State.RECOVER,
        "this member's data was chosen to go on with after a majority was lost",
        lambda f: _has_data(f) and f.recovery is Recovery.MINE,
        "start the server as the only member; once it leads alone, mark the data",
        "Running",
    ),
    Row(
        State.EVICTED,
        "the cluster went on with another member's data, and its list does not have this member",
        lambda f: (
            _has_data(f) and f.recovery is Recovery.OTHER and f.listed is Listed.ABSENT and f.wanted is Wanted.YES
        ),
        "stop the server, set the data aside",
        "Join",
    ),
    Row(
        State.NOT_WANTED,
        "the cluster goes on with another member's data",
        lambda f: _has_data(f) and f.recovery is Recovery.OTHER,
        "do not let the server start, stop the one that runs",
        "Evicted when the plan has the member again",
    ),
    # -- data of a member that is out ---------------------------------------------------------------------------------
    Row(
        State.EVICTED,
        "the data is of a member that has left, and the plan has this one again",
        lambda f: f.data is Data.REMOVED and f.wanted is Wanted.YES,
        "stop the server, set the data aside",
        "Join",
    ),
    Row(
        State.NOT_WANTED,
        "the data is of a member that has left",
        lambda f: f.data is Data.REMOVED,
        "do not let the server start",
        "Evicted when the plan has the member again",
    ),
    Row(
        State.EVICTED,
        "the cluster's list does not have the member that the data is of",
        lambda f: _has_data(f) and f.listed is Listed.ABSENT and f.wanted is Wanted.YES,
        "stop the server, set the data aside",
        "Join",
    ),
    Row(
        State.NOT_WANTED,
        "the cluster's list does not have the member that the data is of, nor does the plan",
        lambda f: _has_data(f) and f.listed is Listed.ABSENT,
        "do not let the server start",
        "Evicted when the plan has the member again",
    ),
    # -- no data ------------------------------------------------------------------------------------------------------
    Row(
        State.NOT_WANTED,
        "the plan does not have this member",
        lambda f: _no_data(f) and f.wanted is Wanted.NO,
        "do not let the server start",
        "Init when the plan changes",
    ),
    Row(
        State.FAILED,
        "the backup that the cluster was to start with was on this member's volume, and is gone",
        lambda f: _may_bootstrap(f) and f.unrestored,
        "do not let the server start; say so",
        "by hand: create the cluster and its volumes anew",
    ),
    Row(
        State.BOOTSTRAP,
        "the cluster has never run, and this is one of its first members",
        _may_bootstrap,
        "start the server with the frozen list of first members",
        "Running",
    ),
    Row(
        State.START_JOIN,
        "the cluster lists this member, whose server has never run",
        lambda f: _no_data(f) and f.listed is Listed.UNSTARTED,
        "start the server with the cluster's list (one of etcd's first members, with the frozen list)",
        "CatchUp",
    ),
    Row(
        State.RESUME,
        "the cluster lists this member more than once, and no server of them has ever run",
        lambda f: _no_data(f) and f.listed is Listed.DUPLICATE and _may_change(f),
        "under the lock: remove all of them but one",
        "StartJoin",
    ),
    Row(
        State.LOST_DISK,
        "the cluster lists this member, whose data is gone",
        lambda f: _no_data(f) and f.listed in _LISTED and _may_change(f),
        "under the lock and its guard: remove the old member",
        "Join",
    ),
    Row(
        State.JOIN,
        "the plan has this member, and the cluster does not list it yet",
        lambda f: _no_data(f) and f.listed is Listed.ABSENT and _may_change(f),
        "under the lock and its guard: add the member as a learner",
        "StartJoin",
    ),
    Row(
        State.WAIT_PEERS,
        "a cluster that has run before does not answer, or may not be changed now",
        _no_data,
        "do not let the server start",
        "Init",
    ),
    # -- data, and nothing that speaks against using it ---------------------------------------------------------------
    Row(
        State.SERVER_CRASH,
        "the server ends again and again",
        lambda f: f.server is not Server.UP and f.crashing,
        "let it start on its data, ever more slowly",
        "Init",
    ),
    Row(
        State.RESTART,
        "there is data, and the server does not answer yet",
        lambda f: f.server is not Server.UP,
        "let the server start on its data, and on nothing else",
        "Running",
    ),
    Row(
        State.PARTITIONED,
        "the server runs, but knows no leader, or no majority answers",
        lambda f: not f.leader or f.listed is Listed.UNKNOWN,
        "keep the server; change nothing",
        "Running",
    ),
    Row(
        State.CATCH_UP,
        "the server runs, and does not vote yet",
        lambda f: f.listed is Listed.LEARNER,
        "promote the member through a voter as soon as it has caught up",
        "Running",
    ),
    Row(
        State.RUNNING,
        "",
        lambda f: f.listed is Listed.VOTER,
        "tell how it is; as the leader, clean up",
        "",
    ),
)


def decide(facts: Facts) -> Row:
    """The row that applies.

    :raises LookupError: the facts contradict each other (such as an unstarted entry for data that is there).
    """
    for row in TABLE:
        if row.condition(facts):
            return row
    raise LookupError(f"no state for {facts}")
