"""A cluster as the agent of its leader sees it: real Pods, claims and Leases on a real API server, and members by the
word of the test."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import msgspec

from membership.xline import guard
from membership.xline.changes import Session
from membership.xline.clean import Choice, Cleaner
from membership.xline.client import EngineClient, ListedMember, MemberList, MemberStatus
from membership.xline.lock import MembershipLock
from membership.xline.matching import Matching
from membership.xline.metrics import AgentMetrics
from membership.xline.model import HEARTBEAT, Heartbeat, Identity, PublishedPlan, member_selector
from membership.xline.reach import Contact, Survey
from runtime.client import Client, NotFound
from runtime.testing import FakeClock
from runtime.types import GVR, JSONObject

NAMESPACE = "default"
TOKEN = "c-1"
CLUSTER_ID = 0xC1
PODS = GVR("", "v1", "pods")
CLAIMS = GVR("", "v1", "persistentvolumeclaims")
STEP = 5.0

PLAN = PublishedPlan(
    uid="u",
    resource_version="1",
    stale=False,
    deleting=False,
    paused=False,
    bootstrapped=True,
    cluster_id=CLUSTER_ID,
    token=TOKEN,
    initial=("c-sts-0", "c-sts-1", "c-sts-2"),
    ordinals=frozenset({0, 1, 2}),
    size=3,
)
IDENTITY = Identity(NAMESPACE, "c", "c-sts-0", "uid-0", 0, "etcd", "http://c-sts-0:2380", "http://c-sts-0:2379")


def voter(ordinal: int, id: int | None = None) -> ListedMember:
    name = f"c-sts-{ordinal}"
    return ListedMember(id or ordinal + 1, name, (f"http://{name}:2380",), (f"http://{name}:2379",), False)


def learner(ordinal: int, id: int, *, started: bool = False) -> ListedMember:
    member = replace(voter(ordinal, id), is_learner=True)
    return member if started else replace(member, name="", client_urls=())


class World:
    """A cluster as its leader's agent sees it, with real Pods on a real API server. ``removed`` is what came of it."""

    def __init__(self, client: Client, clock: FakeClock) -> None:
        self.client = client
        self.clock = clock
        self.pods = client.resource(PODS, namespace=NAMESPACE)
        self.claims = client.resource(CLAIMS, namespace=NAMESPACE)
        self.plan = PLAN
        self.members = [voter(0), voter(1), voter(2)]
        self.answers = {1, 2, 3}
        self.leader = 1
        self.removed: list[int] = []
        self.told: list[str] = []
        self.inside: Callable[[], None] = lambda: None
        self.fails: Exception | None = None
        self.lost_answer = False
        self.sequence = 0
        self.metrics = AgentMetrics(IDENTITY)
        lock = MembershipLock(client, NAMESPACE, "c", "c-sts-0/x", clock=clock)
        self.lock = lock
        self._via = EngineClient("127.0.0.1:9")
        matching = Matching("c-sts", {}, {})
        self.cleaner = Cleaner(
            IDENTITY, TOKEN, self.remove_if, lock.watch, lambda: matching, client, self.metrics, self.tell, clock
        )
        for ordinal in range(3):
            self.pod(ordinal)

    def close(self) -> None:
        self._via.close()

    def tell(self, reason: str, message: str) -> None:
        self.told.append(f"{reason} {message}")

    def survey(self) -> Survey:
        contacts = [
            Contact(f"c-sts-{id - 1}", self._via, self.status(id))
            for id in sorted(self.answers)
            if any(member.id == id for member in self.members)
        ]
        own = next((contact for contact in contacts if contact.status.member_id == 1), None)
        return Survey(own, tuple(contact for contact in contacts if contact is not own))

    def status(self, id: int) -> MemberStatus:
        is_learner = next(member.is_learner for member in self.members if member.id == id)
        return MemberStatus(CLUSTER_ID, id, "3.5.1", self.leader, 1, 1, 1, 1, 0, 0, is_learner, ())

    def listing(self) -> MemberList:
        return MemberList(CLUSTER_ID, tuple(sorted(self.members, key=lambda member: member.id)))

    def remove_if(self, choose: Callable[[Session], Choice]) -> str:
        """As MembershipChanges does it: lock, read anew, guard, remove by id."""
        with self.lock.held() as hold:
            self.inside()
            survey, listing = self.survey(), self.listing()
            assert survey.own is not None
            chosen = choose(Session(hold, self.plan, survey, listing, survey.own))
            if isinstance(chosen, str):
                return chosen
            member, _ = chosen
            why = guard.may_remove(listing, survey.healthy(), member.id)
            if why:
                return why
            if self.fails is not None:
                raise self.fails
            self.removed.append(member.id)
            if not self.lost_answer:
                self.members.remove(member)
        return ""

    # ---- Pods

    def pod(self, ordinal: int, *, phase: str = "Running") -> None:
        name = f"c-sts-{ordinal}"
        pod: JSONObject = {
            "metadata": {"name": name, "labels": member_selector("c")},
            "spec": {"containers": [{"name": "xline", "image": "etcd"}]},
        }
        self.pods.create(pod)
        self.pods.patch(name, {"status": {"phase": phase}}, type="merge", subresource="status")

    def no_pod(self, ordinal: int) -> None:
        self.pods.delete(f"c-sts-{ordinal}", grace_period_seconds=0)

    def beat(
        self,
        ordinal: int,
        *,
        member: int = 0,
        state: str = "Running",
        reachable: tuple[int, ...] = (),
        cluster: int = CLUSTER_ID,
    ) -> None:
        """The Pod's agent says this, anew."""
        name = f"c-sts-{ordinal}"
        self.sequence += 1
        beat = Heartbeat(
            sequence=self.sequence,
            incarnation="i",
            cluster_uid="u",
            pod=name,
            pod_uid=self.pods.get(name).uid,
            ordinal=ordinal,
            state=state,
            member_id=f"{member:x}" if member else "",
            cluster_id=f"{cluster:x}",
            reachable=tuple(f"c-sts-{other}" for other in reachable),
        )
        annotation = {HEARTBEAT: msgspec.json.encode(beat).decode()}
        self.pods.patch(name, {"metadata": {"annotations": annotation}}, type="merge")

    def claim(self, ordinal: int) -> None:
        name = f"data-c-sts-{ordinal}"
        with suppress(NotFound):
            self.claims.delete(name)
            self.claims.patch(name, {"metadata": {"finalizers": None}}, type="merge")
        spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
        self.claims.create({"metadata": {"name": name}, "spec": spec})

    # ---- time

    def look(self) -> str:
        return self.cleaner.cycle(self.survey(), self.listing(), self.plan)

    def for_seconds(self, seconds: float, each: Callable[[], None] = lambda: None) -> str:
        """Look every few seconds, for the last time before so much time has gone by. Returns all that was said."""
        said: dict[str, None] = {}
        end = self.clock.monotonic() + seconds
        while self.clock.monotonic() + STEP < end:
            each()
            said[self.look()] = None
            self.clock.advance(STEP)
        return "\n".join(said)

    # ---- states of the cluster

    def unwanted(self) -> None:
        """Member 3 is not in the plan any more, and neither its Pod nor its server is there."""
        self.plan = replace(self.plan, ordinals=frozenset({0, 1}))
        self.down()

    def well(self, replace_after: float) -> None:
        """All members are, on volumes of their own, and dead ones may be replaced."""
        self.plan = replace(PLAN, replace_after=replace_after)
        for ordinal in range(3):
            self.claim(ordinal)
        self.look()

    def down(self) -> None:
        """Neither server nor Pod of member 3 is there."""
        self.answers.discard(3)
        self.no_pod(2)
