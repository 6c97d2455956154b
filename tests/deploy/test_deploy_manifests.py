"""The manifests of deploy/: kubectl renders and applies them, and an operator with what they give runs."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TypeVar, cast

import pytest
import yaml

from controllers.xline.pod import AGENT_IMAGE
from crds import manifests
from membership.xline.engines import CLIENT_PORT
from runtime.testing import FakeAPIServer
from runtime.types import GVR, JSONObject
from tests.deploy.deployed import (
    ACCOUNT,
    BASE,
    DEPLOY,
    NAME,
    account_kubeconfig,
    container,
    deployment,
    documents,
    flags,
    scrape,
)
from tests.support.operators import CRDS, ROOT, Operator, Operators, create_cluster, eventually, wait_children

_T = TypeVar("_T", bound=Callable[..., None])


def kubectl_only(test: _T) -> _T:
    missing = pytest.mark.skipif(shutil.which("kubectl") is None, reason="no kubectl on this machine")
    return cast("_T", pytest.mark.kubectl(missing(test)))


DEPLOYMENTS = GVR("apps", "v1", "deployments")
OVERLAYS = ("default", "monitored", "namespaced")
MONITORING_CRDS = Path(__file__).with_name("monitoring_crds.yaml")


def kubectl(*arguments: str, kubeconfig: Path | None = None) -> str:
    config = [] if kubeconfig is None else [f"--kubeconfig={kubeconfig}"]
    done = subprocess.run(
        ["kubectl", *config, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def rendered() -> Callable[[str], list[JSONObject]]:
    """The objects of an overlay; each is rendered once."""
    known: dict[str, list[JSONObject]] = {}

    def objects(overlay: str) -> list[JSONObject]:
        if overlay not in known:
            text = kubectl("kustomize", f"deploy/overlays/{overlay}")
            known[overlay] = [document for document in yaml.safe_load_all(text) if document]
        return known[overlay]

    return objects


def names(objects: list[JSONObject]) -> set[str]:
    return {f"{each['kind']} {each['metadata'].get('namespace', '')}/{each['metadata']['name']}" for each in objects}


@kubectl_only
def test_the_default_is_whole(rendered: Callable[[str], list[JSONObject]]) -> None:
    assert names(rendered("default")) == {
        "Namespace /xline-system",
        *(f"CustomResourceDefinition /{resource.name}" for resource in manifests.RESOURCES),
        "ServiceAccount xline-system/xline-operator",
        "ClusterRole /xline-operator",
        "ClusterRole /xline-operator-cluster",
        "Role xline-system/xline-operator-election",
        "ClusterRoleBinding /xline-operator",
        "ClusterRoleBinding /xline-operator-cluster",
        "RoleBinding xline-system/xline-operator-election",
        "Deployment xline-system/xline-operator",
        "Service xline-system/xline-operator-metrics",
        "PodDisruptionBudget xline-system/xline-operator",
        "NetworkPolicy xline-system/xline-operator",
    }


@kubectl_only
def test_the_monitored_one_is_the_default_and_more(rendered: Callable[[str], list[JSONObject]]) -> None:
    assert names(rendered("monitored")) - names(rendered("default")) == {
        "ServiceMonitor xline-system/xline-operator",
        "PrometheusRule xline-system/xline-operator",
        "ConfigMap xline-system/xline-operator-dashboard",
        "ClusterRole /xline-operator-metrics-reader",
        "ClusterRoleBinding /xline-operator-metrics-reader",
    }
    (board,) = (each for each in rendered("monitored") if each["kind"] == "ConfigMap")
    assert board["data"]["dashboard.json"] == (DEPLOY / "monitoring" / "dashboard.json").read_text()


@kubectl_only
def test_definitions_are_those_of_the_types(rendered: Callable[[str], list[JSONObject]]) -> None:
    found = {each["metadata"]["name"]: each for each in rendered("default") if each["kind"].startswith("Custom")}
    for resource in manifests.RESOURCES:
        assert found[resource.name]["spec"] == yaml.safe_load(manifests.render(resource))["spec"]


@kubectl_only
def test_the_namespaced_one_has_the_same_rules_in_a_role(rendered: Callable[[str], list[JSONObject]]) -> None:
    objects = rendered("namespaced")
    assert not [each for each in names(objects) if each.startswith(("Cluster", "Namespace ", "Custom"))]
    assert {each["metadata"]["namespace"] for each in objects} == {"default"}
    (role,) = (each for each in objects if (each["kind"], each["metadata"]["name"]) == ("Role", NAME))
    (wanted,) = (each for each in documents(BASE / "rbac.yaml") if each["metadata"]["name"] == NAME)
    assert role["rules"] == wanted["rules"]
    for binding in (each for each in objects if each["kind"] == "RoleBinding"):
        assert binding["roleRef"]["kind"] == "Role"
        assert [subject["namespace"] for subject in binding["subjects"]] == ["default"]


@pytest.mark.parametrize("overlay", OVERLAYS)
@kubectl_only
def test_selectors_find_what_they_should(overlay: str, rendered: Callable[[str], list[JSONObject]]) -> None:
    by_kind = {each["kind"]: each for each in rendered(overlay)}
    pod = by_kind["Deployment"]["spec"]["template"]
    labels = pod["metadata"]["labels"].items()
    assert by_kind["Deployment"]["spec"]["selector"]["matchLabels"].items() <= labels
    assert by_kind["Service"]["spec"]["selector"].items() <= labels
    assert by_kind["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"].items() <= labels
    assert by_kind["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"].items() <= labels
    if "ServiceMonitor" in by_kind:
        selector = by_kind["ServiceMonitor"]["spec"]["selector"]["matchLabels"]
        assert selector.items() <= by_kind["Service"]["metadata"]["labels"].items()


@pytest.mark.parametrize("overlay", OVERLAYS)
@kubectl_only
def test_an_api_server_takes_each_object_strictly(overlay: str, rendered: Callable[[str], list[JSONObject]]) -> None:
    """No field is unknown, and none is given twice."""
    with FakeAPIServer() as server, server.client() as client:
        server.apply_manifests(MONITORING_CRDS)
        for obj in rendered(overlay):
            found = client.discovery.resource_for(obj["apiVersion"], obj["kind"])
            assert found is not None, obj["kind"]
            namespace = obj["metadata"].get("namespace") if found.namespaced else None
            client.resource(found.gvr, namespace=namespace).create(obj, field_validation="Strict")


@pytest.fixture
def server() -> Iterator[FakeAPIServer]:
    """By https: kubectl shows its token to no other."""
    with FakeAPIServer(authorization_mode="RBAC", tls=True) as server:
        server.apply_manifests(MONITORING_CRDS)
        yield server


@kubectl_only
def test_what_is_applied_runs(server: FakeAPIServer, tmp_path: Path) -> None:
    """``kubectl apply -k``; then the operator with flags and account of the Deployment that is there."""
    admin = server.kubeconfig(tmp_path / "admin", user="root", groups=["system:masters"])
    for overlay in ("default", "monitored", "monitored"):  # again changes nothing
        out = kubectl("apply", "-k", f"deploy/overlays/{overlay}", kubeconfig=admin)
    changed = [line for line in out.splitlines() if not line.endswith(" unchanged")]
    assert changed == ["poddisruptionbudget.policy/xline-operator configured"]  # it replaces selectors in any case
    operators = Operators(tmp_path)
    with server.client() as client:
        live = client.resource(DEPLOYMENTS, namespace="xline-system").get("xline-operator")
        assert live["spec"]["replicas"] == 2
        (made,) = live["spec"]["template"]["spec"]["containers"]
        kubeconfig = account_kubeconfig(server, tmp_path / "kubeconfig")
        try:
            operator = operators.start(kubeconfig, *flags(made["args"]))
            create_cluster(client)
            wait_children(client)
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                path = made[probe]["httpGet"]["path"]
                eventually(partial(is_well, operator, path), probe, timeout=60)
            reader = server.token("system:serviceaccount:monitoring:prometheus-k8s")
            assert scrape(str(operator.wait_line("serving", server="metrics_bind_address")["address"]), reader)
            assert operator.end() == 0
        finally:
            operators.kill_all()
    assert refused(server, ACCOUNT) == []


@pytest.mark.slow
@kubectl_only
def test_the_namespaced_one_runs_without_any_cluster_role(server: FakeAPIServer, tmp_path: Path) -> None:
    server.apply_manifests(CRDS)
    admin = server.kubeconfig(tmp_path / "admin", user="root", groups=["system:masters"])
    kubectl("apply", "-k", "deploy/overlays/namespaced", kubeconfig=admin)
    operators = Operators(tmp_path)
    with server.client() as client:
        live = client.resource(DEPLOYMENTS, namespace="default").get("xline-operator")
        (made,) = live["spec"]["template"]["spec"]["containers"]
        kubeconfig = account_kubeconfig(server, tmp_path / "kubeconfig", "default")
        try:
            operator = operators.start(kubeconfig, *flags(made["args"], "default"))
            create_cluster(client)
            wait_children(client)
            eventually(partial(is_well, operator, "/readyz"), "ready", timeout=60)
            assert operator.end() == 0
        finally:
            operators.kill_all()
    assert refused(server, f"system:serviceaccount:default:{NAME}") == []


def is_well(operator: Operator, path: str) -> bool:
    return operator.get("health_probe_bind_address", path)[0] == 200


def refused(server: FakeAPIServer, user: str) -> list[str]:
    mine = [entry for entry in server.requests if entry.user == user]
    assert len(mine) > 30
    return [f"{entry.verb} {entry.path}" for entry in mine if entry.code == 403]


# -- without kubectl


def test_the_pod_is_confined() -> None:
    pod = deployment()["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    context = container()["securityContext"]
    assert context["readOnlyRootFilesystem"] is True
    assert context["allowPrivilegeEscalation"] is False
    assert context["capabilities"] == {"drop": ["ALL"]}
    (namespace,) = documents(DEPLOY / "overlays" / "default" / "namespace.yaml")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_the_image_is_the_agents_too() -> None:
    """The operator gives agents its own image by default."""
    base = yaml.safe_load((BASE / "kustomization.yaml").read_text())
    (image,) = base["images"]
    assert container()["image"] == image["name"]
    assert f"{image['name']}:{image['newTag']}" == AGENT_IMAGE


def test_grace_and_ports_fit_together() -> None:
    pod = deployment()["spec"]["template"]["spec"]
    (grace,) = (each for each in container()["args"] if each.startswith("--graceful-shutdown-timeout="))
    assert pod["terminationGracePeriodSeconds"] > int(grace.partition("=")[2].rstrip("s"))
    ports = {each["name"]: each["containerPort"] for each in container()["ports"]}
    assert f"--metrics-bind-address=:{ports['metrics']}" in container()["args"]
    assert f"--health-probe-bind-address=:{ports['health']}" in container()["args"]


def test_the_network_policy_lets_members_be_asked() -> None:
    (policy,) = documents(BASE / "network.yaml")
    members = [rule for rule in policy["spec"]["egress"] if any("podSelector" in to for to in rule.get("to", ()))]
    assert [port["port"] for rule in members for port in rule["ports"]] == [CLIENT_PORT]


def test_the_image_is_built_from_the_lock_and_the_wheel() -> None:
    text = re.sub(r"\\\n\s*", " ", (DEPLOY / "Dockerfile").read_text())
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert [line for line in lines if line.startswith("FROM")] == [
        "FROM ${PYTHON_IMAGE} AS build",
        "FROM ${PYTHON_IMAGE}",
    ]
    assert not [line for line in lines if line.startswith("ADD") or "apt" in line or "curl" in line]
    installs = [line for line in lines if " install " in line]
    assert len(installs) == 2
    assert all("--require-hashes" in line or "--no-index" in line for line in installs)
    (user,) = (line.split()[1] for line in lines if line.startswith("USER"))
    security = deployment()["spec"]["template"]["spec"]["securityContext"]
    assert user == f"{security['runAsUser']}:{security['runAsGroup']}"
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert lines[-1] == 'ENTRYPOINT ["xline-operator"]'
    assert "xline-operator" in scripts
    sent = (DEPLOY / "Dockerfile.dockerignore").read_text().split()
    copied = {part for line in lines if line.startswith("COPY") and "--from" not in line for part in line.split()[1:-1]}
    assert {f"!{each}" for each in copied} | {"*"} == set(sent)


def test_the_images_lock_is_a_part_of_the_lock() -> None:
    """The same versions and hashes as in what is tested."""
    whole, part = pins(ROOT / "requirements.lock"), pins(DEPLOY / "requirements.lock")
    assert part.items() <= whole.items()
    assert {"kubernetes", "grpcio", "cryptography", "obstore"} <= {each.partition("==")[0] for each in part}


def pins(path: Path) -> dict[str, frozenset[str]]:
    """``name==version`` -> its hashes."""
    found: dict[str, frozenset[str]] = {}
    for block in re.split(r"\n(?=[a-z0-9])", path.read_text()):
        name = re.match(r"[a-z0-9._-]+==[^ ;]+", block)
        if name is not None:
            found[name[0]] = frozenset(re.findall(r"sha256:[0-9a-f]+", block))
    return found
