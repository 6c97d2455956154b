"""What the server fills into built-in kinds, as recorded from a real one."""

from __future__ import annotations

from typing import Any

import pytest

from runtime.testing.kinds.registry import DefaultRegistry
from runtime.testing.kinds.services import ServiceAddresses
from runtime.types import GVR
from tests.runtime.testing.kinds.kinds_helpers import JSON, Sandbox, write

POD_SPEC = {"containers": [{"name": "main", "image": "example.com/app:1"}]}
DEFAULTED_CONTAINER = {
    "name": "main",
    "image": "example.com/app:1",
    "resources": {},
    "terminationMessagePath": "/dev/termination-log",
    "terminationMessagePolicy": "File",
    "imagePullPolicy": "IfNotPresent",
}
TEMPLATE = {"metadata": {"labels": {"app": "s"}}, "spec": POD_SPEC}
DEFAULTED_TEMPLATE_SPEC = {
    "containers": [DEFAULTED_CONTAINER],
    "restartPolicy": "Always",
    "terminationGracePeriodSeconds": 30,
    "dnsPolicy": "ClusterFirst",
    "securityContext": {},
    "schedulerName": "default-scheduler",
}
SELECTOR = {"matchLabels": {"app": "s"}}


def test_pod(sandbox: Sandbox) -> None:
    written = sandbox.write(
        "pods",
        {
            "spec": {
                "containers": [
                    {
                        "name": "main",
                        "image": "example.com/app:1",
                        "ports": [{"containerPort": 80}],
                        "env": [{"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
                        "livenessProbe": {"httpGet": {"port": 80}},
                        "resources": {"limits": {"cpu": "0.5", "memory": "1024Mi"}},
                    }
                ],
                "volumes": [{"name": "scratch"}, {"name": "conf", "configMap": {"name": "c"}}],
            },
            "status": {"phase": "Running"},
        },
    )

    assert written.errors == []
    pod = written.obj
    container = pod["spec"]["containers"][0]
    assert container["ports"] == [{"containerPort": 80, "protocol": "TCP"}]
    assert container["env"][0]["valueFrom"]["fieldRef"] == {"apiVersion": "v1", "fieldPath": "status.podIP"}
    assert container["resources"] == {
        "limits": {"cpu": "500m", "memory": "1Gi"},
        "requests": {"cpu": "500m", "memory": "1Gi"},
    }
    assert container["livenessProbe"] == {
        "httpGet": {"path": "/", "port": 80, "scheme": "HTTP"},
        "timeoutSeconds": 1,
        "periodSeconds": 10,
        "successThreshold": 1,
        "failureThreshold": 3,
    }
    assert pod["spec"]["volumes"] == [
        {"name": "scratch", "emptyDir": {}},
        {"name": "conf", "configMap": {"name": "c", "defaultMode": 420}},
    ]
    assert pod["spec"]["serviceAccount"] == pod["spec"]["serviceAccountName"] == "default"
    assert pod["spec"]["enableServiceLinks"] is True
    assert [each["key"] for each in pod["spec"]["tolerations"]] == [
        "node.kubernetes.io/not-ready",
        "node.kubernetes.io/unreachable",
    ]
    assert pod["status"] == {"phase": "Pending", "qosClass": "Guaranteed"}


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("app", "Always"),
        ("app:latest", "Always"),
        ("app:1", "IfNotPresent"),
        ("host:5000/app", "Always"),
        ("host:5000/app:1", "IfNotPresent"),
        ("app@sha256:0123", "IfNotPresent"),
    ],
)
def test_pull_policy_follows_the_tag(image: str, policy: str, sandbox: Sandbox) -> None:
    pod = sandbox.write("pods", {"spec": {"containers": [{"name": "main", "image": image}]}}).obj

    assert pod["spec"]["containers"][0]["imagePullPolicy"] == policy


@pytest.mark.parametrize(
    ("resources", "qos"),
    [
        ({}, "BestEffort"),
        ({"requests": {"cpu": "1"}}, "Burstable"),
        ({"limits": {"cpu": "1", "memory": "1Gi"}}, "Guaranteed"),
        ({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}}, "Burstable"),
    ],
)
def test_quality_of_service(resources: JSON, qos: str, sandbox: Sandbox) -> None:
    pod = {"spec": {"containers": [{"name": "main", "image": "a:1", "resources": resources}]}}

    assert sandbox.write("pods", pod).obj["status"]["qosClass"] == qos


