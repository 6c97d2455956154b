"""An API server, the real operator on it, and somebody who plays kubelet and StatefulSet controller through the API."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import crds
from controllers.xline import names as known
from controllers.xline import register
from controllers.xline.members import Endpoint, EngineView, Observe, observe
from crds.xlinecluster import XLINECLUSTERS
from runtime.client import Client, NotFound, Unstructured
from runtime.manager import Manager
from runtime.metrics.registry import Registry
from runtime.testing import FakeAPIServer
from runtime.testing.apiserver.audit import AuditEntry
from runtime.types import GVR, JSONObject
from tests.support.etcd_process import wait_for

DEFINITIONS = GVR("apiextensions.k8s.io", "v1", "customresourcedefinitions")
EVENTS = GVR("", "v1", "events")
NAMESPACE = "default"
AGENT = "operator-under-test"
CRDS = Path(crds.__file__).parent

CHILDREN: dict[GVR, tuple[str, ...]] = {
    known.SERVICES: ("demo-svc", "demo-client"),
    known.BUDGETS: ("demo-pdb",),
    known.SERVICE_ACCOUNTS: ("demo-agent",),
    known.ROLES: ("demo-agent",),
    known.ROLE_BINDINGS: ("demo-agent",),
    known.STATEFULSETS: ("demo-sts",),
}
COUNT = sum(len(names) for names in CHILDREN.values())


class Operator:
    """The operator, running in threads of this process."""

    def __init__(self, server: FakeAPIServer, user_agent: str = AGENT, ask: Observe = observe) -> None:
        self.asked = 0
        self._ask = ask
        self._client = Client(server.url, user_agent=user_agent)
        self._manager = Manager(
            self._client,
            metrics_bind_address="0",
            health_probe_bind_address="0",
            graceful_shutdown_timeout=10,
        )
        self._controller = register(self._manager, ask=self._count)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._manager.run, args=(self._stop,), name="operator")
        self._thread.start()

    def _count(self, endpoints: Sequence[Endpoint], size: int, timeout: float) -> EngineView:
        self.asked += 1
        return self._ask(endpoints, size, timeout)

    @property
    def registry(self) -> Registry:
        """Of the operator's metrics."""
        return self._manager.registry

    @property
    def looks(self) -> int:
        """How many reconciles have ended well."""
        outcomes = self._controller.stats.outcomes
        return sum(int(outcomes[name].value) for name in ("success", "requeue_after"))

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()
        self._client.close()


