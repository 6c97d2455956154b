"""One look of an agent at everything its decisions rest on: the disk, the server, the others, the plan.

:class:`Look` has what was seen; its :attr:`Look.facts` are what ``membership.xline.states`` decides by.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from membership.xline.client import ListedMember, MemberList, MemberStatus
from membership.xline.datadir import DataDir, Marks
from membership.xline.engines import EngineProfile
from membership.xline.errors import EngineError
from membership.xline.files import DiskError
from membership.xline.matching import Matching, host_of, same_url
from membership.xline.model import Heartbeat, Identity, PublishedPlan, Server
from membership.xline.planreader import PlanReader
from membership.xline.reach import Contact, NobodyAnswers, Reach, Survey
from membership.xline.states import Bootstrapped, Data, Facts, Listed, Recovery, Stopping, Wanted
from membership.xline.states import Server as ServerFact
from membership.xline.walids import Ids, etcd_log
from runtime.clock import Clock

CRASHES = 3  # exits since it was last well, from which on a server counts as crashing
_DISK_EVERY = 15.0  # seconds between two trials of the disk
_LIST_KEPT = 6.0  # seconds that a list counts as known after the last one: one lost answer is no partition


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen.

    :ivar ids: whose data there is; None: there is none, or nobody knows.
    :ivar listing: a linearizable list of our cluster; None: there is none.
    :ivar me: the entries of this member, the one that its data has first.
    :ivar void: there is a log, and nothing was ever written to it. Facts take it for no data while no server has it.
    :ivar trouble: what could not be seen, and why; ``""`` if nothing is missing.
    """

    facts: Facts
    survey: Survey
    plan: PublishedPlan | None
    marks: Marks
    ids: Ids | None
    listing: MemberList | None
    me: tuple[ListedMember, ...]
    trouble: str = ""
    void: bool = False

    @property
    def own(self) -> MemberStatus | None:
        return None if self.survey.own is None else self.survey.own.status


