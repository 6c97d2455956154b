"""Agents with real servers as their children, on an API server that plays the operator's part by hand."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import cast

import crds
from crds.xlinecluster import XLINECLUSTERS
from membership.xline import startfile
from membership.xline.agent import Agent
from membership.xline.client import EngineClient, MemberList, MemberStatus
from membership.xline.datadir import DataDir
from membership.xline.engines import ETCD, EngineProfile
from membership.xline.errors import EngineError
from membership.xline.gate import serves
from membership.xline.heartbeat import HeartbeatWriter
from membership.xline.metrics import AgentMetrics
from membership.xline.model import HEARTBEAT, Identity, Start, member_selector
from membership.xline.options import AccessFiles, AgentOptions
from membership.xline.planreader import PlanReader
from membership.xline.states import State
from membership.xline.supervisor import Supervisor
from runtime.client import Client, NotFound
from runtime.record import FakeRecorder
from runtime.testing import FakeAPIServer
from runtime.types import GVR, JSONObject
from tests.support.etcd_process import etcd_binary
from tests.support.loopback import own_address
from tests.support.waiting import eventually

NAMESPACE = "default"
CLUSTER = "demo"
TOKEN = "demo-1234"
PODS = GVR("", "v1", "pods")
WAIT = 60.0  # seconds that what must come true may take on a machine with other things to do
CRDS = Path(crds.__file__).parent


def name_of(ordinal: int) -> str:
    return f"{CLUSTER}-sts-{ordinal}"


class Member:
    """One Pod: its agent in a thread of ours, its server a child."""

    def __init__(self, world: AgentWorld, ordinal: int, pod_uid: str) -> None:
        self.world = world
        self.ordinal = ordinal
        self.name = name_of(ordinal)
        self.address = world.address(ordinal)
        self.recorder = FakeRecorder()
        self.identity = world.identity(ordinal, pod_uid)
        options = world.options(self.identity)
        profile = world.profile
        self.data = DataDir(options.data_dir, profile)
        self.plans = PlanReader(
            world.client,
            NAMESPACE,
            CLUSTER,
            pod_copy=world.folder / f"{self.identity.pod_uid}.json",
            volume_copy=self.data.own / "plan.json",
            token=TOKEN,
        )
        self.heartbeats = HeartbeatWriter(world.client, self.identity)
        launching = startfile.Launching(
            profile=profile,
            name=self.name,
            peer_url=self.identity.peer_url,
            token=TOKEN,
            flags=options.flags,
            initial=self.identity.initial,
        )
        self.starts: list[Start] = []

        def command(start: Start) -> list[str]:
            if start not in self.starts[-1:]:
                self.starts.append(start)
            return [world.program, *startfile.arguments(launching, start)]

        self.server = Supervisor(
            command,
            self.data,
            stop_signal=profile.stop_signal,
            serves=self._serves if profile.hollow_when_removed else None,
        )
        self.metrics = AgentMetrics(self.identity)
        self.agent = Agent(
            options,
            world.client,
            self.server,
            self.data,
            self.plans,
            self.heartbeats,
            self.metrics,
            self.recorder,
        )
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self.agent.run, args=(self._stop,), name=f"agent-{ordinal}")

    def begin(self) -> None:
        self.plans.start()
        self.heartbeats.start()
        self._thread.start()

    def _serves(self) -> bool:
        return serves(self.address, self.world.profile)

    @property
    def state(self) -> str:
        return str(self.agent.status()["state"])

    def become(self, *states: State) -> None:
        """Wait until it is in one of these states."""
        try:
            eventually(lambda: self.state in states, timeout=WAIT)
        except AssertionError:
            log = self.world.folder / f"{self.name}.log"
            said = log.read_text()[-2000:] if log.exists() else ""
            raise AssertionError(f"{self.name} is not in {states}, but {self.agent.status()}\n{said}") from None

    def started_as(self, *kinds: str) -> None:
        """Wait until these are the ways in which it was let start, one after the other."""
        eventually(lambda: [start.kind for start in self.starts] == list(kinds), f"{kinds}, not {self.starts}", WAIT)

    def status(self) -> MemberStatus | None:
        try:
            with EngineClient(f"{self.address}:2379", timeout=1.0) as client:
                return client.status()
        except EngineError:
            return None

    def kill(self) -> None:
        """As a machine that loses power: agent and server are gone at once, the disk stays."""
        self._stop.set()
        self.agent.wake()
        self.server.close()
        if self._thread.ident is not None:
            self._thread.join()
        self.plans.close()
        self.heartbeats.close()


class AgentWorld:
    """A cluster without an operator: its XlineCluster and Pods are written by the test.

    :param size: members it is bootstrapped with.
    :param spec: more of the XlineCluster's.
    """

    def __init__(
        self,
        folder: Path,
        server: FakeAPIServer,
        client: Client,
        size: int,
        profile: EngineProfile,
        program: str,
        spec: JSONObject,
    ) -> None:
        self.profile = profile
        self.program = program
        self.folder = folder
        self.server = server
        self.client = client
        self.size = size
        self._addresses: dict[int, str] = {}
        self.members: dict[int, Member] = {}
        self.clusters = client.resource(XLINECLUSTERS, namespace=NAMESPACE)
        self.pods = client.resource(PODS, namespace=NAMESPACE)
        created = self.clusters.create(
            {
                "apiVersion": "xline.io.datenlord.com/v1alpha1",
                "kind": "XlineCluster",
                "metadata": {"name": CLUSTER},
                "spec": {"replicas": size, "engine": profile.key, **spec},
            }
        )
        self.uid = created.uid
        names = [name_of(ordinal) for ordinal in range(size)]
        self.publish(bootstrap={"members": names, "token": TOKEN, "completed": False})

    def address(self, ordinal: int) -> str:
        if ordinal not in self._addresses:
            self._addresses[ordinal] = own_address()
        return self._addresses[ordinal]

    def identity(self, ordinal: int, pod_uid: str) -> Identity:
        members = [(name_of(other), self.address(other)) for other in range(self.size)]
        return Identity(
            namespace=NAMESPACE,
            cluster=CLUSTER,
            pod=name_of(ordinal),
            pod_uid=pod_uid,
            ordinal=ordinal,
            engine=self.profile.key,
            peer_url=f"http://{self.address(ordinal)}:2380",
            client_url=f"http://{self.address(ordinal)}:2379",
            initial=tuple((name, f"http://{address}:2380") for name, address in members),
            addresses=tuple((name, f"http://{address}:2379") for name, address in members),
        )

    def options(self, identity: Identity) -> AgentOptions:
        address = self.address(identity.ordinal)
        return AgentOptions(
            identity=identity,
            mode="Supervisor",
            token=TOKEN,
            data_dir=self.volume(identity.ordinal) / "data",
            start_dir=self.folder / "start",
            listen=f"{address}:2382",
            grace=60.0,
            access=AccessFiles(),
            flags=self._etcd_flags(identity) if self.profile is ETCD else self._xline_flags(identity),
        )

    def _etcd_flags(self, identity: Identity) -> tuple[str, ...]:
        return (
            f"--name={identity.pod}",
            f"--data-dir={self.volume(identity.ordinal) / 'data'}",
            f"--listen-peer-urls={identity.peer_url}",
            f"--listen-client-urls={identity.client_url}",
            f"--initial-advertise-peer-urls={identity.peer_url}",
            f"--advertise-client-urls={identity.client_url}",
            "--heartbeat-interval=50",
            "--election-timeout=500",
            "--log-level=warn",
            f"--log-outputs={self.folder / f'{identity.pod}.log'}",
        )

    def _xline_flags(self, identity: Identity) -> tuple[str, ...]:
        return (
            f"--name={identity.pod}",
            "--storage-engine=rocksdb",
            f"--data-dir={self.volume(identity.ordinal) / 'data'}",
            f"--peer-listen-urls={identity.peer_url}",
            f"--peer-advertise-urls={identity.peer_url}",
            f"--client-listen-urls={identity.client_url}",
            f"--client-advertise-urls={identity.client_url}",
        )

    def volume(self, ordinal: int) -> Path:
        path = self.folder / f"volume-{ordinal}"
        path.mkdir(exist_ok=True)
        return path

    # ---- the operator's part

    def publish(self, *, ordinals: Iterable[int] | None = None, **status: object) -> None:
        if ordinals is not None:
            status["plan"] = {"ordinals": sorted(ordinals)}
        self.clusters.patch(CLUSTER, {"status": status}, type="merge", subresource="status")

    def bootstrapped(self) -> None:
        self.publish(bootstrap={"completed": True}, ordinals=range(self.size))

    def pod_uid(self, ordinal: int) -> str:
        try:
            return self.pods.get(name_of(ordinal)).uid
        except NotFound:
            return self._create_pod(ordinal)

    def _create_pod(self, ordinal: int) -> str:
        pod: JSONObject = {
            "metadata": {"name": name_of(ordinal), "labels": member_selector(CLUSTER), "finalizers": ["test/kubelet"]},
            "spec": {"containers": [{"name": "xline", "image": "etcd"}]},
        }
        created = self.pods.create(pod)
        self.pods.patch(created.name, {"status": {"podIP": self.address(ordinal)}}, type="merge", subresource="status")
        return created.uid

    def delete_pod(self, ordinal: int) -> None:
        """It gets its deletionTimestamp, and stays until :meth:`forget_pod`."""
        self.pods.delete(name_of(ordinal), grace_period_seconds=60)

    def forget_pod(self, ordinal: int) -> None:
        self.pods.patch(name_of(ordinal), {"metadata": {"finalizers": None}}, type="merge")

    # ---- members

    def start(self, *ordinals: int) -> None:
        for ordinal in ordinals:
            self.start_as(ordinal, self.pod_uid(ordinal))

    def start_as(self, ordinal: int, pod_uid: str, *, started: bool = True) -> Member:
        """Start the member of a Pod that is known; needs no API server."""
        member = self.members[ordinal] = Member(self, ordinal, pod_uid)
        if started:
            member.begin()
        return member

    def kill(self, ordinal: int) -> None:
        self.members.pop(ordinal).kill()

    def run(self, *ordinals: int) -> None:
        """Start them, and wait until all vote."""
        self.start(*ordinals)
        for ordinal in ordinals:
            self.members[ordinal].become(State.RUNNING)

    def boot(self) -> None:
        self.run(*range(self.size))
        self.bootstrapped()

    def leader(self) -> int:
        def look() -> list[int]:
            return [o for o, m in self.members.items() if (s := m.status()) is not None and s.is_leader]

        return eventually(look, "a leader", WAIT)[0]

    def listing(self) -> MemberList:
        """A linearizable list, from whoever gives one."""

        def look() -> MemberList | None:
            for member in self.members.values():
                try:
                    with EngineClient(f"{member.address}:2379", timeout=1.0) as client:
                        return client.member_list()
                except EngineError:
                    continue
            return None

        return eventually(look, "a member list", WAIT)

    def remove(self, ordinal: int) -> int:
        """Take a member out, as somebody with etcdctl would; returns its id."""
        member_id = next(member.id for member in self.listing().members if member.name == name_of(ordinal))

        def gone() -> bool:
            for member in self.members.values():
                with suppress(EngineError), EngineClient(f"{member.address}:2379") as client:
                    client.member_remove(member_id, timeout=2.0)
            return self.listing().get(member_id) is None

        eventually(gone, "its removal", WAIT)
        return member_id

    def voters(self) -> list[str]:
        return sorted(m.name or m.peer_urls[0] for m in self.listing().members if not m.is_learner)

    def close(self) -> None:
        for ordinal in list(self.members):
            self.kill(ordinal)


def beat_of_pod(world: AgentWorld, ordinal: int) -> dict[str, object]:
    """The heartbeat as it stands on its Pod."""
    text = world.pods.get(name_of(ordinal)).annotations.get(HEARTBEAT, "{}")
    return cast("dict[str, object]", json.loads(text))


@contextmanager
def agent_world(
    folder: Path, size: int = 3, *, profile: EngineProfile = ETCD, program: str = "", spec: JSONObject | None = None
) -> Iterator[AgentWorld]:
    with ExitStack() as stack:
        server = stack.enter_context(FakeAPIServer())
        server.apply_manifests(CRDS)
        client = stack.enter_context(server.client())
        world = AgentWorld(folder, server, client, size, profile, program or etcd_binary() or "etcd", spec or {})
        stack.callback(world.close)
        yield world
