"""With exactly the documented rights, on a server that checks them: the operator with those of the table in
docs/xlinecluster.md, the agents with those of the Role that the operator makes for them. Servers really run."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from controllers.xline import names as known
from controllers.xline import register
from runtime.client import Forbidden
from runtime.manager import Manager
from runtime.testing import FakeAPIServer
from runtime.testing.localcluster import LocalCluster
from runtime.types import GVR, JSONObject
from tests.controllers.xline.xline_local import SLOW, Local
from tests.controllers.xline.xline_world import CRDS, NAMESPACE
from tests.support.etcd_process import wait_for
from tests.support.managers import OFF

pytestmark = [pytest.mark.etcd, pytest.mark.slow]

DOCS = Path(__file__).resolve().parents[3] / "docs" / "xlinecluster.md"
CLUSTER_ROLES = GVR("rbac.authorization.k8s.io", "v1", "clusterroles")
CLUSTER_ROLE_BINDINGS = GVR("rbac.authorization.k8s.io", "v1", "clusterrolebindings")
OPERATOR = "operator"
AGENT = f"system:serviceaccount:{NAMESPACE}:demo-agent"


def documented_rules() -> list[JSONObject]:
    """The table of the operator's rights, as RBAC has it."""
    _, _, section = DOCS.read_text().partition("## What the operator may do")
    section = section.partition("\n## ")[0]
    rows = re.findall(r"^\| ([^|]+) \| ([a-z, ]+) \|[^|]*\|", section, re.MULTILINE)
    rules = []
    for resources, verbs in rows[1:]:  # below the heading
        for resource in resources.split(", "):
            name, slash, subresource = resource.partition("/")
            plural, _, group = name.partition(".")
            rules.append(
                {"apiGroups": [group], "resources": [plural + slash + subresource], "verbs": verbs.split(", ")}
            )
    assert len(rules) > 15
    return rules


@contextmanager
def operator(server: FakeAPIServer) -> Iterator[None]:
    client = server.client(OPERATOR)
    manager = Manager(client, **OFF, graceful_shutdown_timeout=10)
    register(manager)
    stop = threading.Event()
    thread = threading.Thread(target=manager.run, args=(stop,), name="operator")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        client.close()


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Local]:
    """A local node; containers are the agents' account to the server."""
    cluster = LocalCluster(tmp_path, manifests=[CRDS])
    cluster.server = FakeAPIServer(authorization_mode="RBAC", garbage_collection_delay=0.0)
    with cluster:
        server = cluster.server
        groups = ["system:serviceaccounts", f"system:serviceaccounts:{NAMESPACE}", "system:authenticated"]
        server.kubeconfig(cluster.kubeconfig, user=AGENT, groups=groups)
        here = Local(cluster)
        role: JSONObject = {"metadata": {"name": OPERATOR}, "rules": documented_rules()}
        here.client.resource(CLUSTER_ROLES).create(role)
        here.client.resource(CLUSTER_ROLE_BINDINGS).create(
            {
                "metadata": {"name": OPERATOR},
                "roleRef": {"apiGroup": CLUSTER_ROLES.group, "kind": "ClusterRole", "name": OPERATOR},
                "subjects": [{"kind": "User", "name": OPERATOR, "apiGroup": CLUSTER_ROLES.group}],
            }
        )
        try:
            yield here
        finally:
            here.client.close()


def refused(local: Local, user: str) -> list[str]:
    """What that user asked for and may not."""
    return [f"{entry.verb} {entry.path}" for entry in local.server.requests if entry.user == user and entry.code == 403]


def test_the_documented_rights_are_enough(guarded: Local) -> None:
    guarded.create(replicas=1, storage={"retentionPolicy": {"whenScaled": "Delete"}})
    with operator(guarded.server):
        guarded.wait_whole(1)
        guarded.edit(replicas=2)
        guarded.wait_whole(2)
        before = guarded.uids()
        guarded.edit(podTemplate={"metadata": {"annotations": {"note": "x"}}})  # each Pod is replaced
        wait_for(lambda: not set(before.values()) & set(guarded.uids().values()), SLOW, "new Pods")
        guarded.wait_whole(2)
        guarded.edit(replicas=1)
        guarded.wait_whole(1)
        wait_for(lambda: len(guarded.claims()) == 1, SLOW, "the claim going")
        guarded.edit(podTemplate=None, backup={"trigger": "1", "destination": {"volume": {"size": "1Gi"}}})
        wait_for(lambda: guarded.client.resource(known.JOBS, namespace=NAMESPACE).list(), SLOW, "a Job")
    assert refused(guarded, OPERATOR) == []
    assert refused(guarded, AGENT) == []
    asked = {entry.user for entry in guarded.server.requests}
    assert {OPERATOR, AGENT} <= asked, "the rights of somebody else were tried"


def test_an_agent_cannot_do_what_another_cluster_is_asked_for(guarded: Local) -> None:
    guarded.create(replicas=1)
    with operator(guarded.server):
        wait_for(lambda: guarded.get(known.ROLE_BINDINGS, "demo-agent") is not None, SLOW, "the rights")
    client = guarded.server.client(AGENT)
    try:
        pods = client.resource(known.PODS, namespace=NAMESPACE)
        with pytest.raises(Forbidden):
            pods.patch("other-sts-0", {"metadata": {"labels": {"a": "b"}}}, type="merge")
        with pytest.raises(Forbidden):
            client.resource(known.SECRETS, namespace=NAMESPACE).list()
    finally:
        client.close()
