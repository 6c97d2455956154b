"""The procedures that change the membership, against real servers: killed between any two calls, answered never or
twice, and raced."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

import crds
from crds.xlinecluster import XLINECLUSTERS
from membership.xline.changes import MembershipChanges, Reprieved, Unknown
from membership.xline.client import EngineClient, ListedMember
from membership.xline.datadir import DataDir
from membership.xline.engines import ETCD, EngineProfile
from membership.xline.errors import EngineError, Timeout
from membership.xline.heartbeat import PODS, HeartbeatWriter
from membership.xline.lock import DURATION, LockBusy, LockLost, MembershipLock
from membership.xline.metrics import AgentMetrics
from membership.xline.model import Identity, PublishedPlan
from membership.xline.options import AccessFiles, AgentOptions
from membership.xline.planreader import PlanReader
from membership.xline.proofs import Proofs, is_condemned
from membership.xline.reach import NobodyAnswers, Reach
from runtime.client import Client, ClientError, NotFound
from runtime.clock import SYSTEM
from runtime.testing import FakeAPIServer, FakeClock
from tests.support.etcd_process import EtcdCluster
from tests.support.loopback import own_address
from tests.support.waiting import eventually

pytestmark = pytest.mark.etcd

NAMESPACE, CLUSTER, TOKEN = "default", "demo", "demo-1"
JOINING = 3  # its ordinal


class Killed(BaseException):
    """The process is gone."""


class Death:
    """Comes at the n-th call, before or after it takes effect; nothing is called after that."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.at: tuple[int, str] | None = None
        self.calls = 0
        send, once = Client._send, EngineClient._once

        def api(client: Client, *args: object, **options: object) -> object:
            return self._passed(lambda: send(client, *args, **options))  # type: ignore[arg-type]

        def engine(client: EngineClient, method: str, *args: object) -> object:
            if method.endswith("/Status"):
                return once(client, method, *args)  # type: ignore[arg-type]
            return self._passed(lambda: once(client, method, *args))  # type: ignore[arg-type]

        monkeypatch.setattr(Client, "_send", api)
        monkeypatch.setattr(EngineClient, "_once", engine)

    def _passed(self, call: Callable[[], object]) -> object:
        self.calls += 1
        if self.at is None or self.calls < self.at[0]:
            return call()
        if self.calls == self.at[0] and self.at[1] == "after":
            call()
        raise Killed

    def next(self, at: tuple[int, str] | None) -> None:
        self.at, self.calls = at, 0