def test_defaults_are_idempotent(sandbox: Sandbox) -> None:
    for resource, obj in (
        ("pods", {"spec": POD_SPEC}),
        ("statefulsets", {"spec": {"selector": SELECTOR, "template": TEMPLATE, "serviceName": "s"}}),
        ("deployments", {"spec": {"selector": SELECTOR, "template": TEMPLATE}}),
        ("daemonsets", {"spec": {"selector": SELECTOR, "template": TEMPLATE}}),
        ("services", {"spec": {"ports": [{"port": 80}]}}),
        ("cronjobs", {"spec": {"schedule": "* * * * *", "jobTemplate": {"spec": {"template": TEMPLATE}}}}),
    ):
        kind = sandbox.builtin(resource)
        once = sandbox.write(resource, obj).obj
        twice = {**once}
        kind.behaviour.default(twice)
        assert kind.behaviour.prune(twice) == []
        assert twice == once, resource


def test_stateful_set(sandbox: Sandbox) -> None:
    claim = {"metadata": {"name": "data"}, "spec": {"resources": {"requests": {"storage": "1Gi"}}}}
    written = sandbox.write(
        "statefulsets",
        {
            "spec": {
                "serviceName": "s",
                "selector": SELECTOR,
                "template": TEMPLATE,
                "volumeClaimTemplates": [claim],
            },
            "status": {"replicas": 5},
        },
    )

    assert written.errors == []
    assert written.obj["spec"] == {
        "replicas": 1,
        "serviceName": "s",
        "selector": SELECTOR,
        "template": {"metadata": {"labels": {"app": "s"}}, "spec": DEFAULTED_TEMPLATE_SPEC},
        "volumeClaimTemplates": [
            {
                "kind": "PersistentVolumeClaim",
                "apiVersion": "v1",
                "metadata": {"name": "data"},
                "spec": {"resources": {"requests": {"storage": "1Gi"}}, "volumeMode": "Filesystem"},
                "status": {"phase": "Pending"},
            }
        ],
        "podManagementPolicy": "OrderedReady",
        "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
        "revisionHistoryLimit": 10,
        "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain", "whenScaled": "Retain"},
    }
    assert written.obj["status"] == {"replicas": 0, "availableReplicas": 0}


def test_deployment(sandbox: Sandbox) -> None:
    spec = sandbox.write("deployments", {"spec": {"selector": SELECTOR, "template": TEMPLATE}}).obj["spec"]

    assert spec["strategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"},
    }
    assert (spec["replicas"], spec["revisionHistoryLimit"], spec["progressDeadlineSeconds"]) == (1, 10, 600)


def test_service(sandbox: Sandbox) -> None:
    written = sandbox.write("services", {"spec": {"selector": {"app": "x"}, "ports": [{"port": 80}]}})

    spec = written.obj["spec"]
    assert written.errors == []
    assert spec.pop("clusterIPs") == [spec.pop("clusterIP")]
    assert spec == {
        "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}],
        "selector": {"app": "x"},
        "type": "ClusterIP",
        "sessionAffinity": "None",
        "ipFamilies": ["IPv4"],
        "ipFamilyPolicy": "SingleStack",
        "internalTrafficPolicy": "Cluster",
    }
    assert written.obj["status"] == {"loadBalancer": {}}


def test_a_headless_service_gets_no_address(sandbox: Sandbox) -> None:
    spec = sandbox.write("services", {"spec": {"clusterIP": "None", "ports": [{"port": 80}]}}).obj["spec"]

    assert (spec["clusterIP"], spec["clusterIPs"]) == ("None", ["None"])


def test_a_service_keeps_its_address_and_node_port(sandbox: Sandbox) -> None:
    old = sandbox.write("services", {"spec": {"type": "NodePort", "ports": [{"port": 80, "name": "a"}]}}).obj
    assert 30000 <= old["spec"]["ports"][0]["nodePort"] < 32768

    new = {"spec": {"type": "NodePort", "ports": [{"port": 81, "name": "b"}, {"port": 80, "name": "a"}]}}
    written = sandbox.write("services", new, old)

    assert written.errors == []
    assert written.obj["spec"]["clusterIP"] == old["spec"]["clusterIP"]
    assert written.obj["spec"]["ports"][1]["nodePort"] == old["spec"]["ports"][0]["nodePort"]
    assert written.obj["spec"]["ports"][0]["nodePort"] != old["spec"]["ports"][0]["nodePort"]


