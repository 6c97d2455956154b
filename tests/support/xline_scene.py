"""An XlineCluster on a local node, with the operator in a process of its own: where scenarios of failure play.

Nothing here is played by a stand-in: Pods are processes, members are servers, and what fails is killed, frozen, wiped
or cut off.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, Protocol

import crds
from crds.xlinecluster import XLINECLUSTERS
from membership.xline.client import EngineClient, ListedMember, MemberStatus
from membership.xline.engines import CLIENT_PORT
from membership.xline.errors import EngineError
from membership.xline.model import AGENT_PORT, HEARTBEAT
from runtime.client import Client, ClientError, NotFound, Unstructured
from runtime.testing.localcluster import LocalCluster
from runtime.testing.nodes import RestartPolicy
from runtime.testing.nodes.claims import CLAIMS
from runtime.testing.nodes.controllers import ADVANCED_STATEFULSET_CRD
from runtime.testing.nodes.links import Links
from runtime.testing.nodes.status_writer import PODS
from runtime.types import GVR, JSONObject
from tests.support.operators import Operator, Operators
from tests.support.recorder import Recorder
from tests.support.waiting import eventually

EVENTS = GVR("", "v1", "events")
NAMESPACE = "default"
NAME = "demo"
SERVER, AGENT = "xline", "agent"
SLOW = 120.0  # seconds: many processes on a machine that has other things to do


class Judged(Protocol):
    """Clients at work while something happens to a stage."""

    def __call__(self, scene: Scene, note: str = "") -> contextlib.AbstractContextManager[Recorder]:
        """:param note: what the test itself takes away, if that is part of how long clients are without service."""


class Scene:
    """The stage. Members are meant by their ordinals."""

    def __init__(self, folder: Path, cluster: LocalCluster) -> None:
        self.node = cluster.node
        self.server = cluster.server
        self.client: Client = cluster.client()
        self.folder = folder
        self._kubeconfig = cluster.kubeconfig
        self._operators = Operators(folder)
        self._last_addresses: list[str] = []
        self.killed_a_server = False

    def close(self) -> None:
        self._operators.kill_all()
        self.client.close()

    @property
    def links(self) -> Links:
        """Of a scene that has them: all traffic between Pods goes through one thread of this process then, which is
        slow where the machine is busy."""
        return self.node.links

    # -- operator and XlineCluster

    def start_operator(self, *flags: str) -> Operator:
        return self._operators.start(self._kubeconfig, *flags)

    def create(self, replicas: int = 3, **spec: Any) -> None:
        manifest = {
            "apiVersion": "xline.io.datenlord.com/v1alpha1",
            "kind": "XlineCluster",
            "metadata": {"name": NAME},
            "spec": {"replicas": replicas, "engine": "etcd", **spec},
        }
        self.client.resource(XLINECLUSTERS, NAMESPACE).create(manifest)

    def edit(self, **spec: Any) -> None:
        self.client.resource(XLINECLUSTERS, NAMESPACE).patch(NAME, {"spec": spec})

    def scale(self, replicas: int) -> None:
        self.client.resource(XLINECLUSTERS, NAMESPACE).update_scale(NAME, replicas)

    def cluster(self) -> Unstructured:
        return self.client.resource(XLINECLUSTERS, NAMESPACE).get(NAME)

    def status(self) -> JSONObject:
        return self.cluster().get("status") or {}

    def condition(self, kind: str) -> JSONObject:
        found = (c for c in self.status().get("conditions") or () if c["type"] == kind)
        return next(found, {})

    def wait_condition(self, kind: str, status: str, reason: str | None = None, timeout: float = SLOW) -> None:
        def look() -> bool:
            found = self.condition(kind)
            return found.get("status") == status and reason in (None, found.get("reason"))

        eventually(look, f"{kind}={status} {reason or ''}", timeout)

    def told(self, reason: str) -> int:
        """How often the operators have logged this reason: at once and each time, unlike events, which are gathered."""
        lines = [line for operator in self._operators.started for line in operator.lines]
        return sum(line.get("reason") == reason for line in lines)

    # -- members

    def ordinals(self) -> list[int]:
        """Of the Pods that are there, those that are going included."""
        return sorted(int(pod.name.rpartition("-")[2]) for pod in self.pods())

    def pods(self) -> list[Unstructured]:
        return [pod for pod in self.client.resource(PODS, NAMESPACE).list() if pod.name.startswith(f"{NAME}-sts-")]

    def pod(self, ordinal: int) -> Unstructured:
        return self.client.resource(PODS, NAMESPACE).get(pod_name(ordinal))

    def wait_replaced(self, ordinal: int, uid: str) -> None:
        """Until there is another Pod of that ordinal than the one with this uid."""

        def replaced() -> bool:
            with contextlib.suppress(NotFound):
                return self.pod(ordinal).uid != uid
            return False

        eventually(replaced, f"another {pod_name(ordinal)}", SLOW)

    def delete_pod(self, ordinal: int) -> None:
        self.client.resource(PODS, NAMESPACE).delete(pod_name(ordinal))

    def addresses(self) -> list[str]:
        """Of the members' client ports, that clients may try now; while the API server is away, those of before."""
        with contextlib.suppress(ClientError):
            found = [pod["status"]["podIP"] for pod in self.pods() if (pod.get("status") or {}).get("podIP")]
            self._last_addresses = [f"{ip}:{CLIENT_PORT}" for ip in found]
        return list(self._last_addresses)

    def member_addresses(self) -> list[str]:
        """Of the client ports of all members that are there."""
        return [self.address(ordinal) for ordinal in self.ordinals()]

    def service(self) -> str:
        return f"{self.node.service_address(NAMESPACE, f'{NAME}-client')}:{CLIENT_PORT}"

    def address(self, ordinal: int) -> str:
        return f"{self.node.pod_address(NAMESPACE, pod_name(ordinal), f'{NAME}-svc')}:{CLIENT_PORT}"

    def says(self, ordinal: int) -> MemberStatus | None:
        """What the member says about itself; None: it does not answer."""
        with EngineClient(self.address(ordinal), timeout=2.0) as member, contextlib.suppress(EngineError):
            return member.status()
        return None

    def listed(self) -> tuple[ListedMember, ...]:
        """The engine's list, from the first member that has one; empty: none has."""
        for ordinal in self.ordinals():
            with EngineClient(self.address(ordinal), timeout=2.0) as member, contextlib.suppress(EngineError):
                return member.member_list().members
        return ()

    def ids(self) -> dict[str, int]:
        """Name -> the engine's id, of the members that are listed."""
        return {member.name: member.id for member in self.listed()}

    def leader(self) -> int | None:
        """Ordinal of the member that leads by its own word."""
        leading = [o for o in self.ordinals() if (said := self.says(o)) is not None and said.is_leader]
        return leading[0] if len(leading) == 1 else None

    def wait_leader(self) -> int:
        return int(eventually(lambda: _shown(self.leader()), "a leader", SLOW))

    def move_leader(self, to: int) -> None:
        """By hand, as ``etcdctl move-leader``."""
        with EngineClient(self.address(self.wait_leader()), timeout=10.0) as member:
            names = {m.name: m.id for m in member.member_list().members}
            member.move_leader(names[pod_name(to)])
        eventually(lambda: self.leader() == to, f"member {to} leading", SLOW)

    def wait_whole(self, *ordinals: int, timeout: float = SLOW) -> None:
        """Until exactly these members are there, vote, are ready, and nothing is under way."""

        def look() -> str:
            problem = self._lacks(ordinals)
            return "" if problem else "whole"

        try:
            eventually(look, f"members {ordinals}", timeout)
        except AssertionError as error:
            raise AssertionError(f"members {ordinals}: {self._lacks(ordinals)}\n{self.story()}") from error

    def _lacks(self, ordinals: tuple[int, ...]) -> str:
        cluster = self.cluster()
        status = cluster.get("status") or {}
        if status.get("phase") != "Running" or status.get("observedGeneration") != cluster.generation:
            return f"phase {status.get('phase')}"
        if self.ordinals() != sorted(ordinals):
            return f"Pods {self.ordinals()}"
        if not all(_is_ready(pod) for pod in self.pods()):
            return "a Pod is not ready"
        voters = sorted(member.name for member in self.listed() if member.voter)
        if voters != sorted(map(pod_name, ordinals)):
            return f"voters {voters} of {[m.name for m in self.listed()]}"
        return "" if self.leader() is not None else "no leader"

    def resize(self, size: int) -> list[int]:
        """Scale and wait; the ordinals that there are then."""
        self.scale(size)

        def look() -> bool:
            ordinals = self.ordinals()
            return len(ordinals) == size and self.whole(*ordinals)

        try:
            eventually(look, f"{size} members", 2 * SLOW)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.story()}") from error
        return self.ordinals()

    def start_three(self, **spec: Any) -> Scene:
        """An operator, and a cluster of three that is whole."""
        self.start_operator()
        self.create(**spec)
        self.wait_whole(0, 1, 2)
        return self

    def follower(self) -> int:
        """One of those that do not lead."""
        leader = self.wait_leader()
        return next(ordinal for ordinal in self.ordinals() if ordinal != leader)

    def is_ready(self, ordinal: int) -> bool:
        return _is_ready(self.pod(ordinal))

    def whole(self, *ordinals: int) -> bool:
        return not self._lacks(ordinals)

    def story(self, lines: int = 25) -> str:
        """What operator and members tell, for the message of a test that failed."""
        status = self.status()
        told = [f"status: {status}"]
        for operator in self._operators.started:
            told += [f"operator, ended {operator.process.poll()}:", *operator.text.splitlines()[-8:]]
        events = self.client.resource(EVENTS, NAMESPACE).list()
        told += [f"event {e['reason']}: {e['message']}" for e in events][-lines:]
        for pod in self.pods():
            states = [
                f"{c['name']}: ready={c.get('ready')} restarts={c.get('restartCount')} {list(c.get('state') or {})}"
                for key in ("initContainerStatuses", "containerStatuses")
                for c in (pod.get("status") or {}).get(key) or ()
            ]
            told.append(f"{pod.name}: deleted={pod.deletion_timestamp} {'; '.join(states)}")
            told.append(f"  {pod.annotations.get(HEARTBEAT)}")
        return "\n".join(told)

    # -- what fails

    def state(self, ordinal: int) -> str:
        """Of its agent, by its last heartbeat; "": there is none."""
        with contextlib.suppress(NotFound):
            written = self.pod(ordinal).annotations.get(HEARTBEAT)
            if written:
                return str(json.loads(written)["state"])
        return ""

    def agent_state(self, ordinal: int) -> str:
        """Of its agent, by its own word just now; "": it does not answer."""
        host = self.address(ordinal).rpartition(":")[0]
        try:
            with contextlib.closing(HTTPConnection(host, AGENT_PORT, timeout=1.0)) as connection:
                connection.request("GET", "/status")
                return str(json.load(connection.getresponse())["state"])
        except (OSError, HTTPException, ValueError):
            return ""

    def pid(self, ordinal: int, container: str) -> int | None:
        return self.node.pids(NAMESPACE, pod_name(ordinal)).get(container)

    def kill(self, ordinal: int, *containers: str) -> None:
        """kill -9, without a word to anybody."""
        for container in containers:
            pid = self.pid(ordinal, container)
            assert pid is not None, f"{container} of {pod_name(ordinal)} does not run"
            self.killed_a_server |= container == SERVER
            os.kill(pid, signal.SIGKILL)

    @contextlib.contextmanager
    def frozen(self, ordinal: int, container: str) -> Iterator[None]:
        """It keeps its sockets and answers nothing."""
        pid = self.pid(ordinal, container)
        assert pid is not None, f"{container} of {pod_name(ordinal)} does not run"
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def wipe(self, ordinal: int, then: Path | None = None) -> None:
        """A disk is lost: everything of the member stops, its volume is empty, and the Pod comes back on it.

        :param then: data of a server, which is moved there.
        """
        uid = self.pod(ordinal).uid
        self.client.resource(CLAIMS, NAMESPACE).get(claim_name(ordinal))
        self.kill(ordinal, *self.node.pids(NAMESPACE, pod_name(ordinal)))
        eventually(lambda: self._emptied(ordinal) and self._placed(ordinal, then), "an empty disk")
        self.client.resource(PODS, NAMESPACE).delete(pod_name(ordinal), grace_period_seconds=0)

        self.wait_replaced(ordinal, uid)

    def _emptied(self, ordinal: int) -> bool:
        """Unless what was killed has begun to write there again."""
        for child in self.volume(ordinal).iterdir():
            with contextlib.suppress(OSError):
                shutil.rmtree(child) if child.is_dir() else child.unlink()
        return not any(self.volume(ordinal).iterdir())

    def _placed(self, ordinal: int, data: Path | None) -> bool:
        with contextlib.suppress(OSError):
            if data is not None:
                data.rename(self.volume(ordinal) / "data")
            return True
        return False

    def volume(self, ordinal: int) -> Path:
        return self.node.root / "pvc" / NAMESPACE / claim_name(ordinal)

    def others(self, ordinal: int) -> list[str]:
        """The other members, as ends of links."""
        return [f"{NAMESPACE}/{pod_name(other)}" for other in self.ordinals() if other != ordinal]

    def end(self, ordinal: int) -> str:
        """The member, as an end of links."""
        return f"{NAMESPACE}/{pod_name(ordinal)}"

    # -- clients

    def recorder(self) -> Recorder:
        """Of a client that goes through the Service first, and to the members if that fails."""
        return Recorder(lambda: [self.service(), *self.addresses()])


@contextlib.contextmanager
def scene(folder: Path, *, kruise: bool = False, links: bool = False) -> Iterator[Scene]:
    manifests = [Path(crds.__file__).parent, *([ADVANCED_STATEFULSET_CRD] if kruise else [])]
    restarts = RestartPolicy(base=0.2, limit=2.0)  # who waits five minutes for a container that was killed six times?
    with LocalCluster(folder, manifests=manifests, restarts=restarts, links=links) as cluster:
        here = Scene(folder, cluster)
        try:
            yield here
        finally:
            here.close()


def pod_name(ordinal: int) -> str:
    return f"{NAME}-sts-{ordinal}"


def claim_name(ordinal: int) -> str:
    return f"data-{pod_name(ordinal)}"


def _shown(ordinal: int | None) -> str:
    """0 is a leader, too."""
    return "" if ordinal is None else str(ordinal)


def _is_ready(pod: Unstructured) -> bool:
    conditions: list[JSONObject] = (pod.get("status") or {}).get("conditions") or []
    return pod.deletion_timestamp is None and any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
