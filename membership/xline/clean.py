"""The clean task: takes members out of the cluster whose agents can no longer do it themselves.

It is run by the agent of the member that leads, and does one thing at a time. A member is *suspected* by one row of
:class:`Row`, on the evidence of one look; any contact with it ends the suspicion. Only one that has lasted without a
gap for the row's grace, by our monotonic clock, is acted on: under the membership lock, with everything read anew and
judged anew, by the same functions. So a leader that is deposed, cut off, or slow cannot do harm: without a majority
there is no list, without the API server there is no plan and no lock, and a removal is by id, which does nothing the
second time.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, TypeAlias

from membership.xline.client import ListedMember, MemberList
from membership.xline.guard import describe, majority
from membership.xline.heartbeat import PODS, Freshness, parse_heartbeat
from membership.xline.lock import LockBusy
from membership.xline.matching import Matching, same_url
from membership.xline.model import Heartbeat, Identity, PublishedPlan, member_selector_text
from runtime.client import Client, Forbidden, NotFound, Unstructured
from runtime.clock import Clock
from runtime.logging import get_logger
from runtime.types import GVR

if TYPE_CHECKING:
    from membership.xline.changes import Session
    from membership.xline.metrics import AgentMetrics
    from membership.xline.reach import Survey

_CLAIMS = GVR("", "v1", "persistentvolumeclaims")
_CALL = 3.0  # seconds for one request
FRESH = 45.0  # seconds that a heartbeat counts: three of its keepalives
PAUSE = 30.0  # seconds between two removals
GAP = 20.0  # seconds between two looks from which on nothing counts as continuous any more
_WATCH = 20.0  # seconds before a removal from which on the lock is watched: its time, and a few looks
_CLAIMS_EVERY = 60.0  # seconds between two looks at the volume of a member that is well

_log = get_logger(__name__)


class Row(StrEnum):
    """Why a member is suspected."""

    UNWANTED = "unwanted"  # not in the plan, its Pod is gone, and its server answers nobody
    DUPLICATE = "duplicate"  # never started, and its Pod runs, or ran, as another member
    STUCK = "stuck"  # a learner that never started, and whose Pod is gone or has failed
    DEAD = "dead"  # in the plan, but silent, and its volume is gone: where spec.replaceDeadMembers asks for it
    FOREIGN = "foreign"  # not of this cluster's set: only ever reported


_GRACE = {Row.UNWANTED: 45.0, Row.DUPLICATE: 30.0, Row.STUCK: 600.0, Row.DEAD: 300.0, Row.FOREIGN: 60.0}


def grace(row: Row, plan: PublishedPlan) -> float:
    """Seconds that a suspicion must last."""
    if row is Row.DEAD and plan.replace_after is not None:
        return max(_GRACE[row], plan.replace_after)
    return _GRACE[row]


@dataclass(frozen=True, slots=True)
class PodSeen:
    """A member's Pod, as the API server has it now.

    :ivar beat: its heartbeat, if it is fresh.
    """

    failed: bool = False
    beat: Heartbeat | None = None


@dataclass(frozen=True, slots=True)
class Evidence:
    """What one look has to go by.

    :ivar own_id: of the member that leads, and whose agent looks.
    :ivar answers: ids of the members whose server has answered just now.
    :ivar pods: by name; one that is not there has no Pod.
    :ivar lost: names of the members whose volume is not the one any more that they had when they were well.
    """

    own_id: int
    plan: PublishedPlan
    listing: MemberList
    answers: Collection[int]
    matching: Matching
    pods: Mapping[str, PodSeen]
    lost: Collection[str] = ()

    @property
    def reachable(self) -> frozenset[str]:
        """Names of the members whose server answers some agent."""
        return frozenset(name for pod in self.pods.values() if pod.beat is not None for name in pod.beat.reachable)


@dataclass(frozen=True, slots=True)
class Suspect:
    """A member, and what speaks against it."""

    row: Row
    member: ListedMember
    why: str


def suspects(evidence: Evidence) -> dict[int, Suspect]:
    """All members that something speaks against, by id. Never the own one, which leads; never one that answers."""
    found = {}
    for member in evidence.listing.members:
        if member.id == evidence.own_id or member.id in evidence.answers:
            continue
        suspect = _suspect(evidence, member)
        if suspect is not None:
            found[member.id] = suspect
    return found


def _suspect(evidence: Evidence, member: ListedMember) -> Suspect | None:
    ordinal = evidence.matching.ordinal_of(member)
    if ordinal is None:
        return Suspect(Row.FOREIGN, member, "it is none of this cluster's members; remove it by hand if nobody uses it")
    wanted = evidence.plan.wants(ordinal)
    name = f"{evidence.matching.base}-{ordinal}"
    pod = evidence.pods.get(name)
    if wanted is None:
        return None
    if not wanted:
        if pod is None and name not in evidence.reachable:
            return Suspect(Row.UNWANTED, member, "the plan does not have it any more, and its Pod is gone")
        return None
    if not member.started:
        return _never_started(evidence, member, pod)
    silent = name not in evidence.reachable and (pod is None or pod.beat is None or pod.beat.state == "LostDisk")
    if evidence.plan.replace_after is not None and name in evidence.lost and silent:
        return Suspect(Row.DEAD, member, "it is down, and its volume is gone")
    return None


def _never_started(evidence: Evidence, member: ListedMember, pod: PodSeen | None) -> Suspect | None:
    twin = _twin(evidence.listing, member) or _runs_as(evidence.listing, member, pod)
    if twin is not None:
        return Suspect(Row.DUPLICATE, member, f"it never started, and its Pod is {describe(twin)}")
    if member.is_learner and (pod is None or pod.failed):
        return Suspect(Row.STUCK, member, "it never started, and its Pod is gone")
    return None


def _twin(listing: MemberList, member: ListedMember) -> ListedMember | None:
    """Another entry with a peer URL of this one, whose server has run."""
    for other in listing.members:
        shared = any(same_url(mine, its) for mine in member.peer_urls for its in other.peer_urls)
        if other.id != member.id and other.started and shared:
            return other
    return None


def _runs_as(listing: MemberList, member: ListedMember, pod: PodSeen | None) -> ListedMember | None:
    """The other member of this cluster that the Pod's server says it is."""
    beat = pod.beat if pod is not None else None
    if beat is None or not beat.member_id or beat.cluster_id != f"{listing.cluster_id:x}":
        return None
    other = listing.get(int(beat.member_id, 16))
    return None if other is None or other.id == member.id else other


