"""The tour of ``--demo``: a cluster comes up, keeps a key through a ``kill -9``, grows, shrinks, and goes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from crds.xlinecluster import XLINECLUSTERS
from runtime.client import ClientError, NotFound, Unstructured
from runtime.testing.nodes import MissingBinary, find_etcd, find_etcdctl
from runtime.types import GVR

from .options import Options
from .standalone import SAMPLE, Standalone, StandaloneError, folder, interrupted, log_to, standalone
from .view import status_of

PODS = GVR("", "v1", "pods")
# Everything that the operator makes for a cluster, and what is made of it in turn.
CHILDREN = (
    GVR("apps", "v1", "statefulsets"),
    GVR("apps", "v1", "controllerrevisions"),
    GVR("policy", "v1", "poddisruptionbudgets"),
    GVR("", "v1", "persistentvolumeclaims"),
    PODS,
)
# Kinds of which the namespace has others as well: those are the cluster's that are called after it.
NAMED = (
    GVR("", "v1", "services"),
    GVR("", "v1", "serviceaccounts"),
    GVR("rbac.authorization.k8s.io", "v1", "roles"),
    GVR("rbac.authorization.k8s.io", "v1", "rolebindings"),
    GVR("coordination.k8s.io", "v1", "leases"),
)
CONTAINER = "xline"
_CLIENT_PORT = 2379
KEY, VALUE = "greeting", "hello from a real etcd client"
_POLL = 0.1  # seconds between looks
_ETCDCTL = 10.0  # seconds that one etcdctl command may take
T = TypeVar("T")


class DemoError(Exception):
    """Which expectation of the tour did not come true."""


def run_demo(options: Options) -> int:
    """``--demo``. Returns 0 if every step went well; else 1, having said why."""
    started = time.monotonic()
    try:
        find_etcd()
        etcdctl = find_etcdctl()
        with folder(options) as root, log_to(root / "operator.log", options), interrupted() as stop:
            try:
                with standalone(options, root, _say, stop) as local:
                    _guided(Tour(local, etcdctl, stop, options.sample or SAMPLE), stop)
                _say("stopped; no process is left")
            except (DemoError, ClientError):
                _say_log(root / "operator.log")
                kept = f"in {root}" if options.standalone_dir else "with --standalone-dir FOLDER, which keeps them"
                print(f"all logs, of the operator and of Pods: {kept}", file=sys.stderr, flush=True)
                raise
    except (DemoError, StandaloneError, MissingBinary, ClientError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    _say(f"demo passed in {time.monotonic() - started:.1f} s")
    return 0


def _guided(tour: Tour, stop: threading.Event) -> None:
    """The tour; if it fails, say why before all is taken down."""
    try:
        tour.run()
    except (DemoError, ClientError):
        if not stop.is_set():
            print(*tour.why(), sep="\n", file=sys.stderr, flush=True)
        raise


class Tour:
    """The steps, in their order. Each one prints what it did and how long it took, or raises."""

    def __init__(self, local: Standalone, etcdctl: Path, stop: threading.Event, sample: Path) -> None:
        self._local = local
        self._client = local.client
        self._etcdctl = etcdctl
        self._stop = stop
        self._sample = sample
        self._namespace = self._name = ""

    def why(self) -> list[str]:
        """What is the matter with the cluster, as far as can be seen; nothing before it was created."""
        return self._local.diagnosis.lines(self._namespace, self._name) if self._name else []

    def run(self) -> None:
        with step("create the XlineCluster"):
            (created,) = self._local.create(self._sample)
        self._namespace = created["metadata"]["namespace"]
        self._name = created["metadata"]["name"]
        self._size = int(created["spec"]["replicas"])
        with step(f"wait until all {self._size} members are ready"):
            cluster = self._wait_ready()
        leader = status_of(cluster)["leader"]
        _say(f"             leader is {leader}: {status_of(cluster)['message']}")
        with step("write a key through the client Service, read it back"):
            self._put()
            self._expect(self._get(self._service_endpoint()))
        victim = self._pod(leader)
        restarts = _restarts(victim)
        others = sorted(m["name"] for m in status_of(cluster)["members"] if m["name"] != leader)
        term = self._term(others)
        with step(f"kill -9 the leader, {leader}"):
            os.kill(self._local.cluster.node.pids(self._namespace, leader)[CONTAINER], signal.SIGKILL)
        with step(f"{' and '.join(others)} elect a leader anew and still serve the key"):
            # Perhaps the same one: it may be back before the others have missed it.
            self._until(lambda: self._term(others) > term, "no leader was elected")
            self._until(self._reads_key, "the key could not be read after the election")
        with step(f"{leader} is started again and the cluster is whole"):
            self._until(lambda: _restarts(self._pod(leader)) > restarts, f"{leader} was not started again")
            self._wait_ready()
        with step(f"{leader} has its data: read the key from it alone"):
            endpoint = f"http://{self._pod(leader)['status']['podIP']}:{_CLIENT_PORT}"
            self._expect(self._get(endpoint, "--consistency=s"))
        self._grow_and_shrink()
        with step("delete the XlineCluster: nothing is left of it"):
            self._client.resource(XLINECLUSTERS, namespace=self._namespace).delete(self._name)
            self._until(lambda: not self._leftovers(), lambda: f"still there: {', '.join(self._leftovers())}")

    def _grow_and_shrink(self) -> None:
        """By two members and back: each new one learns first, then votes, and the leader is not the one that goes."""
        small, large = self._size, self._size + 2
        for size in range(small + 1, large + 1):
            with step(f"scale to {size}: another member joins as a learner, catches up, and votes"):
                self._scale(size)
        before = status_of(self._wait_ready())["leader"]
        with step(f"scale back to {small}: one by one members leave, {before} goes on leading"):
            self._scale(small)
            self._expect(self._get(self._service_endpoint()))
        after = status_of(self._wait_ready())["leader"]
        if after != before:
            _say(f"             {after} leads now: {before} was among those with the highest numbers, or too slow")

    def _scale(self, size: int) -> None:
        self._client.resource(XLINECLUSTERS, namespace=self._namespace).update_scale(self._name, size)
        self._size = size
        self._until(lambda: status_of(self._wait_ready()).get("voters") == size, f"{size} members do not vote")

    # -- looking

    def _wait_ready(self) -> Unstructured:
        def ready() -> Unstructured | None:
            cluster = self._client.resource(XLINECLUSTERS, namespace=self._namespace).get(self._name)
            status = status_of(cluster)
            conditions = {c["type"]: c["status"] for c in status.get("conditions") or []}
            seen = status.get("observedGeneration") == cluster.generation
            whole = seen and conditions.get("Available") == "True" and conditions.get("Progressing") == "False"
            return cluster if whole and status.get("readyReplicas") == self._size and status.get("leader") else None

        return self._until(ready, self._why_not_ready)

    def _why_not_ready(self) -> str:
        cluster = self._client.resource(XLINECLUSTERS, namespace=self._namespace).get(self._name)
        return f"XlineCluster {self._name} is not ready: {status_of(cluster).get('message') or 'it has no status'}"

    def _pod(self, name: str) -> Unstructured:
        return self._client.resource(PODS, namespace=self._namespace).get(name)

    def _leftovers(self) -> list[str]:
        found = [str(self._name)] if self._exists() else []
        for gvr in CHILDREN:
            found += [f"{o.kind} {o.name}" for o in self._client.resource(gvr, namespace=self._namespace).list().items]
        for gvr in NAMED:
            named = self._client.resource(gvr, namespace=self._namespace).list().items
            found += [f"{o.kind} {o.name}" for o in named if o.name.startswith(f"{self._name}-")]
        return found + [f"process {pid}" for pid in self._local.cluster.node.processes()]

    def _exists(self) -> bool:
        try:
            self._client.resource(XLINECLUSTERS, namespace=self._namespace).get(self._name)
        except NotFound:
            return False
        return True

    def _until(self, look: Callable[[], T | None], problem: str | Callable[[], str], timeout: float = 60.0) -> T:
        """Look again and again until the answer is truthy, and return it."""
        deadline = time.monotonic() + timeout
        while not (answer := look()):
            if self._stop.wait(_POLL):
                self._local.check()
                raise DemoError("interrupted")
            if time.monotonic() > deadline:
                raise DemoError(f"{problem if isinstance(problem, str) else problem()} (after {timeout:.0f} s)")
        return answer

    # -- the etcd client

    def _service_endpoint(self) -> str:
        address = self._local.cluster.node.service_address(self._namespace, f"{self._name}-client")
        return f"http://{address}:{_CLIENT_PORT}"

    def _put(self) -> None:
        self._run_etcdctl(self._service_endpoint(), "put", KEY, VALUE)

    def _get(self, endpoint: str, *flags: str) -> str:
        return self._run_etcdctl(endpoint, "get", KEY, "--print-value-only", *flags).strip()

    def _expect(self, value: str) -> None:
        if value != VALUE:
            raise DemoError(f"key {KEY!r} should hold {VALUE!r} but holds {value!r}")

    def _term(self, members: list[str]) -> int:
        """The raft term in which all of these follow the same leader; 0 if they do not, or one does not answer."""
        endpoints = ",".join(f"http://{self._pod(name)['status']['podIP']}:{_CLIENT_PORT}" for name in members)
        try:
            answers = json.loads(self._run_etcdctl(endpoints, "endpoint", "status", "--write-out=json"))
        except DemoError:
            return 0  # one of them does not answer while it waits for the election
        seen = {(answer["Status"].get("leader", 0), answer["Status"]["raftTerm"]) for answer in answers}
        leader, term = seen.pop()
        return int(term) if leader and not seen else 0

    def _reads_key(self) -> bool:
        try:
            return self._get(self._service_endpoint()) == VALUE
        except DemoError:
            return False  # the Service still sends us to the member that died, or nobody leads yet

    def _run_etcdctl(self, endpoint: str, *arguments: str) -> str:
        command = [
            str(self._etcdctl),
            f"--endpoints={endpoint}",
            "--dial-timeout=2s",
            "--command-timeout=5s",
            *arguments,
        ]
        environment = {**os.environ, "ETCDCTL_API": "3"}
        try:
            done = subprocess.run(
                command, env=environment, capture_output=True, text=True, timeout=_ETCDCTL, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise DemoError(f"{' '.join(command)} did not end in {_ETCDCTL:.0f} s") from error
        if done.returncode != 0:
            raise DemoError(f"{' '.join(command)} failed: {done.stderr.strip()}")
        return done.stdout


@contextmanager
def step(text: str) -> Iterator[None]:
    """Print the step when it begins, and how long it took when it has ended well."""
    started = time.monotonic()
    print(f"{text} ...", end=" ", flush=True)
    try:
        yield
    except BaseException:
        print("failed", flush=True)
        raise
    print(f"done ({time.monotonic() - started:.1f} s)", flush=True)


def _restarts(pod: Unstructured) -> int:
    return sum(int(c.get("restartCount", 0)) for c in status_of(pod).get("containerStatuses") or [])


def _say(text: str) -> None:
    print(text, flush=True)


def _say_log(path: Path, lines: int = 20) -> None:
    """The end of the operator's log: it goes with the temporary folder, and says what the operator saw."""
    tail = path.read_text(errors="replace").splitlines()[-lines:]
    if tail:
        print(f"the operator's last {len(tail)} log lines:", *tail, sep="\n  ", file=sys.stderr, flush=True)
