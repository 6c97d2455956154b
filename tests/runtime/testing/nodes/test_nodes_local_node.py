"""A whole node against a real API server in this process: Pods, Services, claims, etcd."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runtime import GVR
from runtime.client import NotFound, Unstructured
from runtime.testing import FakeAPIServer
from runtime.testing.nodes import LocalNode, RestartPolicy, find_etcd, find_etcdctl
from runtime.testing.nodes import kubelet as kubelet_module
from tests.runtime.testing.nodes.nodes_support import alive, make_pod, parent_of, python, sh, wait_for

PODS = GVR("", "v1", "pods")
SERVICES = GVR("", "v1", "services")
CLAIMS = GVR("", "v1", "persistentvolumeclaims")
NODES = GVR("", "v1", "nodes")
EVENTS = GVR("", "v1", "events")
CONFIGMAPS = GVR("", "v1", "configmaps")
FOREVER = "trap 'exit 0' TERM; while :; do sleep 0.05; done"


class Cluster:
    """The server, and a node that can be stopped and started again."""

    def __init__(self, server: FakeAPIServer, root: Path) -> None:
        self.server, self.root = server, root
        self.client = server.client()
        self.node: LocalNode | None = None

    def start(self) -> LocalNode:
        self.node = LocalNode(self.server.client(), self.root, restarts=RestartPolicy(0.05))
        self.server.set_log_provider(self.node.log_provider)
        self.node.start()
        return self.node

    def stop(self) -> None:
        if self.node is not None:
            self.node.stop(2.0)
            self.node = None

    def get(self, gvr: GVR, name: str) -> Unstructured | None:
        try:
            return self.client.resource(gvr, "default").get(name)
        except NotFound:
            return None

    def get_node(self) -> Unstructured | None:
        """The Node, once it is Ready."""
        try:
            node = self.client.resource(NODES).get("local")
        except NotFound:
            return None
        conditions = (node.get("status") or {}).get("conditions") or ()
        return node if any(c["type"] == "Ready" and c["status"] == "True" for c in conditions) else None

    def create(self, gvr: GVR, obj: dict[str, Any]) -> Unstructured:
        return self.client.resource(gvr, "default").create(obj)

    def create_pod(self, pod: dict[str, Any]) -> Unstructured:
        """As a user would: without uid and node."""
        del pod["metadata"]["uid"], pod["spec"]["nodeName"]
        return self.create(PODS, pod)

    def status(self, pod: str) -> dict[str, Any]:
        found = self.get(PODS, pod)
        return (found.get("status") if found else None) or {}

    def is_ready(self, name: str) -> bool:
        conditions = self.status(name).get("conditions", ())
        return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)

    def wait_ready(self, name: str) -> dict[str, Any]:
        wait_for(lambda: self.is_ready(name), 20, f"Pod {name} Ready")
        pod = self.get(PODS, name)
        assert pod is not None
        return pod.to_dict()

    def log(self, pod: str, query: str = "") -> str:
        url = f"{self.server.url}/api/v1/namespaces/default/pods/{pod}/log?{query}"
        with urllib.request.urlopen(url, timeout=5) as answer:
            text: str = answer.read().decode()
            return text


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with FakeAPIServer() as server:
        cluster = Cluster(server, tmp_path / "node")
        cluster.start()
        try:
            yield cluster
        finally:
            cluster.stop()


def test_a_pod_is_bound_run_and_removed(cluster: Cluster) -> None:
    cluster.create_pod(make_pod(sh("echo hello; " + FOREVER)))
    pod = cluster.wait_ready("p")
    assert pod["spec"]["nodeName"] == "local"
    assert pod["status"]["phase"] == "Running"
    wait_for(lambda: cluster.log("p") == "hello\n")
    cluster.client.resource(PODS, "default").delete("p")
    wait_for(lambda: cluster.get(PODS, "p") is None)
    wait_for(lambda: list((cluster.root / "pods").iterdir()) == [])
    events = cluster.client.resource(EVENTS, "default")
    wait_for(lambda: {"Scheduled", "Created", "Started", "Killing"} <= {e["reason"] for e in events.list()})


def test_the_node_is_registered(cluster: Cluster) -> None:
    node = cluster.client.resource(NODES).get("local").to_dict()
    assert [(c["type"], c["status"]) for c in node["status"]["conditions"]] == [("Ready", "True")]
    assert node["status"]["addresses"][0]["address"].startswith("127.")
    assert int(node["status"]["capacity"]["cpu"]) == os.cpu_count()
    cluster.stop()
    node = cluster.client.resource(NODES).get("local").to_dict()
    assert node["status"]["conditions"][0]["status"] == "False"


def test_logs_through_the_api(cluster: Cluster) -> None:
    cluster.create_pod(make_pod(sh("for i in 1 2 3; do echo line $i; done; exit 1"), restartPolicy="Never"))
    wait_for(lambda: cluster.status("p").get("phase") == "Failed")
    assert cluster.log("p", "tailLines=2") == "line 2\nline 3\n"
    assert cluster.log("p", "timestamps=true&tailLines=1").split("Z ")[1].endswith("line 3\n")
    assert cluster.log("p", "follow=true") == "line 1\nline 2\nline 3\n"
    with pytest.raises(urllib.error.HTTPError) as error:
        cluster.log("p", "container=nope")
    assert b"nope" in error.value.read()


def test_a_service_leads_to_the_pods_that_are_ready(cluster: Cluster) -> None:
    assert cluster.node is not None
    own = [{"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]
    serve = """