def obstacle(evidence: Evidence, suspect: Suspect) -> str:
    """Why it may not be removed now although its grace is over; the majority is the guard's to look after."""
    member = suspect.member
    if member.is_learner or not member.started:
        return ""
    for other in evidence.listing.members:
        runs = other.started or other.id in evidence.answers
        if other.id != member.id and (other.is_learner or not runs):
            return f"{describe(other)} has not become a voter that runs yet"
    left = sum(other.voter for other in evidence.listing.members) - 1
    needed = majority(len(evidence.plan.ordinals or ()))
    if left < needed:
        return f"only {left} voters would be left, of {len(evidence.plan.ordinals or ())} wanted"
    return ""


Choice: TypeAlias = "tuple[ListedMember, str] | str"


class Cleaner:
    """The clean task of one agent. Used in one thread.

    :param remove_if: ``MembershipChanges.remove_if``: the lock, everything read anew, the guard, the removal.
    :param watch_lock: ``MembershipLock.watch``: begins to wait for a holder of the lock that has died.
    :param matching: by what members are recognized just now.
    :param tell: ``tell(reason, message)``: records an event about the cluster.
    """

    def __init__(
        self,
        identity: Identity,
        token: str,
        remove_if: Callable[[Callable[[Session], Choice]], str],
        watch_lock: Callable[[], None],
        matching: Callable[[], Matching],
        client: Client,
        metrics: AgentMetrics,
        tell: Callable[[str, str], None],
        clock: Clock,
    ) -> None:
        self._identity = identity
        self._token = token
        self._remove_if = remove_if
        self._watch_lock = watch_lock
        self._matching = matching
        self._pods = client.resource(PODS, namespace=identity.namespace)
        self._claims = client.resource(_CLAIMS, namespace=identity.namespace)
        self._metrics = metrics
        self._tell = tell
        self._clock = clock
        self._freshness = Freshness(clock)
        self._since: dict[int, tuple[Row, float]] = {}
        self._looked = float("-inf")
        self._acted = float("-inf")
        self._removed = 0  # id of the last one
        self._volumes: dict[int, tuple[str, float]] = {}  # member's id -> uid of its claim, when that was seen
        self._reported: set[int] = set()

    def reset(self) -> None:
        """Forget all suspicions: nothing is known of the time in between."""
        self._since.clear()

    def cycle(self, survey: Survey, listing: MemberList, plan: PublishedPlan) -> str:
        """One look, and one removal at most. Call it while the own member leads.

        :returns: ``""``, or what is waited for.
        :raises ClientError: the API server cannot be asked; nor is anybody suspected any more.
        :raises Exception: what ``remove_if`` raises when it could not find out, or got no answer.
        """
        now = self._clock.monotonic()
        if now - self._looked > GAP:
            self.reset()
        self._looked = now
        try:
            evidence = self._evidence(survey, listing, plan)
        except BaseException:
            self.reset()
            raise
        if isinstance(evidence, str):
            self.reset()
            return evidence
        found = suspects(evidence)
        self._since = {
            id: self._since[id] if self._since.get(id, ("", 0.0))[0] == suspect.row else (suspect.row, now)
            for id, suspect in found.items()
        }
        self._reported &= set(found)
        left = {id: grace(suspect.row, plan) - (now - self._since[id][1]) for id, suspect in found.items()}
        due = []
        for id, suspect in found.items():
            if suspect.row is not Row.FOREIGN:
                if left[id] <= 0:
                    due.append(suspect)
                elif left[id] <= _WATCH:
                    self._watch_lock()
            elif left[id] <= 0:
                self._report(suspect)
        # Those without a vote first: they are in the way of the others.
        due.sort(key=lambda suspect: (suspect.member.voter and suspect.member.started, left[suspect.member.id]))
        return self._remove(due[0], evidence) if due else ""

    def _remove(self, suspect: Suspect, evidence: Evidence) -> str:
        now = self._clock.monotonic()
        if now - self._acted < PAUSE:
            return f"{describe(suspect.member)} is removed after a pause"
        if self._removed and evidence.listing.get(self._removed) is not None:
            return "the last removal is not seen in the list yet"
        why = obstacle(evidence, suspect)
        if why:
            return f"{describe(suspect.member)} is not removed: {why}"
        before = self._acted
        self._acted, self._removed = now, 0

        def choose(session: Session) -> Choice:
            again = self._evidence(session.survey, session.listing, session.plan)
            if isinstance(again, str):
                return again
            confirmed = suspects(again).get(suspect.member.id)
            if confirmed is None or confirmed.row is not suspect.row:
                return f"{describe(suspect.member)} is no longer {suspect.row}"
            return obstacle(again, confirmed) or (confirmed.member, confirmed.why)

        try:
            why = self._remove_if(choose)
        except LockBusy:
            self._acted = before  # nothing was done, so nothing has to settle
            raise
        if not why:
            self._removed = suspect.member.id
            self._metrics.clean_action(suspect.row)
            return ""
        return f"{describe(suspect.member)} is not removed: {why}"

    def _report(self, suspect: Suspect) -> None:
        if suspect.member.id not in self._reported:
            self._reported.add(suspect.member.id)
            self._tell("ForeignMember", f"{describe(suspect.member)}: {suspect.why}")

    # ---- what there is to go by

    def _evidence(self, survey: Survey, listing: MemberList, plan: PublishedPlan) -> Evidence | str:
        """What is known now, or why nobody may be suspected."""
        own = survey.own.status if survey.own is not None else None
        if own is None or not own.is_leader:
            return "another member leads"
        if plan.token != self._token or plan.stale or plan.deleting or plan.paused or plan.ordinals is None:
            return "the plan does not say now who the members are"
        answers = {contact.status.member_id for contact in survey.all}
        evidence = Evidence(own.member_id, plan, listing, answers, self._matching(), {})
        if plan.replace_after is not None:
            evidence = replace(evidence, lost=self._lost(evidence))
        if all(member.id in answers for member in listing.members):
            return evidence  # nobody is suspected, so the API server is not asked
        return replace(evidence, pods=self._pods_now())

    def _pods_now(self) -> dict[str, PodSeen]:
        selector = member_selector_text(self._identity.cluster)
        pods = self._pods.list(label_selector=selector, timeout=_CALL).items
        self._freshness.forget(frozenset(pod.uid for pod in pods))
        return {pod.name: self._pod(pod) for pod in pods}

    def _pod(self, pod: Unstructured) -> PodSeen:
        beat = parse_heartbeat(pod)
        fresh = beat is not None and self._freshness.observe(beat) <= FRESH
        return PodSeen((pod.get("status") or {}).get("phase") == "Failed", beat if fresh else None)

    def _lost(self, evidence: Evidence) -> frozenset[str]:
        """Remembers the volumes of members that are well; of the others, whose volume is another now, or gone.

        Nothing is known of a member that has not been well since we began to look: its volume may be what it was.
        """
        now = self._clock.monotonic()
        lost = set()
        self._volumes = {id: seen for id, seen in self._volumes.items() if evidence.listing.get(id) is not None}
        for member in evidence.listing.members:
            ordinal = evidence.matching.ordinal_of(member)
            if ordinal is None or not evidence.plan.wants(ordinal):
                continue
            name = f"{evidence.matching.base}-{ordinal}"
            uid, seen = self._volumes.get(member.id, ("", float("-inf")))
            if member.id in evidence.answers:
                if now - seen > _CLAIMS_EVERY:
                    self._volumes[member.id] = (self._claim(name) or "", now)
            elif uid and self._claim(name) not in (uid, None):
                lost.add(name)
        return frozenset(lost)

    def _claim(self, name: str) -> str | None:
        """uid of a member's volume claim; ``""``: there is none, or it is about to go; None: we may not know."""
        try:
            claim = self._claims.get(f"data-{name}", timeout=_CALL)
        except NotFound:
            return ""
        except Forbidden:  # a ServiceAccount of the user's own may lack the right
            return None
        return "" if claim.deletion_timestamp is not None else claim.uid
