"""What an agent does to its cluster's membership: join, give up a lost disk, get a vote, hand leadership over, leave.

Each procedure can be killed between any two calls and be called again: what is under way is seen in the member list,
which is read anew under the membership lock before every change, and again after a change that may have taken effect.
None is repeated blindly: Xline makes a second member of an addition that is repeated. Nor is one followed by another
where the server does not put them into an order: the lock is kept for its time if an answer is missing.

A procedure returns ``""`` when it has done something, or why it did not, as a sentence for people. It raises
EngineError, NobodyAnswers, ClientError, LockBusy or LockLost when it could not find out, or got no answer; then nobody
knows what happened, and the next look will tell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from membership.xline import guard
from membership.xline.client import EngineClient, ListedMember, MemberList
from membership.xline.datadir import DataDir
from membership.xline.engines import EngineProfile
from membership.xline.errors import EngineError, NotFound, NotLeader, NotSupported, Refused, Unhealthy
from membership.xline.lock import Hold, LockBusy, LockLost, MembershipLock
from membership.xline.look import (
    ids_of_data,
    is_about,
    is_ours,
    lost_entry,
    of_another_cluster,
    own_entries,
)
from membership.xline.metrics import AgentMetrics, ChangeKind
from membership.xline.model import Identity, PublishedPlan
from membership.xline.planreader import PlanReader
from membership.xline.proofs import Proofs, is_condemned
from membership.xline.reach import Contact, NobodyAnswers, Reach, Survey
from membership.xline.walids import Ids
from runtime.client import ClientError
from runtime.clock import Clock
from runtime.logging import get_logger

CHANGE_TIMEOUT = 4.0  # seconds for one change; the lock must outlast it
_NEED = 6.0  # seconds of the lock that must be left before one
_PLAN_TIMEOUT = 3.0  # seconds to read the plan
_HANDOVER = 5.0  # seconds a new leader may take
_AGAIN = 0.5  # seconds between two tries while somebody waits

_log = get_logger(__name__)
T = TypeVar("T")

# What procedures raise when they could not find out, or got no answer.
Unknown = (EngineError, NobodyAnswers, ClientError, LockBusy, LockLost)


@dataclass(frozen=True, slots=True)
class Session:
    """What is known inside the lock.

    :ivar via: a voter that answers, and through which changes are made.
    """

    hold: Hold
    plan: PublishedPlan
    survey: Survey
    listing: MemberList
    via: Contact

    @property
    def healthy(self) -> frozenset[int]:
        return self.survey.healthy()


class MembershipChanges:
    """The procedures of one agent. Used in one thread.

    :param proofs: whether this Pod is still the one of its name.
    :param tell: ``tell(reason, message)``: records an event about the cluster.
    """

    def __init__(
        self,
        identity: Identity,
        profile: EngineProfile,
        token: str,
        lock: MembershipLock,
        plans: PlanReader,
        proofs: Proofs,
        reach: Reach,
        data: DataDir,
        metrics: AgentMetrics,
        tell: Callable[[str, str], None],
        clock: Clock,
    ) -> None:
        self._identity = identity
        self._profile = profile
        self._token = token
        self._lock = lock
        self._plans = plans
        self._proofs = proofs
        self._reach = reach
        self._data = data
        self._metrics = metrics
        self._tell = tell
        self._clock = clock

    # ---- coming

    def join(self) -> str:
        """Add this member, as a learner."""
        with self.session() as session:
            not_now = self._not_now(session.plan) or guard.may_add(session.listing, session.healthy)
            if not_now:
                return not_now
            if own_entries(self._identity, session.listing, None):
                return "this member is listed by now"
            self._data.mark(entering=True)
            session.hold.check(_NEED)
            added, _ = self._change(
                "add",
                lambda: session.via.client.member_add([self._identity.peer_url], timeout=CHANGE_TIMEOUT),
                session.hold,
            )
        self._tell("MemberAdded", f"member {self._identity.pod} was added as a learner ({added.id:x})")
        return ""

    def drop_duplicates(self) -> str:
        """Remove all entries of this member but one, none of which has ever run."""
        with self.session() as session:
            entries = own_entries(self._identity, session.listing, None)
            not_now = self._not_now(session.plan)
            if not_now or len(entries) < 2 or lost_entry(entries, self._profile, session.plan, self._data.marks):
                return not_now or "there are no duplicates any more"
            # Of two that never ran either may stay. A voter counts for the majority already, so it does.
            spare = max(entries, key=lambda entry: (entry.is_learner, entry.id))
            return self._remove(session, spare, "it is listed twice, and has never run")

    def give_up_lost_disk(self) -> str:
        """Remove this member's entry, whose data is gone, so that it can join anew."""
        with self.session() as session:
            entries = own_entries(self._identity, session.listing, None)
            lost = lost_entry(entries, self._profile, session.plan, self._data.marks)
            not_now = self._not_now(session.plan)
            if not_now or lost is None:
                return not_now or "the entry is gone"
            if lost.id in session.healthy or self._data.has_data:
                return "the member has data after all"
            why = self._remove(session, lost, "its data is lost; it joins anew")
            if not why:
                # Should its server have been about to begin after all, what it leaves behind is of no use.
                self._data.mark(removed_id=lost.id, entering=False)
            return why

    def promote(self, own_id: int) -> str:
        """Give this learner its vote."""
        with self.session() as session:
            if session.plan.deleting or session.plan.wants(self._identity.ordinal) is False:
                return "the plan does not have this member"
            # Only ever an id that is listed as a learner just now: Xline's server dies of another.
            not_now = guard.may_promote(session.listing, session.healthy, own_id)
            if not_now:
                return not_now
            session.hold.check(_NEED)
            self._change(
                "promote",
                lambda: session.via.client.member_promote(own_id, timeout=CHANGE_TIMEOUT),
                session.hold,
            )
        self._tell("MemberPromoted", f"member {self._identity.pod} votes ({own_id:x})")
        return ""

    # ---- going

    def hand_over(self, survey: Survey, deadline: float) -> str:
        """If the own server leads, let the healthiest voter lead.

        :param deadline: on the clock.
        """
        own = survey.own
        if own is None or not own.status.is_leader:
            return "it does not lead"
        if not self._profile.moves_leader:
            return "this engine cannot hand leadership over"
        # A leader that asks itself may be deposed already; the call fails then, and that is as well.
        voters = [c for c in survey.others if not c.status.is_learner and c.status.member_id in survey.healthy()]
        why = "no other voter is healthy"
        for target in sorted(voters, key=lambda contact: contact.status.applied_index, reverse=True):
            left = deadline - self._clock.monotonic()
            if left <= 0:
                break
            try:
                self._change(
                    "move_leader",
                    lambda target=target, left=left: own.client.move_leader(  # type: ignore[misc]
                        target.status.member_id, timeout=min(left, _HANDOVER)
                    ),
                )
            except NotLeader:
                return ""
            except NotSupported as error:
                return str(error)
            except EngineError as error:
                why = str(error)
                continue
            self._tell("LeaderMoved", f"leadership moved from {self._identity.pod} to {target.name}")
            return ""
        return why

    def leave(self, deadline: float) -> str:
        """Take this member out of the cluster. Call it only if :func:`is_condemned`.

        :param deadline: on the clock; until then it is tried again.
        :returns: ``""``: it is out, and the data is marked. Else why not.
        :raises Reprieved: the plan has it again.
        """
        if not self._profile.changes_membership:
            return "this engine cannot change its membership"
        while True:
            try:
                why = self._leave(deadline)
            except Unknown as error:
                why = str(error)
            if not why or self._clock.monotonic() + _AGAIN >= deadline:
                return why
            _log.info("this member cannot leave yet", reason=why)
            self._clock.sleep(_AGAIN)

    def _leave(self, deadline: float) -> str:
        marks = self._data.marks
        ids = ids_of_data(self._profile, self._data, marks)
        with self.session(others_only=True) as session:
            if not is_condemned(session.plan, self._token, self._identity.ordinal, being_deleted=True):
                raise Reprieved
            entries = own_entries(self._identity, session.listing, ids)
            if entries:
                led = session.survey.own is not None and session.survey.own.status.is_leader
                if led and self._profile.moves_leader:
                    why = self.hand_over(session.survey, min(deadline, self._clock.monotonic() + _HANDOVER))
                    return why or "leadership has just moved"
                return self._remove(session, entries[0], "the plan does not have it any more") or "it was just removed"
            if ids is not None:
                self._data.mark(removed_id=ids.member)
            settle(session.listing, session.via.client)
        return ""

    # ---- cleaning up

    def remove_if(self, choose: Callable[[Session], tuple[ListedMember, str] | str]) -> str:
        """Remove the member that ``choose`` names, with why, by what is known inside the lock.

        :param choose: returns its reason if it names none.
        """
        with self.session() as session:
            chosen = choose(session)
            return chosen if isinstance(chosen, str) else self._remove(session, *chosen)

    # ---- what they share

    @contextmanager
    def session(self, *, others_only: bool = False) -> Iterator[Session]:
        """The lock, and everything read anew inside of it."""
        with self._lock.held() as hold:
            plan = self._plans.fetch(_PLAN_TIMEOUT)
            survey = self._reach.survey()
            own = None if survey.own is None else Ids(survey.own.status.cluster_id, survey.own.status.member_id)
            survey = survey.of(plan.cluster_id, 0 if own is None else own.cluster)
            listing, via = self._reach.listing(survey, without_own=others_only)
            if not is_ours(listing, plan, own, self._reach.matching):
                raise NobodyAnswers(of_another_cluster(via, listing))
            yield Session(hold, plan, survey, listing, via)

    def _not_now(self, plan: PublishedPlan) -> str:
        """Why no change may be begun for this member."""
        if not is_about(plan, self._token):
            return "the plan is about another cluster of this name"
        if plan.deleting:
            return "the cluster is being deleted"
        if plan.paused:
            return "the cluster is paused"
        wants = plan.wants(self._identity.ordinal)
        if wants is False or (wants is None and self._identity.pod not in plan.initial):
            return "the plan does not have this member"
        return self._proofs.replaced()

    def _remove(self, session: Session, entry: ListedMember, because: str) -> str:
        not_now = guard.may_remove(session.listing, session.healthy, entry.id)
        if not_now:
            return not_now
        session.hold.check(_NEED)
        try:
            self._change(
                "remove",
                lambda: session.via.client.member_remove(entry.id, timeout=CHANGE_TIMEOUT),
                session.hold,
            )
        except NotFound:
            return ""  # somebody else did it, or an earlier call of ours
        self._tell("MemberRemoved", f"{guard.describe(entry)} was removed: {because}")
        return ""

    def _change(self, kind: ChangeKind, call: Callable[[], T], hold: Hold | None = None) -> T:
        """Make a call that changes something, and count what became of it.

        :param hold: of a change of the membership, which must not be followed by another while it may be under way.
        """
        try:
            answer = call()
        except EngineError as error:
            if hold is not None and error.ambiguous and not self._profile.orders_changes:
                hold.abandon()
            refused = isinstance(error, Refused | Unhealthy | NotFound)
            self._metrics.member_change(kind, "unknown" if error.ambiguous else "refused" if refused else "failed")
            raise
        self._metrics.member_change(kind, "ok")
        return answer


class Reprieved(Exception):
    """The plan has this member again: it stays."""


def settle(listing: MemberList, client: EngineClient) -> None:
    """Have the removal of the others stand on the disk of a member that is left alone; nothing for one that is not.

    etcd writes down that an entry is agreed upon when it writes the next one. Killed before that it takes who has left
    for a member still, whose vote it needs, and would wait for it for ever. Asking for alarms makes an entry.

    :raises EngineError: it is not known whether it does.
    """
    if sum(member.voter for member in listing.members) == 1:
        client.alarms(timeout=CHANGE_TIMEOUT)


class Settling:
    """The same by the member that is left, as often as its list has changed: who has left may have been killed before
    it could see to that. Used in one thread."""

    def __init__(self) -> None:
        self._settled: MemberList | None = None

    def cycle(self, listing: MemberList, client: EngineClient) -> None:
        if listing == self._settled:
            return
        try:
            settle(listing, client)
        except NotSupported as error:
            _log.debug("what was agreed upon may not be written down", error=str(error))
        except EngineError as error:
            _log.info("what was agreed upon may not be written down yet", error=str(error))
            return
        self._settled = listing