class World:
    """What a test does and sees."""

    def __init__(self, server: FakeAPIServer) -> None:
        self.server = server
        self.client = server.client()
        self._operators: list[Operator] = []

    # -- the operator

    @property
    def operators(self) -> list[Operator]:
        """Those that run."""
        return self._operators

    def start_operator(self, user_agent: str = AGENT, ask: Observe = observe) -> Operator:
        operator = Operator(self.server, user_agent, ask)
        self._operators.append(operator)
        return operator

    def stop_operators(self) -> None:
        while self._operators:
            self._operators.pop().stop()

    def writes(self) -> list[AuditEntry]:
        """Of the operator; events aside, which are sent behind its back."""
        return [
            entry for entry in self.server.requests.writes() if entry.user_agent == AGENT and entry.resource != "events"
        ]

    def settle(self, operator: Operator) -> None:
        """Until the operator has looked at it twice in a row without writing."""

        def quiet() -> bool:
            writes = len(self.writes())
            for _ in range(2):  # the first look may have begun before the touch
                looks = operator.looks
                self.touch()
                wait_for(lambda looks=looks: operator.looks > looks, what="a look")
            return len(self.writes()) == writes

        wait_for(quiet, what="two looks without a write")

    def bring_up(self, **spec: Any) -> Operator:
        """A cluster whose members are all ready, and an operator that has nothing left to do."""
        self.create(**spec)
        operator = self.start_operator()
        self.wait_children()
        self.run_pods()
        self.wait_condition("Progressing", "False", "Complete")
        self.settle(operator)
        return operator

    def touch(self) -> None:
        """A change which asks for nothing, so that the operator looks."""
        stamp = {"metadata": {"annotations": {"touched": str(len(self.server.requests))}}}
        self.client.resource(XLINECLUSTERS, namespace=NAMESPACE).patch("demo", stamp, type="merge")

    # -- the cluster

    def create(self, **spec: Any) -> Unstructured:
        return self.client.resource(XLINECLUSTERS, namespace=NAMESPACE).create(
            {
                "apiVersion": "xline.io.datenlord.com/v1alpha1",
                "kind": "XlineCluster",
                "metadata": {"name": "demo"},
                "spec": {"replicas": 3, "engine": "etcd", **spec},
            }
        )

    def edit(self, **spec: Any) -> None:
        self.client.resource(XLINECLUSTERS, namespace=NAMESPACE).patch("demo", {"spec": spec}, type="merge")

    def cluster(self) -> Unstructured:
        return self.client.resource(XLINECLUSTERS, namespace=NAMESPACE).get("demo")

    def status(self) -> JSONObject:
        return self.cluster().get("status") or {}

    def condition(self, kind: str) -> tuple[str, str]:
        for condition in self.status().get("conditions") or ():
            if condition["type"] == kind:
                return condition["status"], condition["reason"]
        return "", ""

    def wait_condition(self, kind: str, status: str, reason: str) -> None:
        wait_for(lambda: self.condition(kind) == (status, reason), what=f"{kind}={status} {reason}")

    def reasons(self) -> list[str]:
        """Of the events on the cluster."""
        found = self.client.resource(EVENTS, namespace=NAMESPACE).list()
        return [event["reason"] for event in found if event["involvedObject"]["name"] == "demo"]

    def wait_event(self, reason: str) -> str:
        """Returns its message."""
        wait_for(lambda: reason in self.reasons(), what=f"event {reason}")
        found = self.client.resource(EVENTS, namespace=NAMESPACE).list()
        return next(str(event["message"]) for event in found if event["reason"] == reason)

    def get(self, gvr: GVR, name: str) -> Unstructured | None:
        try:
            return self.client.resource(gvr, namespace=NAMESPACE).get(name)
        except NotFound:
            return None

    def children(self) -> dict[str, Unstructured]:
        found = {f"{gvr.resource}/{name}": self.get(gvr, name) for gvr, names in CHILDREN.items() for name in names}
        return {name: child for name, child in found.items() if child is not None}

    def agent_args(self) -> list[str]:
        """Of the members' Pods, as the StatefulSet has them."""
        (container,) = self.children()["statefulsets/demo-sts"]["spec"]["template"]["spec"]["initContainers"]
        return list(container["args"])

    def wait_children(self) -> None:
        wait_for(lambda: len(self.children()) == sum(map(len, CHILDREN.values())), what="all children")

    def install_cert_manager(self) -> None:
        """Its definition of Certificates, with nobody who issues any."""
        schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
        names = {"plural": "certificates", "singular": "certificate", "kind": "Certificate"}
        names["listKind"] = "CertificateList"
        spec = {"group": "cert-manager.io", "scope": "Namespaced", "names": names, "versions": [version]}
        self.client.resource(DEFINITIONS).create({"metadata": {"name": "certificates.cert-manager.io"}, "spec": spec})

    # -- what kubelets and the StatefulSet controller would do

    def run_pods(self, ready: Mapping[int, bool] | None = None, addresses: Sequence[str] = ()) -> None:
        """Bring Pods and the StatefulSet's status to this: ordinal -> ready (default: all that are wanted)."""
        stateful_set = self.get(known.STATEFULSETS, "demo-sts")
        assert stateful_set is not None
        spec = stateful_set["spec"]
        states = ready if ready is not None else dict.fromkeys(range(spec["replicas"]), True)
        for ordinal, is_ready in states.items():
            self._run_pod(stateful_set, ordinal, is_ready, addresses[ordinal] if addresses else "")
        reported = {
            "observedGeneration": stateful_set.generation,
            "replicas": spec["replicas"],
            "readyReplicas": sum(states.values()),
            "updatedReplicas": spec["replicas"],
        }
        self.client.resource(known.STATEFULSETS, namespace=NAMESPACE).patch(
            "demo-sts", {"status": reported}, type="merge", subresource="status"
        )

    def _run_pod(self, stateful_set: Unstructured, ordinal: int, ready: bool, address: str) -> None:
        pods = self.client.resource(known.PODS, namespace=NAMESPACE)
        name = f"demo-sts-{ordinal}"
        if self.get(known.CLAIMS, f"data-{name}") is None:
            (claim,) = stateful_set["spec"]["volumeClaimTemplates"]
            self.make_claim(ordinal, annotations=claim["metadata"].get("annotations"))
        template = stateful_set["spec"]["template"]
        if self.get(known.PODS, name) is None:
            volume = {"name": "data", "persistentVolumeClaim": {"claimName": f"data-{name}"}}
            spec = {**template["spec"], "volumes": [*template["spec"].get("volumes", ()), volume]}
            pods.create({"metadata": {**template["metadata"], "name": name}, "spec": spec})
        reported = {
            "phase": "Running",
            "podIP": address or None,
            "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
        }
        pods.patch(name, {"status": reported}, type="merge", subresource="status")

    def make_claim(
        self,
        ordinal: int,
        *,
        labels: Mapping[str, str] | None = None,
        annotations: Mapping[str, str] | None = None,
        owner: JSONObject | None = None,
    ) -> None:
        """As the StatefulSet controller makes it, unless ``labels`` say that somebody else did."""
        own = {"app.kubernetes.io/instance": "demo", "app.kubernetes.io/name": "xlinecluster"}
        metadata: JSONObject = {
            "name": f"data-demo-sts-{ordinal}",
            "labels": own if labels is None else labels,
            "annotations": annotations or {},
            "ownerReferences": [owner] if owner else [],
        }
        spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
        claims = self.client.resource(known.CLAIMS, namespace=NAMESPACE)
        claims.create({"metadata": metadata, "spec": spec})

    def remove_claim(self, ordinal: int) -> None:
        """Let go of what protects it, and delete it, unless the garbage collector has begun and that was its end."""
        claims = self.client.resource(known.CLAIMS, namespace=NAMESPACE)
        claims.patch(f"data-demo-sts-{ordinal}", {"metadata": {"finalizers": None}}, type="merge")
        with suppress(NotFound):
            claims.delete(f"data-demo-sts-{ordinal}")


@contextmanager
def world() -> Iterator[World]:
    """A server with our CRDs; operators that a test starts are stopped with it."""
    with FakeAPIServer() as server:
        server.apply_manifests(CRDS)
        here = World(server)
        try:
            yield here
        finally:
            here.stop_operators()
            here.client.close()