@dataclass
class Lab:
    """Three servers that vote, and lives of the agent of a fourth member."""

    server: FakeAPIServer
    client: Client
    folder: Path
    etcd: EtcdCluster
    joining: str  # its address
    clock: FakeClock
    lives: int = 0
    profile: EngineProfile = ETCD

    @property
    def names(self) -> list[str]:
        return [member.name for member in self.etcd.members]

    def publish(self, ordinals: list[int] | None, *, paused: bool = False, cluster_id: str | None = None) -> None:
        clusters = self.client.resource(XLINECLUSTERS, namespace=NAMESPACE)
        bootstrap = {"members": self.names, "token": TOKEN, "completed": True, "clusterId": cluster_id}
        plan = None if ordinals is None else {"ordinals": ordinals}
        status = {"bootstrap": bootstrap, "plan": plan}
        clusters.patch(CLUSTER, {"status": status}, type="merge", subresource="status")
        clusters.patch(CLUSTER, {"spec": {"paused": paused}}, type="merge")

    @contextlib.contextmanager
    def life(self, ordinal: int = JOINING, client: Client | None = None) -> Iterator[MembershipChanges]:
        """Of an agent: nothing is remembered from the one before."""
        self.lives += 1
        client = client or self.client
        address = self.joining if ordinal == JOINING else self.etcd.members[ordinal].address
        identity = Identity(
            namespace=NAMESPACE,
            cluster=CLUSTER,
            pod=f"{CLUSTER}-sts-{ordinal}",
            pod_uid=self.pod_uid(f"{CLUSTER}-sts-{ordinal}"),
            ordinal=ordinal,
            engine="etcd",
            peer_url=f"http://{address}:2380",
            client_url=f"http://{address}:2379",
            initial=tuple((m.name, f"http://{m.address}:2380") for m in self.etcd.members),
            addresses=tuple((m.name, f"http://{m.address}:2379") for m in self.etcd.members),
        )
        options = AgentOptions(
            identity=identity,
            mode="Supervisor",
            token=TOKEN,
            data_dir=self.folder / f"agent-{ordinal}" / "data",
            start_dir=self.folder / "start",
            listen=f"{address}:2382",
            grace=60.0,
            access=AccessFiles(),
            flags=(),
        )
        options.data_dir.parent.mkdir(exist_ok=True)
        data = DataDir(options.data_dir, ETCD)
        plans = PlanReader(
            client,
            NAMESPACE,
            CLUSTER,
            pod_copy=self.folder / f"plan-{self.lives}",
            volume_copy=self.folder / f"volume-{self.lives}",
        )
        reach = Reach(options, client, data, SYSTEM)
        lock = MembershipLock(client, NAMESPACE, CLUSTER, f"life-{self.lives}", clock=self.clock)
        proofs = Proofs(identity, TOKEN, client, plans, HeartbeatWriter(client, identity), SYSTEM)
        metrics = AgentMetrics(identity)
        try:
            yield MembershipChanges(
                identity, self.profile, TOKEN, lock, plans, proofs, reach, data, metrics, lambda *_: None, SYSTEM
            )
        finally:
            reach.close()

    def pod_uid(self, name: str) -> str:
        pods = self.client.resource(PODS, namespace=NAMESPACE)
        try:
            return pods.get(name).uid
        except NotFound:
            containers = [{"name": "xline", "image": "etcd"}]
            return pods.create({"metadata": {"name": name}, "spec": {"containers": containers}}).uid

    def dial(self) -> EngineClient:
        return EngineClient(f"{self.etcd.members[0].address}:2379")

    def entries(self) -> list[ListedMember]:
        """Of the fourth member."""

        def look() -> tuple[ListedMember, ...] | None:
            with contextlib.suppress(EngineError), self.dial() as client:
                return client.member_list().members
            return None

        return [member for member in eventually(look, "a list", 60.0) if member.name not in self.names]

    def reset(self, *, listed: bool) -> None:
        """Bring the fourth member's entry to what a test begins with.

        It gets a new address: etcd makes ids of addresses and of the time in seconds, and takes none a second time.
        """
        stale = {member.id for member in self.entries()}

        def gone() -> bool:
            for member_id in stale:
                with contextlib.suppress(EngineError), self.dial() as client:
                    client.member_remove(member_id)
            return not self.entries()

        eventually(gone, "no entry", 60.0)
        self.joining = own_address()

        def added() -> bool:
            with contextlib.suppress(EngineError), self.dial() as client:
                client.member_add([f"http://{self.joining}:2380"])
            return bool(self.entries())

        if listed:
            eventually(added, "the entry", 60.0)

    def again(self, procedure: Callable[[MembershipChanges], str], done: Callable[[], bool]) -> None:
        """New lives until it is done, as the agent would: each looks first."""

        def tried() -> bool:
            if done():
                return True
            self.clock.advance(16.0)
            with self.life() as changes:
                with contextlib.suppress(*Unknown):
                    procedure(changes)
                self.clock.advance(16.0)  # a dead life's lock, now that it was seen
                with contextlib.suppress(*Unknown):
                    if not done():
                        procedure(changes)
            return done()

        eventually(tried, "its end", 60.0)


