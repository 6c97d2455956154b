"""What agents may not do, on a server that checks rights: with those of the Role that the operator makes for them. That
they suffice is seen in tests/deploy/test_deploy_rights.py."""

from __future__ import annotations

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
from tests.controllers.xline.xline_local import SLOW, Local
from tests.controllers.xline.xline_world import CRDS, NAMESPACE
from tests.deploy.deployed import account_client, grant
from tests.support.etcd_process import wait_for
from tests.support.managers import OFF

pytestmark = [pytest.mark.etcd, pytest.mark.slow]

AGENT = f"system:serviceaccount:{NAMESPACE}:demo-agent"


@contextmanager
def operator(server: FakeAPIServer) -> Iterator[None]:
    client = account_client(server)
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
        grant(server)
        here = Local(cluster)
        try:
            yield here
        finally:
            here.client.close()


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
