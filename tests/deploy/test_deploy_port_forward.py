"""The status page of the operator as deployed: by the command that its docs show, out of a Pod on a local node."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import socket
import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from runtime.testing.localcluster import LocalCluster
from runtime.types import GVR
from tests.deploy.deployed import NAME, NAMESPACE, deployment, grant
from tests.support.operators import CRDS, ROOT, eventually

POD = f"{NAME}-7c9f-x"  # as a ReplicaSet would name it
PODS = GVR("", "v1", "pods")
_SHOWN = re.compile(r"^    (kubectl .*port-forward .*?) +#", re.MULTILINE)


def shown() -> list[str]:
    """The words of the command in the docs."""
    (command,) = _SHOWN.findall((ROOT / "docs" / "status-page.md").read_text())
    return shlex.split(command)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[LocalCluster]:
    with LocalCluster(tmp_path / "cluster", manifests=[CRDS]) as cluster:
        yield cluster


def deploy(cluster: LocalCluster, *more: str) -> None:
    """Namespace, account and Deployment, and a Pod as its controllers make one.

    :param more: flags of the operator.
    """
    grant(cluster.server)
    made = deployment()
    (container,) = made["spec"]["template"]["spec"]["containers"]
    container["args"] += more
    cluster.server.create(made, namespace=NAMESPACE)
    template = made["spec"]["template"]
    pod = {"apiVersion": "v1", "kind": "Pod", **template, "metadata": {**template["metadata"], "name": POD}}
    cluster.server.create(pod, namespace=NAMESPACE)


def pod_status(cluster: LocalCluster) -> dict[str, Any]:
    return cluster.client().resource(PODS, namespace=NAMESPACE).get(POD).to_dict().get("status") or {}


def is_ready(cluster: LocalCluster) -> bool:
    conditions = pod_status(cluster).get("conditions", ())
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


@contextmanager
def forwarding(cluster: LocalCluster) -> Iterator[int]:
    """The command, but to a port that is free here."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    words = [f"{port}:{word}" if word.isdigit() else word for word in shown()]
    process = subprocess.Popen(
        [words[0], f"--kubeconfig={cluster.kubeconfig}", *words[1:]],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line == f"Forwarding from 127.0.0.1:{port} -> 8080\n", line + process.communicate(timeout=60)[1]
        yield port
    finally:
        process.kill()
        process.communicate()


def ask(url: str, token: str = "") -> tuple[int, str]:
    """As a browser whose user has gone on in spite of the certificate."""
    trust = ssl.create_default_context()
    trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
    asked = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})
    try:
        with urllib.request.urlopen(asked, context=trust, timeout=60) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


@pytest.mark.slow
@pytest.mark.kubectl
@pytest.mark.skipif(shutil.which("kubectl") is None, reason="no kubectl on this machine")
def test_the_status_page_through_a_forwarded_port(cluster: LocalCluster) -> None:
    deploy(cluster, "--status-page")
    eventually(lambda: is_ready(cluster), "the operator's Pod is ready", 90)
    token = cluster.server.service_account_token(NAMESPACE, NAME)
    with forwarding(cluster) as port:
        url = f"https://localhost:{port}"
        code, page = ask(f"{url}/")
        assert (code, "Bearer token" in page) == (401, True)  # it asks for one
        code, page = ask(f"{url}/", token)
        assert (code, "<h2>Who are you?</h2>" in page) == (200, False)
        assert "Nothing is stuck." in page
        code, document = ask(f"{url}/status/v1", token)
        told = json.loads(document)
        assert (code, told["state"]) == (200, "running")
        assert {"operator": told["pid"]} == cluster.node.pids(NAMESPACE, POD)
