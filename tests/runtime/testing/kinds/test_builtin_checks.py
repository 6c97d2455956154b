"""What the server refuses of built-in kinds, with the causes of a real one."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from runtime.testing.kinds import names
from tests.runtime.testing.kinds.kinds_helpers import JSON, Sandbox

POD_SPEC = {"containers": [{"name": "main", "image": "a:1"}]}
SELECTOR = {"matchLabels": {"app": "s"}}
TEMPLATE = {"metadata": {"labels": {"app": "s"}}, "spec": POD_SPEC}
WORKLOAD = {"serviceName": "s", "selector": SELECTOR, "template": TEMPLATE}
REQUIRED, INVALID, FORBIDDEN = "FieldValueRequired", "FieldValueInvalid", "FieldValueForbidden"
UNSUPPORTED = "FieldValueNotSupported"


def container(**fields: Any) -> JSON:
    return {"spec": {"containers": [{"name": "main", "image": "a:1", **fields}]}}


def binding(*subjects: JSON, kind: str = "ClusterRole") -> JSON:
    return {"roleRef": {"kind": kind, "name": "r"}, "subjects": list(subjects)}


@pytest.mark.parametrize(
    ("name", "problems"),
    [
        ("k" * 63, []),
        ("k" * 64, ["name part must be no more than 63 characters"]),
        (f"{'a' * 200}.b/{'K' * 63}", []),
        (f"a/{'k' * 64}", ["name part must be no more than 63 characters"]),
        ("/k", ["prefix part must be non-empty"]),
    ],
)
def test_how_long_the_parts_of_a_qualified_name_may_be(name: str, problems: list[str]) -> None:
    assert names.bad_qualified_name(name) == problems


@pytest.mark.parametrize(
    ("resource", "obj", "causes"),
    [
        ("pods", {"spec": {"containers": []}}, [(REQUIRED, "spec.containers")]),
        ("pods", container(name=""), [(REQUIRED, "spec.containers[0].name")]),
        ("pods", container(name="A_b"), [(INVALID, "spec.containers[0].name")]),
        ("pods", container(image=""), [(REQUIRED, "spec.containers[0].image")]),
        (
            "pods",
            {"spec": {"containers": [{"name": "m", "image": "a:1"}, {"name": "m", "image": "a:1"}]}},
            [("FieldValueDuplicate", "spec.containers[1].name")],
        ),
        (
            "pods",
            container(volumeMounts=[{"name": "v", "mountPath": "/x"}]),
            [("FieldValueNotFound", "spec.containers[0].volumeMounts[0].name")],
        ),
        ("pods", container(ports=[{"containerPort": 0}]), [(REQUIRED, "spec.containers[0].ports[0].containerPort")]),
        ("pods", container(livenessProbe={}), [(REQUIRED, "spec.containers[0].livenessProbe")]),
        (
            "services",
            {"spec": {"type": "NodePort", "ports": [{"port": 1, "nodePort": 80}]}},
            [(INVALID, "spec.ports[0].nodePort")],
        ),
        ("endpoints", {"subsets": [{"ports": [{"port": 1}]}]}, [(REQUIRED, "subsets[0]")]),
        ("endpoints", {"subsets": [{"addresses": [{"ip": "x"}]}]}, [(INVALID, "subsets[0].addresses[0].ip")]),
        (
            "endpoints",
            {"subsets": [{"notReadyAddresses": [{"ip": "10.0.0.1"}], "ports": [{"name": "a"}, {"port": 2}]}]},
            [(INVALID, "subsets[0].ports[0].port"), (REQUIRED, "subsets[0].ports[1].name")],
        ),
        ("pods", container(env=[{"value": "x"}]), [(REQUIRED, "spec.containers[0].env[0].name")]),
        (
            "pods",
            container(resources={"limits": {"cpu": "1"}, "requests": {"cpu": "2"}}),
            [(INVALID, "spec.containers[0].resources.requests")],
        ),
        (
            "pods",
            {"spec": {**POD_SPEC, "restartPolicy": "Sometimes"}},
            [("FieldValueNotSupported", "spec.restartPolicy")],
        ),
        (
            "statefulsets",
            {"spec": {**WORKLOAD, "selector": {"matchLabels": {"app": "other"}}}},
            [(INVALID, "spec.template.metadata.labels")],
        ),
        (
            "statefulsets",
            {"spec": {**WORKLOAD, "selector": None}},
            [(REQUIRED, "spec.selector"), (INVALID, "spec.template.metadata.labels")],
        ),
        ("statefulsets", {"spec": {**WORKLOAD, "replicas": -1}}, [(INVALID, "spec.replicas")]),
        (
            "deployments",
            {"spec": {**WORKLOAD, "strategy": {"type": "Recreate", "rollingUpdate": {}}}},
            [(FORBIDDEN, "spec.strategy.rollingUpdate")],
        ),
        (
            "jobs",
            {"spec": {"template": TEMPLATE}},
            [(REQUIRED, "spec.template.spec.restartPolicy")],
        ),
        ("services", {"spec": {}}, [(REQUIRED, "spec.ports")]),
        (
            "services",
            {"spec": {"ports": [{"port": 80}, {"port": 81}]}},
            [(REQUIRED, "spec.ports[0].name"), (REQUIRED, "spec.ports[1].name")],
        ),
        (
            "services",
            {"spec": {"ports": [{"port": 70000}]}},
            [(INVALID, "spec.ports[0].port"), (INVALID, "spec.ports[0].targetPort")],
        ),
        ("services", {"spec": {"type": "ExternalName"}}, [(REQUIRED, "spec.externalName")]),
        ("leases", {"spec": {"leaseDurationSeconds": 0}}, [(INVALID, "spec.leaseDurationSeconds")]),
        ("configmaps", {"data": {"a/b": ""}}, [(INVALID, "data[a/b]")]),
        ("configmaps", {"data": {"ok": "", "..": ""}}, [(INVALID, "data[..]")]),
        ("configmaps", {"data": {"k" * 254: ""}}, [(INVALID, f"data[{'k' * 254}]")]),
        ("configmaps", {"data": {"k": "\u20ac" * 349_526}}, [("FieldValueTooLong", "")]),  # 1 MiB and 2 bytes
        ("configmaps", {"data": {"k": "\u20ac" * 349_525, "l": "x"}}, []),
        ("configmaps", {"data": {"k": "x" * 524_288}, "binaryData": {"l": "A" * 699_052}}, [("FieldValueTooLong", "")]),
        ("secrets", {"data": {"k": "A" * 1_398_108}}, [("FieldValueTooLong", "data")]),
        ("configmaps", {"data": {"k": "v"}, "binaryData": {"k": "AA=="}}, [(INVALID, "data[k]")]),
        (
            "secrets",
            {"type": "kubernetes.io/tls", "data": {"tls.crt": ""}},
            [(REQUIRED, "data[tls.key]")],
        ),
        (
            "persistentvolumeclaims",
            {"spec": {}},
            [(REQUIRED, "spec.accessModes"), (REQUIRED, "spec.resources[storage]")],
        ),
        ("poddisruptionbudgets", {"spec": {"minAvailable": 1, "maxUnavailable": 1}}, [(INVALID, "spec")]),
        ("poddisruptionbudgets", {"spec": {"maxUnavailable": "many"}}, [(INVALID, "spec.maxUnavailable")]),
        ("roles", {"rules": [{"apiGroups": [""], "resources": ["pods"]}]}, [(REQUIRED, "rules[0].verbs")]),
        ("rolebindings", {"roleRef": {"kind": "Role"}}, [(REQUIRED, "roleRef.name")]),
        (
            "rolebindings",
            {"roleRef": {"kind": "Node", "name": "a/b", "apiGroup": "x"}},
            [(UNSUPPORTED, "roleRef.apiGroup"), (UNSUPPORTED, "roleRef.kind"), (INVALID, "roleRef.name")],
        ),
        ("rolebindings", binding({"kind": "ServiceAccount", "name": "s"}), []),
        (
            "rolebindings",
            binding(
                {"kind": "ServiceAccount", "name": "S", "apiGroup": "x"}, {"kind": "User"}, {"kind": "Pod", "name": "p"}
            ),
            [
                (INVALID, "subjects[0].name"),
                (UNSUPPORTED, "subjects[0].apiGroup"),
                (REQUIRED, "subjects[1].name"),
                (UNSUPPORTED, "subjects[2].kind"),
            ],
        ),
        (
            "clusterrolebindings",
            binding({"kind": "ServiceAccount", "name": "s"}, kind="Role"),
            [(UNSUPPORTED, "roleRef.kind"), (REQUIRED, "subjects[0].namespace")],
        ),
        (
            "clusterroles",
            {"rules": [{"verbs": ["get"], "nonResourceURLs": ["/a"], "resources": ["pods"]}, {"verbs": ["get"]}]},
            [
                (INVALID, "rules[0].nonResourceURLs"),
                (REQUIRED, "rules[1].apiGroups"),
                (REQUIRED, "rules[1].resources"),
            ],
        ),
        (
            "roles",
            {"rules": [{"verbs": ["get"], "nonResourceURLs": ["/a"]}]},
            [(INVALID, "rules[0].nonResourceURLs")],
        ),
        ("clusterroles", {"aggregationRule": {}}, [(REQUIRED, "aggregationRule.clusterRoleSelectors")]),
        (
            "clusterroles",
            {"aggregationRule": {"clusterRoleSelectors": [{"matchExpressions": [{"key": "a", "operator": "In"}]}]}},
            [(REQUIRED, "aggregationRule.clusterRoleSelectors[0].matchExpressions[0].values")],
        ),
        ("selfsubjectaccessreviews", {"spec": {}}, [(INVALID, "spec.resourceAttributes"), (INVALID, "metadata")]),
    ],
)
def test_refused(resource: str, obj: Any, causes: list[tuple[str, str]], sandbox: Sandbox) -> None:
    assert sandbox.write(resource, obj).causes == causes


@pytest.mark.parametrize(
    ("resource", "obj", "change", "causes"),
    [
        ("pods", {"spec": POD_SPEC}, lambda o: o["spec"]["containers"][0].update(image="a:2"), []),
        ("pods", {"spec": POD_SPEC}, lambda o: o["spec"]["containers"][0].update(command=["x"]), [(FORBIDDEN, "spec")]),
        ("statefulsets", {"spec": WORKLOAD}, lambda o: o["spec"].update(replicas=3), []),
        ("statefulsets", {"spec": WORKLOAD}, lambda o: o["spec"].update(serviceName="t"), [(FORBIDDEN, "spec")]),
        (
            "deployments",
            {"spec": WORKLOAD},
            lambda o: (
                o["spec"].update(selector={"matchLabels": {"app": "t"}}),
                o["spec"]["template"]["metadata"].update(labels={"app": "t"}),
            ),
            [(INVALID, "spec.selector")],
        ),
        (
            "services",
            {"spec": {"ports": [{"port": 80}]}},
            lambda o: o["spec"].update(clusterIP="10.1.2.3", clusterIPs=["10.1.2.3"]),
            [(INVALID, "spec.clusterIPs[0]")],
        ),
        (
            "configmaps",
            {"immutable": True, "data": {"k": "v"}},
            lambda o: o["data"].update(k="w"),
            [(FORBIDDEN, "data")],
        ),
        ("configmaps", {"immutable": True}, lambda o: o.pop("immutable"), [(FORBIDDEN, "immutable")]),
        ("secrets", {"data": {}}, lambda o: o.update(type="other"), [(INVALID, "type")]),
        (
            "persistentvolumeclaims",
            {"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}},
            lambda o: o["spec"].update(storageClassName="slow"),
            [(FORBIDDEN, "spec")],
        ),
        (
            "rolebindings",
            {"roleRef": {"kind": "Role", "name": "r"}},
            lambda o: o["roleRef"].update(name="s"),
            [(INVALID, "roleRef")],
        ),
    ],
)
def test_change(
    resource: str, obj: Any, change: Callable[[JSON], object], causes: list[tuple[str, str]], sandbox: Sandbox
) -> None:
    created = sandbox.write(resource, obj)
    assert created.errors == []
    wanted = copy.deepcopy(created.obj)
    change(wanted)

    assert sandbox.write(resource, wanted, created.obj).causes == causes


def test_counts_of_a_status_fit_together(sandbox: Sandbox) -> None:
    old = sandbox.write("statefulsets", {"spec": WORKLOAD}).obj
    wanted = {**old, "status": {"replicas": 1, "readyReplicas": 2, "availableReplicas": 0}}

    assert sandbox.write("statefulsets", wanted, old, "status").causes == [(INVALID, "status.readyReplicas")]


@pytest.mark.parametrize("resource", ["pods", "statefulsets", "deployments", "poddisruptionbudgets"])
def test_status_and_spec_are_written_apart(resource: str, sandbox: Sandbox) -> None:
    spec = {"pods": POD_SPEC, "poddisruptionbudgets": {"maxUnavailable": 1}}.get(resource, WORKLOAD)
    old = sandbox.write(resource, {"spec": spec}).obj
    kind = sandbox.builtin(resource)
    wanted = copy.deepcopy(old)
    wanted["status"]["observedGeneration"] = 7
    wanted["spec"]["activeDeadlineSeconds" if resource == "pods" else "minReadySeconds"] = 5
    if resource == "poddisruptionbudgets":
        wanted["spec"] = {"maxUnavailable": 2}

    main = sandbox.write(resource, wanted, old).obj
    status = sandbox.write(resource, wanted, old, "status").obj

    assert (main["spec"], main["status"]) == (wanted["spec"], old["status"])
    assert (status["spec"], status["status"]) == (old["spec"], wanted["status"])
    assert kind.behaviour.generation_changed(main, old)
    assert not kind.behaviour.generation_changed(status, old)
