"""``check``, on clusters that lack this and that."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cmd import check, findings
from cmd.findings import examine
from cmd.permissions import Permission, manifests, permissions
from runtime.client import Client
from runtime.testing import FakeAPIServer
from runtime.testing.apiserver.documents import VERSION
from runtime.testing.nodes.controllers import ADVANCED_STATEFULSET_CRD
from runtime.types import GVR, JSONObject
from tests.deploy.deployed import ACCOUNT, BASE, account_kubeconfig, grant, without
from tests.support.operators import CRDS

DEFINITIONS = GVR("apiextensions.k8s.io", "v1", "customresourcedefinitions")
CLASSES = GVR("storage.k8s.io", "v1", "storageclasses")
CLUSTER_ROLES = GVR("rbac.authorization.k8s.io", "v1", "clusterroles")
XLINECLUSTERS = "xlineclusters.xline.io.datenlord.com"


@dataclass
class Place:
    server: FakeAPIServer
    admin: Client
    kubeconfig: Path
    told: Callable[[], Any]

    def check(self, *flags: str, kubeconfig: Path | None = None) -> tuple[int, str]:
        """Exit status, and what is printed."""
        status = check.main([f"--kubeconfig={kubeconfig or self.kubeconfig}", *flags])
        return status, str(self.told().out)


@pytest.fixture
def place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Place]:
    with FakeAPIServer(authorization_mode="RBAC") as server, server.client() as admin:
        yield Place(
            server,
            admin,
            server.kubeconfig(tmp_path / "admin", user="root", groups=["system:masters"]),
            capsys.readouterr,
        )


def storage_class(name: str, *, default: bool, grows: bool) -> JSONObject:
    key = "storageclass.kubernetes.io/is-default-class"
    annotations = {key: "true"} if default else {}
    made: JSONObject = {"metadata": {"name": name, "annotations": annotations}, "provisioner": "example.com/p"}
    return {**made, "allowVolumeExpansion": grows}


def test_a_cluster_that_has_everything(place: Place) -> None:
    place.server.apply_manifests(CRDS)
    place.server.apply_manifests(ADVANCED_STATEFULSET_CRD)
    place.admin.resource(CLASSES).create(storage_class("fast", default=True, grows=True))
    before = len(place.server.requests.writes())
    status, out = place.check()
    assert status == 0, out
    assert out.splitlines()[-1] == "no problems, no warnings"
    assert f"ok    definitions   {XLINECLUSTERS} is as this release has it" in out
    assert "ok    OpenKruise    is installed" in out
    assert "note  cert-manager  is not installed, and need not be" in out
    assert re.search(r"^ok    API server    http://127.0.0.1:\d+ is Kubernetes 1\.\d+$", out, re.MULTILINE)
    written = [entry.resource for entry in place.server.requests.writes()[before:]]
    assert set(written) == {"selfsubjectaccessreviews"}
    assert len(written) == len(permissions()), "each is asked for, and once"


def test_what_is_not_there_is_told_with_what_to_do(place: Place) -> None:
    status, out = place.check()
    assert status == 1
    assert (
        f"FAIL  definitions   {XLINECLUSTERS} is not installed\n                    -> python -m cmd.crds apply\n"
        in out
    )
    lost = "is not installed: Orleans clusters are not looked after"
    assert f"WARN  definitions   silos.orleans.dot.net {lost}" in out
    assert f"WARN  definitions   clusterversions.orleans.dot.net {lost}" in out
    assert "WARN  storage       no StorageClass is the default (there is none at all)" in out
    assert out.endswith("1 problem, 3 warnings\n")


def test_the_definitions_of_the_dotnet_provider_will_do(place: Place) -> None:
    place.server.apply_manifests(CRDS)
    gone = [{"op": "remove", "path": "/spec/versions/0/subresources"}]
    place.admin.resource(DEFINITIONS).patch("clusterversions.orleans.dot.net", gone, type="json")
    status, out = place.check()
    assert status == 0, out
    text = "clusterversions.orleans.dot.net is not as this release has it: spec.versions[0].subresources differs"
    assert f"WARN  definitions   {text}" in out


@pytest.mark.parametrize(
    ("patch", "told"),
    [
        ([{"op": "remove", "path": "/spec/versions/0/subresources"}], "spec.versions[0].subresources differs"),
        ([{"op": "remove", "path": "/spec/names/shortNames"}], "spec.names.shortNames differs"),
        (
            [
                {
                    "op": "remove",
                    "path": "/spec/versions/0/schema/openAPIV3Schema/properties/status/properties/phase/enum/0",
                }
            ],
            "differs",
        ),
    ],
)
def test_definitions_of_another_release_are_told(place: Place, patch: list[JSONObject], told: str) -> None:
    place.server.apply_manifests(CRDS)
    place.admin.resource(DEFINITIONS).patch(XLINECLUSTERS, patch, type="json")
    status, out = place.check()
    assert status == 1
    assert f"FAIL  definitions   {XLINECLUSTERS} is not as this release has it: " in out
    assert told in out


def test_what_others_add_to_a_definition_is_no_difference(place: Place) -> None:
    place.server.apply_manifests(CRDS)
    added = [{"op": "add", "path": "/spec/names/categories/-", "value": "mine"}]
    labelled = {"metadata": {"labels": {"a": "b"}, "annotations": {"cert-manager.io/inject-ca-from": "a/b"}}}
    place.admin.resource(DEFINITIONS).patch(XLINECLUSTERS, labelled, type="merge")
    assert place.check()[0] == 0
    place.admin.resource(DEFINITIONS).patch(XLINECLUSTERS, added, type="json")
    assert place.check()[0] == 1


@pytest.mark.parametrize(
    ("wanted", "live", "where"),
    [
        ({"a": 1}, {"a": 1, "b": 2}, ""),
        ({"a": {"b": 1}}, {"a": {}}, "x.a.b differs"),
        ({"a": [1, 2]}, {"a": [1]}, "x.a differs"),
        ({"a": [1]}, {"a": [1, 2]}, "x.a differs"),
        ({"a": [{"b": 1}, {"b": 2}]}, {"a": [{"b": 1, "c": 0}, {"b": 3}]}, "x.a[1].b differs"),
        ({"a": False}, {}, "x.a differs"),
    ],
)
def test_the_first_difference_is_named(wanted: JSONObject, live: JSONObject, where: str) -> None:
    assert findings._difference(wanted, live, "x") == where


def test_what_an_old_server_drops_is_no_difference(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.server.apply_manifests(CRDS)
    gone = [{"op": "remove", "path": "/spec/versions/0/selectableFields"}]
    place.admin.resource(DEFINITIONS).patch("silos.orleans.dot.net", gone, type="json")
    for version, level in (("v1.31.0", "WARN"), ("v1.30.9", "ok  ")):
        monkeypatch.setitem(VERSION, "gitVersion", version)
        assert f"{level}  definitions   silos.orleans.dot.net" in place.check()[1]


def test_a_definition_that_goes_or_is_not_established_is_told(place: Place) -> None:
    place.server.apply_manifests(CRDS)
    definitions = place.admin.resource(DEFINITIONS)
    conditions = [{"type": "NamesAccepted", "status": "False", "reason": "ListKindConflict", "message": "taken by x"}]
    definitions.patch(XLINECLUSTERS, {"status": {"conditions": conditions}}, type="merge", subresource="status")
    assert "its names are taken: taken by x" in place.check()[1]
    definitions.patch(XLINECLUSTERS, {"metadata": {"finalizers": ["example.com/held"]}}, type="merge")
    definitions.delete(XLINECLUSTERS)
    assert "is being deleted" in place.check()[1]


# -- rights


def test_the_operators_own_account_has_all_it_needs(place: Place, tmp_path: Path) -> None:
    """And says what it cannot see: definitions and StorageClasses are none of its business."""
    place.server.apply_manifests(CRDS)
    grant(place.server)
    status, out = place.check(kubeconfig=account_kubeconfig(place.server, tmp_path / "account"))
    assert status == 0, out
    assert f"note  definitions   {XLINECLUSTERS} is served" in out
    assert "note  storage       this account may not see StorageClasses" in out
    assert "needed in the whole cluster" in out
    assert "needed in namespace xline-system" in out


def test_each_right_that_is_missing_is_told(place: Place, tmp_path: Path) -> None:
    place.server.apply_manifests(CRDS)
    grant(place.server)
    account = account_kubeconfig(place.server, tmp_path / "account")
    lost = [Permission("watched", "", "pods", "", "delete"), Permission("watched", "", "pods", "", "watch")]
    roles = manifests()
    for each in lost:
        roles = without(roles, each)
    role = next(each for each in roles if each["metadata"]["name"] == "xline-operator")
    place.admin.resource(CLUSTER_ROLES).update(role)
    status, out = place.check(kubeconfig=account)
    assert status == 1
    assert "FAIL  rights        this account may not watch, delete pods in the whole cluster\n" in out
    assert out.endswith("1 problem, no warnings\n")


def test_rights_of_whoever_may_do_nothing(place: Place, tmp_path: Path) -> None:
    place.server.apply_manifests(CRDS)
    nobody = place.server.kubeconfig(tmp_path / "nobody", user="nobody")
    status, out = place.check(kubeconfig=nobody)
    assert status == 1
    lacking = {
        f"{verb} {what}"
        for verbs, what in re.findall(r"this account may not ([a-z, ]+?) (\S+(?: xline-operator)?) in ", out)
        for verb in verbs.split(", ")
    }
    assert lacking == {str(each) for each in permissions()}
    assert "WARN  rights        this account may not get nodes in the whole cluster: spec.replaceDeadMembers" in out


def test_rights_in_single_namespaces(place: Place, tmp_path: Path) -> None:
    """A RoleBinding in one of two."""
    place.server.apply_manifests(CRDS)
    grant(place.server)
    bindings = GVR("rbac.authorization.k8s.io", "v1", "clusterrolebindings")
    place.admin.resource(bindings).delete("xline-operator")
    place.admin.resource(GVR("rbac.authorization.k8s.io", "v1", "rolebindings"), namespace="default").create(
        {
            "metadata": {"name": "operator"},
            "roleRef": {"apiGroup": bindings.group, "kind": "ClusterRole", "name": "xline-operator"},
            "subjects": [{"kind": "User", "name": ACCOUNT, "apiGroup": bindings.group}],
        }
    )
    account = account_kubeconfig(place.server, tmp_path / "account")
    status, out = place.check("--namespace=default", kubeconfig=account)
    assert status == 0, out
    assert "needed in namespace default" in out
    status, out = place.check("--namespace=default", "--namespace=other", kubeconfig=account)
    assert status == 1
    assert "in namespace other" in out
    assert " pods in namespace default" not in out


def test_leases_are_asked_for_where_the_operator_has_its_own(place: Place, tmp_path: Path) -> None:
    place.server.apply_manifests(CRDS)
    grant(place.server)
    account = account_kubeconfig(place.server, tmp_path / "account")
    status, out = place.check("--leader-election-namespace=elsewhere", kubeconfig=account)
    assert status == 0
    assert (
        "WARN  rights        this account may not watch leases.coordination.k8s.io xline-operator in namespace else"
        in out
    )


# -- the API server


@pytest.mark.parametrize(
    ("version", "level", "told"),
    [
        ("v1.24.17", "problem", "need 1.25 or newer"),
        ("v1.25.0+k3s1", "warning", "spec.agent.mode: Supervisor"),
        ("v1.28.3", "warning", "spec.agent.mode: Supervisor"),
        ("v1.29.0", "ok", "is Kubernetes 1.29"),
        ("unknown", "warning", "does not tell its version"),
    ],
)
def test_versions(place: Place, monkeypatch: pytest.MonkeyPatch, version: str, level: str, told: str) -> None:
    monkeypatch.setitem(VERSION, "gitVersion", version)  # of the server
    found = next(examine(findings.Place(place.admin, (), "xline-system")))
    assert (found.level, found.about) == (level, "API server")
    assert told in f"{found.text} {found.fix}"


def test_a_server_that_does_not_answer_or_know_us(place: Place, tmp_path: Path) -> None:
    place.server.stop()
    status, out = place.check("--timeout=2")
    assert status == 1
    assert "FAIL  API server" in out
    assert "does not answer" in out
    with FakeAPIServer(authorization_mode="RBAC", anonymous_auth=False) as other:
        stranger = tmp_path / "stranger"
        stranger.write_text(other.kubeconfig(tmp_path / "k").read_text().replace("token: ", "token: x"))
        status, out = place.check(kubeconfig=stranger)
        assert status == 1
        assert "does not know who asks" in out


@pytest.mark.slow
def test_a_server_that_hangs_is_given_up(place: Place) -> None:
    place.server.apply_manifests(CRDS)
    place.server.faults.add(resource="selfsubjectaccessreviews", delay=30.0)
    status, out = place.check("--timeout=3")
    assert status == 1
    assert "FAIL  rights        cannot be seen" in out


def test_one_look_that_fails_does_not_hide_the_others(place: Place) -> None:
    place.server.apply_manifests(CRDS)
    place.server.faults.add(verb="list", resource="storageclasses", status=403)
    place.server.faults.add(verb="get", resource="customresourcedefinitions", status=500)
    out = place.check()[1]
    assert "FAIL  definitions   cannot be seen" in out
    assert "ok    rights" in out
    assert "note  storage" in out


def test_each_rule_is_read_from_the_one_file() -> None:
    text = (BASE / "rbac.yaml").read_text()
    assert [document["metadata"]["name"] for document in manifests()] == re.findall(
        r"^  name: (\S+)", text, re.MULTILINE
    )
    assert len(set(permissions())) == len(permissions()) > 70