class Looker:
    """Looks. Used in one thread."""

    def __init__(
        self,
        identity: Identity,
        profile: EngineProfile,
        server: Server,
        data: DataDir,
        plans: PlanReader,
        reach: Reach,
        token: str,
        clock: Clock,
    ) -> None:
        self._token = token
        self._identity = identity
        self._profile = profile
        self._server = server
        self._data = data
        self._plans = plans
        self._reach = reach
        self._clock = clock
        self._last: tuple[float, MemberList] | None = None
        self._disk_due = float("-inf")
        self._disk: DiskError | None = None

    def look(self, stopping: Stopping = Stopping.NO) -> Look:
        """See everything now. What cannot be seen is missing in it; nothing is raised for it."""
        plan = self._plans.current
        if plan is not None and not is_about(plan, self._token):
            plan = None
        survey = self._reach.survey()
        own = survey.own.status if survey.own is not None else None
        trouble, broken, marks, ids, has_data, void = "", False, Marks(), None, False, False
        server = self._server_fact(own)
        try:
            marks, has_data = self._data.marks, self._data.has_data
            void = has_data and own is None and is_void(self._profile, self._data)
            if void and server is ServerFact.DOWN:
                has_data = False
            ids = ids_of_data(self._profile, self._data, marks) if has_data else None
        except (DiskError, OSError) as error:
            trouble, broken = str(error), True
        disk = self._try_disk()
        if disk is not None:
            trouble = trouble or str(disk)
            broken = broken or disk.trouble != "full"  # on a full one a server may still be of use
        if own is not None:
            ids, has_data = Ids(own.cluster_id, own.member_id), True
        survey = survey.of(plan.cluster_id if plan is not None else 0, ids.cluster if ids is not None else 0)
        listing, why = self._list(survey, plan, ids)
        trouble = trouble or why
        recovery = _recovery(plan, marks, self._identity.pod)
        # Who recovers drops the others first; and data that is not gone on with does not start in any case.
        copied = has_data and recovery is Recovery.NONE and marks.home not in ("", self._identity.home)
        if copied:
            trouble = (
                f"the data is of {marks.home}, whose member would run twice: give this Pod its own volume, or create "
                "the cluster from a backup"
            )
        foreign = copied or is_foreign(ids, plan, survey, listing)
        me = () if listing is None or foreign else own_entries(self._identity, listing, ids)
        facts = Facts(
            data=_data(has_data, ids, marks),
            listed=Listed.FOREIGN if foreign else self._listed(listing, me, has_data, ids, plan, marks),
            wanted=_wanted(plan, self._identity),
            bootstrapped=_bootstrapped(plan, marks),
            initial=plan is not None and _is_initial(plan, self._identity),
            unrestored=plan is not None and plan.from_backup and not self._is_restored(),
            history=any(has_history(c.status, len(self._identity.initial)) for c in survey.others),
            recovery=recovery,
            server=server,
            leader=own is not None and own.has_leader,
            crashing=own is None and self._server.exits >= CRASHES,
            broken=broken,
            frozen=plan is None or plan.paused or not self._profile.changes_membership,
            stopping=stopping,
        )
        return Look(facts, survey, plan, marks, ids, listing, me, trouble, void)

    def _listed(
        self,
        listing: MemberList | None,
        me: tuple[ListedMember, ...],
        has_data: bool,
        ids: Ids | None,
        plan: PublishedPlan | None,
        marks: Marks,
    ) -> Listed:
        if listing is None:
            return Listed.UNKNOWN
        if has_data and ids is None:
            if me:
                return _vote(me[0])
            # Whose data it is was never told. Only if it was begun from here its absence is a proof.
            return Listed.ABSENT if marks.entering else Listed.UNKNOWN
        if not me:
            return Listed.ABSENT
        if has_data:
            return _vote(me[0])
        lost = lost_entry(me, self._profile, plan, marks)
        if lost is not None:
            return _vote(lost)
        return Listed.UNSTARTED if len(me) == 1 else Listed.DUPLICATE

    def _is_restored(self) -> bool:
        """Xline finds no membership in what a backup holds, so such data alone is none to us."""
        from membership.xline.backup.restore import Place, restored_for  # most members never ask

        return restored_for(Place(self._data.path), self._token)

    def _try_disk(self) -> DiskError | None:
        """What was wrong with the disk when it was last tried."""
        now = self._clock.monotonic()
        if now >= self._disk_due:
            self._disk = None
            try:
                self._data.check()
            except DiskError as error:
                self._disk = error
            self._disk_due = now + (_DISK_EVERY if self._disk is None else 0.0)
        return self._disk

    def _server_fact(self, own: MemberStatus | None) -> ServerFact:
        if own is not None:
            return ServerFact.UP
        return ServerFact.SILENT if self._server.running else ServerFact.DOWN

    def _list(self, survey: Survey, plan: PublishedPlan | None, ids: Ids | None) -> tuple[MemberList | None, str]:
        """The list of our cluster, or why there is none."""
        now = self._clock.monotonic()
        try:
            listing, by = self._reach.listing(survey)
        except (EngineError, NobodyAnswers) as error:
            if self._last is not None and now - self._last[0] < _LIST_KEPT and survey.own is not None:
                return self._last[1], ""
            return None, str(error)
        if not is_ours(listing, plan, ids, self._reach.matching):
            return None, of_another_cluster(by, listing)
        self._reach.remember(listing)
        self._last = (now, listing)
        return listing, ""


def is_ours(listing: MemberList, plan: PublishedPlan | None, ids: Ids | None, matching: Matching) -> bool:
    """Whether a list is of our cluster, and not of one that got an address which was ours once.

    A list of the cluster that the plan names is ours also if our data is of another one: then the data is foreign.
    """
    if ids is not None and listing.cluster_id == ids.cluster:
        return True
    if plan is not None and plan.cluster_id:
        return listing.cluster_id == plan.cluster_id
    if ids is not None:
        return False  # nobody knows which of the two it is
    known = {host_of(url) for url in matching.initial.values()} | set(matching.addresses.values())
    hosts = {host_of(url) for member in listing.members for url in member.peer_urls}
    return bool(known & hosts)


def of_another_cluster(by: Contact, listing: MemberList) -> str:
    """Why a list is of no use, for people."""
    return f"{by.name} at {by.client.address} belongs to the cluster {listing.cluster_id:x}, not to ours"


def is_foreign(ids: Ids | None, plan: PublishedPlan | None, survey: Survey, listing: MemberList | None) -> bool:
    """Whether the data is of another cluster, by the plan and by a server that runs in the cluster that the plan names.

    Two words for it, since a server with such data makes a cluster of its own, and would then have a list of that.
    """
    if ids is None:
        return False
    if listing is not None and listing.cluster_id != ids.cluster:
        return True
    named = plan.cluster_id if plan is not None else 0
    return named not in (0, ids.cluster) and any(c.status.cluster_id == named for c in survey.others)


def is_about(plan: PublishedPlan, token: str) -> bool:
    """Whether a plan is about the cluster that this member is of, and not about a later one of the same name. One whose
    status was lost says nothing against it."""
    return plan.token in ("", token)