import http.server, os, sys
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(os.environ["NAME"].encode())
    def log_message(self, *a): pass
http.server.HTTPServer((sys.argv[1], int(sys.argv[2])), H).serve_forever()
"""
    port = free_port()
    spec = {"selector": {"app": "x"}, "ports": [{"name": "http", "port": port, "targetPort": "web"}]}
    cluster.create(SERVICES, {"metadata": {"name": "web"}, "spec": spec})
    address = cluster.node.service_address("default", "web")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((address, port), 1).close()
    for name in ("a", "b"):
        container = python(serve, env=own, args=["0.0.0.0", str(port)], ports=[{"name": "web", "containerPort": port}])
        container["readinessProbe"] = {"httpGet": {"port": "web"}}
        cluster.create_pod(make_pod(container, name=name))
    # A third Pod finds them by the Service's DNS name.
    ask = "import urllib.request, sys; print(urllib.request.urlopen(sys.argv[1], timeout=5).read().decode())"
    for name in ("a", "b"):
        cluster.wait_ready(name)

    def answers() -> set[str]:
        try:
            return {urllib.request.urlopen(f"http://{address}:{port}").read().decode() for _ in range(4)}
        except OSError:
            return set()

    wait_for(lambda: answers() == {"a", "b"})
    asking = python(ask, args=[f"http://web.default.svc.cluster.local:{port}"])
    asking["command"].remove("-S")
    cluster.create_pod(make_pod(asking, name="client", restartPolicy="Never"))
    wait_for(lambda: cluster.status("client").get("phase") == "Succeeded")
    assert cluster.log("client").strip() in ("a", "b")
    service = cluster.get(SERVICES, "web")
    assert service is not None
    assert service.annotations["local.nodes/address"] == address
    cluster.client.resource(PODS, "default").delete("a")
    wait_for(lambda: answers() == {"b"})


def free_port() -> int:
    with socket.create_server(("0.0.0.0", 0)) as taken:
        return int(taken.getsockname()[1])


def claim(name: str) -> dict[str, Any]:
    resources = {"requests": {"storage": "1Gi"}}
    return {"metadata": {"name": name}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": resources}}


def test_claims_are_bound_kept_and_removed(cluster: Cluster) -> None:
    mount = [{"name": "data", "mountPath": "/var/data"}]
    volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]
    pod = make_pod(sh("echo x >> /var/data/runs; " + FOREVER, volumeMounts=mount), volumes=volumes)
    cluster.create_pod(pod)  # before its claim
    cluster.create(CLAIMS, claim("data"))
    cluster.wait_ready("p")
    bound = wait_for(lambda: (c := cluster.get(CLAIMS, "data")) and c.get("status", {}).get("phase") == "Bound" and c)
    assert bound["status"]["capacity"] == {"storage": "1Gi"}
    folder = cluster.root / "pvc" / "default" / "data"
    assert (folder / "runs").read_text() == "x\n"
    cluster.client.resource(PODS, "default").delete("p")
    wait_for(lambda: cluster.get(PODS, "p") is None)
    assert (folder / "runs").exists()
    claims = cluster.client.resource(CLAIMS, "default")
    claims.delete("data")
    assert folder.exists()
    claims.patch("data", {"metadata": {"finalizers": None}})  # as the controller that protects claims in use
    wait_for(lambda: not folder.exists())


def test_a_pod_is_not_bound_while_its_claim_is_on_its_way_out(cluster: Cluster) -> None:
    """Once bound it would keep the claim, and would not start with it either."""
    cluster.create(CLAIMS, {**claim("data"), "metadata": {"name": "data", "finalizers": ["example.com/held"]}})
    claims = cluster.client.resource(CLAIMS, "default")
    claims.delete("data")
    volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]
    cluster.create_pod(make_pod(sh(FOREVER), volumes=volumes))

    def why() -> list[str]:
        conditions = cluster.status("p").get("conditions") or ()
        return [c.get("message", "") for c in conditions if c["type"] == "PodScheduled" and c["status"] == "False"]

    wait_for(lambda: why() == ['persistentvolumeclaim "data" is being deleted'])
    claims.patch("data", {"metadata": {"finalizers": None}}, type="merge")
    wait_for(lambda: why() == ['persistentvolumeclaim "data" not found'])
    cluster.create(CLAIMS, claim("data"))
    cluster.wait_ready("p")


def test_a_pod_that_is_replaced_waits_for_its_predecessor(cluster: Cluster) -> None:
    slow = "trap 'sleep 0.5; echo gone; exit 0' TERM; echo up; while :; do sleep 0.02; done"
    first = cluster.create_pod(make_pod(sh(slow)))
    cluster.wait_ready("p")
    pods = cluster.client.resource(PODS, "default")
    pods.delete("p", grace_period_seconds=0)  # the object goes at once, its process does not
    cluster.create_pod(make_pod(sh("echo second; " + FOREVER)))
    pod = cluster.wait_ready("p")
    assert pod["metadata"]["uid"] != first.uid
    wait_for(lambda: cluster.log("p") == "second\n")


def test_a_node_stops_without_its_supervisors_help(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kubelet_module, "_STOP_MARGIN", 0.1)
    cluster.create_pod(make_pod(sh(FOREVER)))
    cluster.wait_ready("p")
    assert cluster.node is not None
    (pid,) = cluster.node.processes()
    os.kill(parent_of(pid), signal.SIGSTOP)
    cluster.node.stop(0.1)
    assert not alive(pid)


def test_a_pod_whose_worker_has_a_bug_gets_another(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kubelet_module, "_AFTER_FAILURE", 0.1)
    cluster.create_pod(make_pod(sh(FOREVER)))
    cluster.wait_ready("p")
    assert cluster.node is not None

    def bug() -> None:
        raise RuntimeError("a bug")

    cluster.node._workers["default/p"]._post(bug)
    wait_for(lambda: restarts(cluster, "p") == 1)
    cluster.wait_ready("p")
    cluster.client.resource(PODS, "default").delete("p")
    wait_for(lambda: cluster.get(PODS, "p") is None)


def test_pods_go_on_when_the_node_is_started_again(cluster: Cluster) -> None:
    mount = [{"name": "data", "mountPath": "/data"}]
    pod = make_pod(
        sh("echo run >> /data/runs; cat /data/runs; " + FOREVER, volumeMounts=mount),
        volumes=[{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
    )
    cluster.create(CLAIMS, claim("data"))
    cluster.create_pod(pod)
    before = cluster.wait_ready("p")
    wait_for(lambda: cluster.log("p") == "run\n")
    cluster.stop()
    assert cluster.is_ready("p")  # nobody has said otherwise
    cluster.start()
    after = wait_for(lambda: (p := cluster.wait_ready("p"))["status"]["containerStatuses"][0]["restartCount"] and p)
    assert after["status"]["podIP"] == before["status"]["podIP"]
    wait_for(lambda: cluster.log("p") == "run\nrun\n")


def test_when_the_api_server_comes_back_empty_what_runs_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kubelet_module, "_HEARTBEAT", 0.1)
    with FakeAPIServer() as server:
        port = server.port
        cluster = Cluster(server, tmp_path / "node")
        node = cluster.start()
        cluster.create_pod(make_pod(sh(FOREVER)))
        cluster.create_pod(make_pod(sh(FOREVER), name="q"))
        cluster.wait_ready("p")
        cluster.wait_ready("q")
        before = node.processes()
    with FakeAPIServer(port=port) as server:
        cluster.server, cluster.client = server, server.client()
        try:
            cluster.create_pod(make_pod(sh(FOREVER), name="q"))
            wait_for(lambda: not any(alive(pid) for pid in before), 30)
            wait_for(lambda: cluster.get_node() is not None, 30, "the Node registered again")
            assert list(node.pids("default", "p")) == []
        finally:
            cluster.stop()


def test_a_deleted_node_object_is_registered_again(cluster: Cluster) -> None:
    nodes = cluster.client.resource(NODES)
    first = nodes.get("local").uid
    nodes.delete("local")
    wait_for(lambda: (node := cluster.get_node()) and node.uid != first)


def test_conditions_of_others_survive_and_gate_readiness(cluster: Cluster) -> None:
    cluster.create_pod(make_pod(sh(FOREVER), readinessGates=[{"conditionType": "example.com/ok"}]))

    def containers_ready() -> bool:
        conditions = cluster.status("p").get("conditions", ())
        return any(c["type"] == "ContainersReady" and c["status"] == "True" for c in conditions)

    wait_for(containers_ready)
    assert not cluster.is_ready("p")
    patch = {"status": {"conditions": [{"type": "example.com/ok", "status": "True"}]}}
    cluster.client.resource(PODS, "default").patch("p", patch, type="strategic", subresource="status")
    pod = cluster.wait_ready("p")
    assert {"example.com/ok", "Ready", "Initialized"} <= {c["type"] for c in pod["status"]["conditions"]}


def test_a_converged_pod_is_not_written(cluster: Cluster) -> None:
    cluster.create_pod(make_pod(sh(FOREVER)))
    version = cluster.wait_ready("p")["metadata"]["resourceVersion"]
    # Something else of the namespace changes, and the Pod's worker looks again.
    cluster.create(CONFIGMAPS, {"metadata": {"name": "other"}, "data": {"a": "b"}})
    cluster.create_pod(make_pod(sh(FOREVER), name="q"))
    cluster.wait_ready("q")
    assert cluster.wait_ready("p")["metadata"]["resourceVersion"] == version


@pytest.mark.etcd
def test_an_etcd_member_survives_kill_9_with_its_data(cluster: Cluster) -> None:
    assert find_etcd().exists()
    peer, client = free_port(), free_port()
    url = f"http://$(NAME).db.default.svc.cluster.local:{client}"
    args = [
        "--name=$(NAME)", "--data-dir=/var/run/etcd/default.etcd", f"--listen-client-urls=http://0.0.0.0:{client}",
        f"--advertise-client-urls={url}", f"--listen-peer-urls=http://0.0.0.0:{peer}",
        f"--initial-advertise-peer-urls=http://$(NAME).db.default.svc.cluster.local:{peer}",
        f"--initial-cluster=$(NAME)=http://$(NAME).db.default.svc.cluster.local:{peer}", "--initial-cluster-state=new",
    ]  # fmt: skip
    container = {
        "name": "etcd",
        "image": "quay.io/coreos/etcd:v3.5.1",
        "args": args,
        "env": [{"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
        "ports": [{"name": "client", "containerPort": client}],
        "readinessProbe": {"httpGet": {"path": "/health", "port": "client"}},
        "volumeMounts": [{"name": "data", "mountPath": "/var/run/etcd"}],
    }
    volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": "data-db-0"}}]
    spec = {"clusterIP": "None", "selector": {"app": "x"}, "ports": [{"name": "client", "port": client}]}
    cluster.create(SERVICES, {"metadata": {"name": "db"}, "spec": spec})
    cluster.create(CLAIMS, claim("data-db-0"))
    pod = make_pod(container, name="db-0", volumes=volumes, hostname="db-0", subdomain="db")
    cluster.create_pod(pod)
    cluster.wait_ready("db-0")
    assert cluster.node is not None
    endpoint = f"http://{cluster.node.service_address('default', 'db')}:{client}"
    wait_for(lambda: etcdctl(endpoint, "put", "key", "value") == "OK\n")
    os.kill(etcd_pid(cluster.root), signal.SIGKILL)
    wait_for(lambda: restarts(cluster, "db-0") == 1)
    cluster.wait_ready("db-0")
    wait_for(lambda: etcdctl(endpoint, "get", "key", "--print-value-only") == "value\n")


def restarts(cluster: Cluster, pod: str) -> int:
    found = cluster.get(PODS, pod)
    count: int = found["status"]["containerStatuses"][0]["restartCount"] if found else -1
    return count


def etcdctl(endpoint: str, *words: str) -> str:
    environment = {**os.environ, "ETCDCTL_API": "3"}
    command = [str(find_etcdctl()), "--endpoints", endpoint, *words]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=10).stdout


def etcd_pid(root: Path) -> int:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                mine = f"LOCAL_NODE_RUN={root}#".encode() in (entry / "environ").read_bytes()
                if mine and (entry / "comm").read_text() == "etcd\n":
                    return int(entry.name)
            except OSError:
                continue
    raise AssertionError("no etcd process")


def test_two_nodes_with_roots_of_their_own_run_side_by_side(tmp_path: Path) -> None:
    with FakeAPIServer() as one, FakeAPIServer() as two:
        clusters = [Cluster(one, tmp_path / "one"), Cluster(two, tmp_path / "two")]
        try:
            addresses = set()
            for cluster in clusters:
                cluster.start()
                cluster.create_pod(make_pod(sh(FOREVER), hostname="p", subdomain="s"))
                addresses.add(cluster.wait_ready("p")["status"]["podIP"])
            assert len(addresses) == 2
        finally:
            for cluster in clusters:
                cluster.stop()


@pytest.mark.parametrize(
    "fault",
    [{"status": 409}, {"status": 500}, {"status": 429}, {"drop": "before"}, {"drop": "after"}],
    ids=lambda fault: "-".join(map(str, fault.values())),
)
def test_failing_writes_are_made_good(cluster: Cluster, fault: dict[str, Any]) -> None:
    """Bindings, statuses, claims, annotations and final deletions: each fails twice, and all comes true once."""
    cluster.server.faults.add(verb="create", subresource="binding", **fault, times=2)
    cluster.server.faults.add(verb="update", subresource="status", **fault, times=2)
    for resource in ("services", "persistentvolumeclaims"):
        cluster.server.faults.add(verb="patch", resource=resource, **fault, times=2)
    cluster.create(SERVICES, {"metadata": {"name": "s"}, "spec": {"selector": {"app": "x"}, "ports": [{"port": 80}]}})
    cluster.create(CLAIMS, claim("data"))
    cluster.create_pod(make_pod(sh("echo run; " + FOREVER)))
    cluster.wait_ready("p")
    wait_for(lambda: (s := cluster.get(SERVICES, "s")) and s.annotations.get("local.nodes/address"))
    wait_for(lambda: (c := cluster.get(CLAIMS, "data")) and (c.get("status") or {}).get("phase") == "Bound")
    cluster.client.resource(PODS, "default").delete("p")
    cluster.server.faults.add(verb="delete", resource="pods", **fault, times=2)
    wait_for(lambda: cluster.get(PODS, "p") is None)