@pytest.fixture(scope="module")
def voters(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    """Three servers, started once: etcd adds nobody before all have been connected for five seconds."""
    names = [f"{CLUSTER}-sts-{ordinal}" for ordinal in range(3)]
    etcd = EtcdCluster(tmp_path_factory.mktemp("voters"), names, [own_address() for _ in names])
    try:
        yield etcd
    finally:
        etcd.close()


@pytest.fixture
def lab(tmp_path: Path, voters: EtcdCluster) -> Iterator[Lab]:
    with FakeAPIServer() as server, server.client() as client:
        server.apply_manifests(Path(crds.__file__).parent)
        client.resource(XLINECLUSTERS, namespace=NAMESPACE).create(
            {
                "apiVersion": "xline.io.datenlord.com/v1alpha1",
                "kind": "XlineCluster",
                "metadata": {"name": CLUSTER},
                "spec": {"replicas": 4, "engine": "etcd"},
            }
        )
        lab = Lab(server, client, tmp_path, voters, own_address(), FakeClock())
        lab.publish([0, 1, 2, 3])
        lab.reset(listed=True)  # so that adding is possible by now
        yield lab


@pytest.fixture
def death(monkeypatch: pytest.MonkeyPatch) -> Death:
    return Death(monkeypatch)


def _join(changes: MembershipChanges) -> str:
    return changes.join()


def _leave(changes: MembershipChanges) -> str:
    return changes.leave(SYSTEM.monotonic() + 0.1)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(("procedure", "listed"), [(_join, True), (_leave, False)])
def test_killed_at_any_call_it_is_done_once(
    lab: Lab, death: Death, procedure: Callable[[MembershipChanges], str], listed: bool, when: str
) -> None:
    """Joining ends with one entry, leaving with none, wherever the life before was cut off."""
    lab.publish([0, 1, 2, 3] if listed else [0, 1, 2])
    for number in range(1, 100):
        lab.reset(listed=not listed)
        killed = False
        with lab.life() as changes:
            death.next((number, when))
            try:
                procedure(changes)
            except Killed:
                killed = True
            except Unknown:
                pass
        death.next(None)
        lab.again(procedure, lambda: len(lab.entries()) == int(listed))
        assert len(lab.entries()) == int(listed)
        if not killed:
            assert number > 6, "the procedure makes more calls than that"
            return
    raise AssertionError("the procedure never ends")


@pytest.mark.parametrize("verb", ["get", "update"])
def test_nothing_is_added_when_the_api_server_fails(lab: Lab, verb: str) -> None:
    lab.reset(listed=False)
    for fault in ({"status": 500}, {"status": 409}, {"drop": "before"}, {"drop": "after"}):
        struck = lab.server.faults.add(verb=verb, resource=["leases", "xlineclusters"], **fault)
        with lab.life() as changes, pytest.raises((ClientError, LockBusy)):
            changes.join()
        assert struck.hits >= 1
        lab.server.faults.clear()
        assert lab.entries() == []
    lab.again(_join, lambda: bool(lab.entries()))


def test_a_member_that_is_given_up_is_remembered_for_what_its_server_may_still_leave_behind(lab: Lab) -> None:
    lab.publish([0, 1, 2, 3])
    lab.reset(listed=True)
    (entry,) = lab.entries()
    with lab.life() as changes:
        eventually(lambda: _told(changes.give_up_lost_disk) == "", "its removal", 60.0)
    assert lab.entries() == []
    marks = DataDir(lab.folder / f"agent-{JOINING}" / "data", ETCD).marks
    assert (marks.removed_id, marks.entering) == (entry.id, False)


@pytest.mark.parametrize("ordered", [True, False])
def test_an_addition_whose_answer_is_lost_is_not_repeated(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, ordered: bool
) -> None:
    """Nor followed by anything else, where the server puts changes into no order, while it may be under way."""
    lab.publish([0, 1, 2, 3])
    lab.reset(listed=False)
    lab.profile = replace(ETCD, orders_changes=ordered)
    added = 0
    real = EngineClient.member_add

    def lost(client: EngineClient, *args: object, **options: object) -> object:
        nonlocal added
        added += 1
        real(client, *args, **options)  # type: ignore[arg-type]
        raise Timeout(client.address, "MemberAdd", "DEADLINE_EXCEEDED", "the answer was lost")

    monkeypatch.setattr(EngineClient, "member_add", lost)
    with lab.life() as changes:
        with pytest.raises(Timeout):
            changes.join()
        if not ordered:
            with lab.life() as other:
                for life in (changes, other):
                    with pytest.raises(LockBusy):
                        life.join()
            lab.clock.advance(DURATION + 0.1)
        assert "learner" in changes.join()  # seen in the list: nobody else may be joining
    assert added == 1
    assert len(lab.entries()) == 1


@pytest.mark.parametrize(("procedure", "listed"), [(_join, True), (_leave, False)])
def test_who_was_held_up_changes_nothing_after_its_time(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, procedure: Callable[[MembershipChanges], str], listed: bool
) -> None:
    """The lock is another's by then."""
    lab.publish([0, 1, 2, 3] if listed else [0, 1, 2])
    lab.reset(listed=not listed)
    real = Reach.listing

    def slow(*args: Any, **options: Any) -> object:
        answer = real(*args, **options)
        lab.clock.advance(DURATION)
        return answer

    monkeypatch.setattr(Reach, "listing", slow)
    with lab.life() as changes:
        try:
            why = procedure(changes)
        except LockLost as error:
            why = str(error)
    assert "held for too long" in why
    assert len(lab.entries()) == int(not listed)


def test_two_agents_add_only_one_member_at_a_time(lab: Lab) -> None:
    """Both want to join; the lock and the guard let one in."""
    lab.publish([0, 1, 2, 3])
    lab.reset(listed=False)
    outcomes: list[str] = []

    def work(changes: MembershipChanges) -> None:
        for _ in range(5):
            try:
                outcomes.append(changes.join())
            except Unknown as error:
                outcomes.append(str(error))

    with lab.life() as one, lab.life() as two:
        threads = [threading.Thread(target=work, args=(changes,)) for changes in (one, two)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert outcomes.count("") == 1
    assert len(lab.entries()) == 1


@pytest.mark.parametrize(
    ("ordinals", "paused", "why"),
    [([0, 1, 2], False, "does not have"), ([0, 1, 2, 3], True, "paused"), (None, False, "does not have")],
)
def test_who_is_not_wanted_now_is_not_added(lab: Lab, ordinals: list[int] | None, paused: bool, why: str) -> None:
    lab.reset(listed=False)
    lab.publish(ordinals, paused=paused)
    try:
        with lab.life() as changes:
            assert why in changes.join()
    finally:
        lab.publish([0, 1, 2, 3])
    assert lab.entries() == []


def test_who_has_lost_its_name_to_another_pod_changes_nothing(lab: Lab) -> None:
    """Its deletion was forced, and nobody has told its node: what is listed under its name is the other's."""
    lab.reset(listed=False)
    with lab.life() as changes:
        lab.client.resource(PODS, namespace=NAMESPACE).delete(f"{CLUSTER}-sts-{JOINING}", grace_period_seconds=0)
        assert "another one has its name" in changes.join()
        lab.pod_uid(f"{CLUSTER}-sts-{JOINING}")
        assert "another one has its name" in changes.join()
    assert lab.entries() == []
    voter = lab.etcd.members[2]
    with lab.life(2) as changes, lab.dial() as client:
        listed = next(member for member in client.member_list().members if member.name == voter.name)
        lab.client.resource(PODS, namespace=NAMESPACE).delete(voter.name, grace_period_seconds=0)
        lab.pod_uid(voter.name)
        voter.pause()  # as one whom this agent does not reach
        try:
            eventually(lambda: "another one has its name" in _told(changes.give_up_lost_disk), "a refusal", 60.0)
        finally:
            voter.resume()
        assert client.member_list(timeout=30.0).get(listed.id) == listed


def test_nothing_is_changed_through_a_server_of_another_cluster(lab: Lab) -> None:
    """An address may have gone to another cluster, which would get our member."""
    lab.reset(listed=False)
    lab.publish([0, 1, 2, 3], cluster_id="abc")
    try:
        with lab.life() as changes, pytest.raises(NobodyAnswers, match="belongs to the cluster"):
            changes.join()
    finally:
        lab.publish([0, 1, 2, 3])
    assert lab.entries() == []


def test_who_is_wanted_again_does_not_leave(lab: Lab) -> None:
    lab.publish([0, 1, 2, 3])
    lab.reset(listed=True)
    with lab.life() as changes, pytest.raises(Reprieved):
        changes.leave(SYSTEM.monotonic() + 5.0)
    assert len(lab.entries()) == 1


def test_no_member_joins_while_a_voter_is_down(lab: Lab) -> None:
    lab.publish([0, 1, 2, 3])
    lab.reset(listed=False)
    lab.etcd.members[1].pause()
    try:
        with lab.life() as changes:
            eventually(lambda: "not healthy" in _told(changes.join), "the guard", 60.0)
        assert lab.entries() == []
    finally:
        lab.etcd.members[1].resume()
    lab.again(_join, lambda: bool(lab.entries()))


def _told(procedure: Callable[[], str]) -> str:
    try:
        return procedure()
    except Unknown as error:
        return str(error)


def _plan(**changes: object) -> PublishedPlan:
    base: dict[str, object] = {
        "uid": "u",
        "resource_version": "1",
        "stale": False,
        "deleting": False,
        "paused": False,
        "bootstrapped": True,
        "cluster_id": 1,
        "token": TOKEN,
        "initial": ("a",),
        "ordinals": frozenset({0, 1}),
        "size": 2,
    }
    return PublishedPlan(**{**base, **changes})  # type: ignore[arg-type]


def test_condemned_is_only_who_every_word_speaks_against() -> None:
    assert is_condemned(_plan(), TOKEN, 2, being_deleted=True)
    assert is_condemned(_plan(paused=True), TOKEN, 2, being_deleted=True)
    assert not is_condemned(_plan(), TOKEN, 2, being_deleted=False)
    assert not is_condemned(_plan(), TOKEN, 1, being_deleted=True)
    assert not is_condemned(_plan(stale=True), TOKEN, 2, being_deleted=True)
    assert not is_condemned(_plan(deleting=True), TOKEN, 2, being_deleted=True)
    assert not is_condemned(_plan(ordinals=None), TOKEN, 2, being_deleted=True)
    assert not is_condemned(_plan(token="other"), TOKEN, 2, being_deleted=True)
    assert not is_condemned(_plan(token=""), TOKEN, 2, being_deleted=True)
    assert not is_condemned(None, TOKEN, 2, being_deleted=True)