def ids_of_data(profile: EngineProfile, data: DataDir, marks: Marks) -> Ids | None:
    """Whose data there is: by its own word where we can read it, else as it was when the server last ran.

    :raises OSError: it cannot be read.
    """
    if profile.key == "etcd":
        log = etcd_log(data.path)
        return None if log is None else log.ids
    return Ids(marks.cluster_id, marks.member_id) if marks.member_id and marks.cluster_id else None


def is_void(profile: EngineProfile, data: DataDir) -> bool:
    """Whether there is nothing but the beginnings of a log. A server that is starting makes one, too, and fills it.

    :raises OSError: it cannot be read.
    """
    log = etcd_log(data.path) if profile.key == "etcd" else None
    return log is not None and log.void


def lost_entry(
    entries: Sequence[ListedMember], profile: EngineProfile, plan: PublishedPlan | None, marks: Marks
) -> ListedMember | None:
    """Of the entries of a member without data the one whose server may have run, so that its data is lost: an empty
    disk must not get its vote, which it may have used, nor its place, of which the leader knows what it was sent.

    One may look as if it never had: for a moment, or where members tell their names once and unheard. So voters of a
    cluster that has run are taken to have run there (only learners are added, and only learners that ran get a vote),
    and so are learners that were not added from this volume. Of several entries it is found out first which may stay.
    """

    def ran(member: ListedMember) -> bool:
        if member.started or member.id == marks.member_id:
            return True
        begun = member.voter and (plan is None or plan.bootstrapped)
        return begun and not profile.publishes and not marks.entering

    found = next((member for member in entries if ran(member)), None)
    if found is None and len(entries) == 1 and entries[0].is_learner and not marks.entering:
        return entries[0]
    return found


def own_entries(identity: Identity, listing: MemberList, ids: Ids | None) -> tuple[ListedMember, ...]:
    """The entries of this member: by the id of its data; where that is not known, all with its peer URL or name."""
    if ids is not None:
        mine = listing.get(ids.member)
        return () if mine is None else (mine,)
    return tuple(member for member in listing.members if _is_mine(identity, member))


def _is_mine(identity: Identity, member: ListedMember) -> bool:
    return member.name == identity.pod or any(same_url(url, identity.peer_url) for url in member.peer_urls)


def _data(has_data: bool, ids: Ids | None, marks: Marks) -> Data:
    if not has_data:
        return Data.NONE
    removed = marks.removed_id != 0 and (ids is None or ids.member == marks.removed_id)
    return Data.REMOVED if removed else Data.PRESENT


def _vote(member: ListedMember) -> Listed:
    return Listed.LEARNER if member.is_learner else Listed.VOTER


def _wanted(plan: PublishedPlan | None, identity: Identity) -> Wanted:
    if plan is None or plan.stale or plan.deleting:
        return Wanted.UNKNOWN
    wants = plan.wants(identity.ordinal)
    if wants is None:
        # Before the first plan the members are those it is bootstrapped with.
        return Wanted.YES if identity.pod in plan.initial else Wanted.UNKNOWN
    return Wanted.YES if wants else Wanted.NO


def _bootstrapped(plan: PublishedPlan | None, marks: Marks) -> Bootstrapped:
    """The operator does not know it of a cluster that was deleted, and made again on its retained volumes. Members that
    had left may be the majority of its volumes, and would make an empty cluster of its name and id."""
    if marks.ran:
        return Bootstrapped.YES
    if plan is None:
        return Bootstrapped.UNKNOWN
    if plan.bootstrapped:
        return Bootstrapped.YES
    return Bootstrapped.UNKNOWN if plan.stale or plan.deleting else Bootstrapped.NO


def _is_initial(plan: PublishedPlan, identity: Identity) -> bool:
    """The plan and our flags must speak of the same first members, or we would make another cluster than the rest."""
    names = tuple(name for name, _ in identity.initial)
    return identity.pod in names and set(names) == set(plan.initial)


def has_history(said: MemberStatus | Heartbeat, initial: int) -> bool:
    """Whether there has been a leader: only leaders add to a log that holds nothing but the first members."""
    return bool(said.leader_id) or said.revision > 1 or said.raft_index > initial


def _recovery(plan: PublishedPlan | None, marks: Marks, pod: str) -> Recovery:
    if plan is None or not plan.survivor or marks.recovery_id == plan.recovery_id:
        return Recovery.NONE
    if plan.survivor != pod:
        return Recovery.OTHER
    if plan.recovery_completed:
        return Recovery.NONE  # we were killed before we could mark it
    return Recovery.OTHER if plan.stale else Recovery.MINE