def test_no_address_is_given_twice() -> None:
    services: list[JSON] = []
    addresses = ServiceAddresses("127.1.2.0/30", in_use=lambda: services)
    registry = DefaultRegistry(addresses=addresses)
    kind = registry.lookup(GVR("", "v1", "services"))
    assert kind is not None
    for _ in range(2):
        service = {"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}}
        kind.behaviour.default(service)
        kind.behaviour.prepare_create(service)
        services.append(service)

    assert sorted(each["spec"]["clusterIP"] for each in services) == ["127.1.2.1", "127.1.2.2"]
    with pytest.raises(RuntimeError, match="no cluster IP is left"):
        addresses.next_ip()
    gone = services.pop()
    assert addresses.next_ip() == gone["spec"]["clusterIP"]


def test_what_another_service_has_is_refused() -> None:
    services: list[JSON] = []
    registry = DefaultRegistry(addresses=ServiceAddresses(in_use=lambda: services))
    kind = registry.lookup(GVR("", "v1", "services"))
    assert kind is not None

    def service(name: str, **spec: Any) -> JSON:
        metadata = {"name": name, "namespace": "d"}
        return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"ports": [{"port": 80}], **spec}}

    first = write(kind, service("a", type="NodePort"))
    assert first.causes == []
    services.append(first.obj)
    ip, port = first.obj["spec"]["clusterIP"], first.obj["spec"]["ports"][0]["nodePort"]
    ports = [{"port": 80, "nodePort": port}]
    refused = write(kind, service("b", type="NodePort", clusterIP=ip, ports=ports))
    assert refused.causes == [("FieldValueInvalid", "spec.clusterIPs"), ("FieldValueInvalid", "spec.ports[0].nodePort")]
    assert write(kind, first.obj, first.obj).causes == []
    again = write(kind, service("a", clusterIP=ip))  # looked at before its name is
    assert again.causes == [("FieldValueInvalid", "spec.clusterIPs")]
    assert write(kind, service("b", type="NodePort")).causes == []
    second = write(kind, service("b")).obj
    changed = {**second, "spec": {**second["spec"], "type": "NodePort", "ports": ports}}
    assert write(kind, changed, second).causes == [("FieldValueInvalid", "spec.ports[0].nodePort")]


def test_a_headless_service_that_selects_nothing_has_both_families(sandbox: Sandbox) -> None:
    spec = sandbox.write("services", {"spec": {"clusterIP": "None"}}).obj["spec"]
    assert (spec["ipFamilies"], spec["ipFamilyPolicy"]) == (["IPv4", "IPv6"], "RequireDualStack")
    spec = sandbox.write("services", {"spec": {"clusterIP": "None", "ipFamilyPolicy": "SingleStack"}}).obj["spec"]
    assert (spec["ipFamilies"], spec["ipFamilyPolicy"]) == (["IPv4"], "SingleStack")
    spec = sandbox.write("services", {"spec": {"clusterIP": "None", "selector": {"a": "b"}}}).obj["spec"]
    assert (spec["ipFamilies"], spec["ipFamilyPolicy"]) == (["IPv4"], "SingleStack")


def test_a_port_of_two_protocols_is_one_port_of_a_node(sandbox: Sandbox) -> None:
    ports = [{"name": "t", "port": 53}, {"name": "u", "port": 53, "protocol": "UDP"}, {"name": "o", "port": 54}]
    written = sandbox.write("services", {"spec": {"type": "NodePort", "ports": ports}})
    assert written.causes == []
    given = [each["nodePort"] for each in written.obj["spec"]["ports"]]
    assert given[0] == given[1] != given[2]
    ports = [{"name": "t", "port": 53}, {"name": "u", "port": 53, "protocol": "UDP", "nodePort": 31000}]
    written = sandbox.write("services", {"spec": {"type": "NodePort", "ports": ports}})
    assert [each["nodePort"] for each in written.obj["spec"]["ports"]] == [31000, 31000]


def test_a_local_load_balancer_is_asked_for_its_health_at_a_port(sandbox: Sandbox) -> None:
    local = {"type": "LoadBalancer", "externalTrafficPolicy": "Local", "ports": [{"port": 80}]}
    old = sandbox.write("services", {"spec": local})
    assert old.causes == []
    port = old.obj["spec"]["healthCheckNodePort"]
    assert 30000 <= port < 32768
    kept = sandbox.write("services", {"spec": local}, old.obj)
    assert (kept.causes, kept.obj["spec"]["healthCheckNodePort"]) == ([], port)
    away = sandbox.write(
        "services", {**old.obj, "spec": {**old.obj["spec"], "externalTrafficPolicy": "Cluster"}}, old.obj
    )
    assert (away.causes, away.obj["spec"].get("healthCheckNodePort")) == ([], None)


def test_secret_text_becomes_data(sandbox: Sandbox) -> None:
    secret = sandbox.write("secrets", {"stringData": {"k": "vé"}, "data": {"o": "eA=="}}).obj

    assert secret["data"] == {"o": "eA==", "k": "dsOp"}
    assert secret["type"] == "Opaque"
    assert "stringData" not in secret


def test_claim(sandbox: Sandbox) -> None:
    claim = {"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}
    written = sandbox.write("persistentvolumeclaims", claim).obj

    assert written["metadata"]["finalizers"] == ["kubernetes.io/pvc-protection"]
    assert written["spec"]["volumeMode"] == "Filesystem"
    assert written["status"] == {"phase": "Pending"}


def test_namespace(sandbox: Sandbox) -> None:
    written = sandbox.write("namespaces", {}).obj

    assert written["spec"] == {"finalizers": ["kubernetes"]}
    assert written["status"] == {"phase": "Active"}
    assert written["metadata"]["labels"] == {"kubernetes.io/metadata.name": "x"}


def test_both_event_apis_show_the_same_event(sandbox: Sandbox) -> None:
    old_kind = sandbox.kind(GVR("", "v1", "events"))
    new_kind = sandbox.kind(GVR("events.k8s.io", "v1", "events"))
    assert old_kind.storage_key == new_kind.storage_key == ("", "events")
    new = {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": "e"},
        "reason": "Began",
        "note": "it began",
        "reportingController": "example.com/me",
        "regarding": {"kind": "Pod", "name": "p"},
        "series": {"count": 2, "lastObservedTime": "2020-01-01T00:00:05.000000Z"},
    }
    assert new_kind.to_storage is not None
    assert new_kind.from_storage is not None

    stored = new_kind.to_storage(dict(new))

    assert stored["apiVersion"] == "v1"
    assert (stored["message"], stored["reportingComponent"]) == ("it began", "example.com/me")
    assert old_kind.field_labels(stored)["involvedObject.name"] == "p"
    assert {key: value for key, value in new_kind.from_storage(stored).items() if key in new} == new


def test_events_of_the_old_api_show_their_empty_fields(sandbox: Sandbox) -> None:
    event = sandbox.write("events", {"involvedObject": {"namespace": "d", "name": "p"}, "reason": "X"}).obj

    assert event["eventTime"] is None
    assert event["reportingComponent"] == event["reportingInstance"] == ""


def test_every_status_is_complete(sandbox: Sandbox) -> None:
    budget = sandbox.write("poddisruptionbudgets", {"spec": {"maxUnavailable": 1}, "status": {"currentHealthy": 9}})

    assert budget.obj["status"] == {
        "disruptionsAllowed": 0,
        "currentHealthy": 0,
        "desiredHealthy": 0,
        "expectedPods": 0,
    }


def test_a_job_selects_its_own_pods(sandbox: Sandbox) -> None:
    job = {
        "metadata": {"name": "j", "uid": "u-1"},
        "spec": {"template": {"spec": {**POD_SPEC, "restartPolicy": "Never"}}},
    }
    written = sandbox.write("jobs", job)

    assert written.errors == []
    assert written.obj["spec"]["selector"] == {"matchLabels": {"batch.kubernetes.io/controller-uid": "u-1"}}
    assert written.obj["spec"]["template"]["metadata"]["labels"]["batch.kubernetes.io/job-name"] == "j"


def test_a_service_loses_with_its_type_what_only_that_type_has(sandbox: Sandbox) -> None:
    local = {"type": "LoadBalancer", "loadBalancerClass": "a.b/c", "externalTrafficPolicy": "Local"}
    old = sandbox.write("services", {"spec": {**local, "ports": [{"port": 80}]}}).obj
    written = sandbox.write("services", {**old, "spec": {**old["spec"], "type": "ClusterIP"}}, old)
    plain = sandbox.write("services", {"spec": {"ports": [{"port": 80}]}}).obj["spec"]
    assert written.causes == []
    assert {**written.obj["spec"], "clusterIP": "", "clusterIPs": []} == {**plain, "clusterIP": "", "clusterIPs": []}

    asked = {**old["spec"], "type": "ClusterIP", "ports": [{"port": 80, "nodePort": 31000}]}
    causes = sandbox.write("services", {**old, "spec": asked}, old).causes
    assert causes == [("FieldValueForbidden", "spec.ports[0].nodePort")]

    named = {**old["spec"], "type": "ExternalName", "externalName": "x.y"}
    written = sandbox.write("services", {**old, "spec": named}, old)
    assert written.causes == []
    assert set(written.obj["spec"]) == {"type", "externalName", "ports", "sessionAffinity"}
