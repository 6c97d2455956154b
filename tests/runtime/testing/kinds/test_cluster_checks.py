"""What is refused of the kinds that configure a cluster and of workloads, and what is only warned of."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from tests.runtime.testing.kinds.kinds_helpers import JSON, Sandbox

REQUIRED, INVALID, FORBIDDEN = "FieldValueRequired", "FieldValueInvalid", "FieldValueForbidden"
UNSUPPORTED, DUPLICATE = "FieldValueNotSupported", "FieldValueDuplicate"
CONTAINERS = [{"name": "m", "image": "a:1"}]
TEMPLATE = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": CONTAINERS}}
SELECTING = ("deployments", "replicasets", "daemonsets", "statefulsets")
SELECTED = {"selector": {"matchLabels": {"a": "b"}}, "template": TEMPLATE}
JOB_TEMPLATE = {"spec": {"containers": CONTAINERS, "restartPolicy": "Never"}}
TARGET = {"scaleTargetRef": {"kind": "Deployment", "name": "d"}, "maxReplicas": 2}
HOOK: dict[str, Any] = {
    "name": "a.b.c",
    "clientConfig": {"url": "https://x"},
    "sideEffects": "None",
    "admissionReviewVersions": ["v1"],
}


def backend(**service: Any) -> JSON:
    return {"defaultBackend": {"service": {"name": "s", "port": {"number": 80}, **service}}}


def paths(**path: Any) -> JSON:
    given = {"path": "/", "pathType": "Prefix", **backend()["defaultBackend"]}
    given = {"path": "/", "pathType": "Prefix", "backend": {"service": given["service"]}, **path}
    return {"rules": [{"http": {"paths": [given]}}]}


CASES: list[tuple[str, JSON, list[tuple[str, str]]]] = [
    ("deployments", {"strategy": {"type": "Sometimes"}, **SELECTED}, [(UNSUPPORTED, "spec.strategy")]),
    (
        "deployments",
        {"strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": "0%"}}, **SELECTED},
        [(INVALID, "spec.strategy.rollingUpdate.maxUnavailable")],
    ),
    (
        "deployments",
        {"strategy": {"rollingUpdate": {"maxSurge": "150%", "maxUnavailable": "101%"}}, **SELECTED},
        [(INVALID, "spec.strategy.rollingUpdate.maxUnavailable")],
    ),
    ("deployments", {"minReadySeconds": 600, **SELECTED}, [(INVALID, "spec.progressDeadlineSeconds")]),
    (
        "replicasets",
        {**SELECTED, "template": {**TEMPLATE, "spec": {"containers": CONTAINERS, "activeDeadlineSeconds": 1}}},
        [(FORBIDDEN, "spec.template.spec.activeDeadlineSeconds")],
    ),
    (
        "statefulsets",
        {
            **SELECTED,
            "serviceName": "s",
            "ordinals": {"start": -1},
            "template": {**TEMPLATE, "spec": {"containers": CONTAINERS, "activeDeadlineSeconds": 1}},
        },
        [(INVALID, "spec.ordinals.start"), (FORBIDDEN, "spec.template.spec.activeDeadlineSeconds")],
    ),
    ("daemonsets", {"updateStrategy": {"type": "X"}, **SELECTED}, [(UNSUPPORTED, "spec.updateStrategy")]),
    (
        "daemonsets",
        {"updateStrategy": {"rollingUpdate": {"maxSurge": 1}}, **SELECTED},
        [(INVALID, "spec.updateStrategy.rollingUpdate.maxSurge")],
    ),
    (
        "daemonsets",
        {"updateStrategy": {"rollingUpdate": {"maxUnavailable": 0}}, **SELECTED},
        [(REQUIRED, "spec.updateStrategy.rollingUpdate.maxUnavailable")],
    ),
    ("daemonsets", {"template": TEMPLATE}, [(INVALID, "spec.template.metadata.labels")]),
    (
        "daemonsets",
        {**SELECTED, "template": {**TEMPLATE, "spec": {"containers": CONTAINERS, "activeDeadlineSeconds": 1}}},
        [(FORBIDDEN, "spec.template.spec.activeDeadlineSeconds")],
    ),
    *((each, {**SELECTED, "selector": {}}, [(INVALID, "spec.selector")]) for each in SELECTING),
    (
        "jobs",
        {"selector": {"matchLabels": {"a": "b"}}, "template": {**JOB_TEMPLATE, "metadata": {"labels": {"a": "b"}}}},
        [(INVALID, "spec.selector")],
    ),
    (
        "jobs",
        {"template": {**JOB_TEMPLATE, "metadata": {"labels": {"job-name": "y"}}}},
        [(INVALID, "spec.template.metadata.labels[job-name]")],
    ),
    (
        "jobs",
        {
            "manualSelector": True,
            "selector": {"matchLabels": {"a": "b"}},
            "template": {**JOB_TEMPLATE, "metadata": {"labels": {"a": "b"}}},
        },
        [],
    ),
    (
        "jobs",
        {"template": {"spec": {**JOB_TEMPLATE["spec"], "restartPolicy": "X"}}},
        [(UNSUPPORTED, "spec.template.spec.restartPolicy")] * 2,
    ),
    (
        "cronjobs",
        {
            "schedule": "@daily",
            "jobTemplate": {"spec": {"selector": {}, "manualSelector": True, "template": JOB_TEMPLATE}},
        },
        [(INVALID, "spec.jobTemplate.spec.selector"), (UNSUPPORTED, "spec.jobTemplate.spec.manualSelector")],
    ),
    (
        "jobs",
        {"completionMode": "Indexed", "parallelism": 2, "template": JOB_TEMPLATE},
        [(REQUIRED, "spec.completions")],
    ),
    ("jobs", {"backoffLimitPerIndex": 1, "template": JOB_TEMPLATE}, [(INVALID, "spec.backoffLimitPerIndex")]),
    ("jobs", {"manualSelector": True, "template": JOB_TEMPLATE}, [(REQUIRED, "spec.selector")]),
    *(
        ("cronjobs", {"schedule": schedule, "jobTemplate": {"spec": {"template": JOB_TEMPLATE}}}, causes)
        for schedule, causes in [
            ("*/5 0-6 1,15 jan-jun mon", []),
            ("@hourly", []),
            ("* * * *", [(INVALID, "spec.schedule")]),
            ("60 * * * *", [(INVALID, "spec.schedule")]),
            ("* * * * tuesday", [(INVALID, "spec.schedule")]),
            ("TZ=UTC * * * * *", [(INVALID, "spec.schedule")]),
        ]
    ),
    (
        "cronjobs",
        {"schedule": "@daily", "timeZone": "Mars/Base", "jobTemplate": {"spec": {"template": JOB_TEMPLATE}}},
        [(INVALID, "spec.timeZone")],
    ),
    ("horizontalpodautoscalers", TARGET, []),
    (
        "horizontalpodautoscalers",
        {"scaleTargetRef": {}, "maxReplicas": 0, "minReplicas": 2},
        [
            (INVALID, "spec.maxReplicas"),
            (INVALID, "spec.maxReplicas"),
            (REQUIRED, "spec.scaleTargetRef.kind"),
            (REQUIRED, "spec.scaleTargetRef.name"),
        ],
    ),
    (
        "horizontalpodautoscalers",
        {**TARGET, "metrics": [{"type": "Pods"}, {"type": "Odd"}]},
        [(REQUIRED, "spec.metrics[0].pods"), (UNSUPPORTED, "spec.metrics[1].type")],
    ),
    ("ingresses", {}, [(INVALID, "spec")]),
    ("ingresses", backend(), []),
    ("ingresses", backend(port={}), [(REQUIRED, "spec.defaultBackend")]),
    ("ingresses", backend(port={"name": "a", "number": 1}), [(INVALID, "spec.defaultBackend")]),
    ("ingresses", backend(name="1a"), []),
    ("ingresses", {"defaultBackend": {}}, [(INVALID, "spec.defaultBackend")]),
    ("ingresses", backend(name="A"), [(INVALID, "spec.defaultBackend.service.name")]),
    ("ingresses", paths(), []),
    ("ingresses", paths(pathType=None, path="x", backend={}), [(REQUIRED, "spec.rules[0].http.paths[0].pathType")]),
    ("ingresses", paths(path="x//y"), [(INVALID, "spec.rules[0].http.paths[0].path")] * 2),
    ("ingresses", {**backend(), "rules": [{"host": "*.x.com"}, {"host": "x.*"}]}, [(INVALID, "spec.rules[1].host")]),
    ("ingresses", {**backend(), "tls": [{"hosts": ["A"]}]}, [(INVALID, "spec.tls[0].hosts[0]")]),
    ("ingressclasses", {"controller": "x"}, [(INVALID, "spec.controller")]),
    (
        "ingressclasses",
        {"controller": "x.io/y", "parameters": {"kind": "K", "name": "n", "scope": "Namespace"}},
        [(REQUIRED, "spec.parameters.namespace")],
    ),
    (
        "networkpolicies",
        {"ingress": [{"from": [{}, {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["11.0.0.0/9"]}}]}]},
        [(REQUIRED, "spec.ingress[0].from[0]"), (INVALID, "spec.ingress[0].from[1].ipBlock.except[0]")],
    ),
    (
        "networkpolicies",
        {"egress": [{"ports": [{"port": 9, "endPort": 8}, {"port": "http", "endPort": 8}]}], "policyTypes": ["X"]},
        [
            (INVALID, "spec.egress[0].ports[0].endPort"),
            (INVALID, "spec.egress[0].ports[1].endPort"),
            (UNSUPPORTED, "spec.policyTypes[0]"),
        ],
    ),
    (
        "nodes",
        {"taints": [{"key": "a", "effect": "NoSchedule"}, {"key": "a", "effect": "NoSchedule"}, {"key": "_"}]},
        [(DUPLICATE, "spec.taints[1]"), (INVALID, "spec.taints[2].key"), (REQUIRED, "spec.taints[2].effect")],
    ),
    (
        "persistentvolumes",
        {},
        [(REQUIRED, "spec.accessModes"), (REQUIRED, "spec.capacity"), (REQUIRED, "spec")],
    ),
    (
        "persistentvolumes",
        {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "0"}, "hostPath": {"path": "/"}, "nfs": {}},
        [(INVALID, "spec.capacity[storage]"), (FORBIDDEN, "spec.nfs")],
    ),
    ("resourcequotas", {"hard": {"pods": "-1"}}, [(INVALID, "spec.hard[pods]")]),
    (
        "resourcequotas",
        {"hard": {"a.io/b": "1", "cpu": "1.5", "nope": "1", "pods": "1.5", "requests.hugepages-2Mi": "1"}},
        [(INVALID, "spec.hard[nope]"), (INVALID, "spec.hard[pods]")],
    ),
    ("resourcequotas", {"hard": {"a.io/b": "1", "pods": "1"}, "scopes": ["BestEffort", "Terminating"]}, []),
    ("resourcequotas", {"hard": {"cpu": "1"}, "scopes": ["BestEffort"]}, [(INVALID, "spec.scopes")]),
    ("resourcequotas", {"scopes": ["X", "Terminating", "NotTerminating"]}, [(INVALID, "spec.scopes")] * 2),
    (
        "limitranges",
        {"limits": [{"type": "Container", "min": {"cpu": "2"}, "max": {"cpu": "1"}}]},
        [(INVALID, f"spec.limits[0].{field}[cpu]") for field in ("min", "defaultRequest", "default")],
    ),
    (
        "limitranges",
        {
            "limits": [
                {"type": "Container", "max": {"cpu": "1"}, "default": {"cpu": "2"}, "defaultRequest": {"cpu": "3"}},
                {"type": "Pod", "min": {"cpu": "1"}, "max": {"cpu": "3"}, "maxLimitRequestRatio": {"cpu": "4"}},
                {"type": "X", "maxLimitRequestRatio": {"cpu": "500m"}, "min": {"cpu": "0"}, "max": {"cpu": "1"}},
            ]
        },
        [
            (INVALID, "spec.limits[0].defaultRequest[cpu]"),
            (INVALID, "spec.limits[0].defaultRequest[cpu]"),
            (INVALID, "spec.limits[0].default[cpu]"),
            (INVALID, "spec.limits[1].maxLimitRequestRatio[cpu]"),
            (INVALID, "spec.limits[2].maxLimitRequestRatio[cpu]"),
        ],
    ),
    (
        "limitranges",
        {
            "limits": [
                {"type": "Pod", "default": {"cpu": "1"}},
                {"type": "Pod", "min": {"cpu": "2"}, "max": {"cpu": "1"}},
            ]
        },
        [
            (FORBIDDEN, "spec.limits[0].default"),
            (DUPLICATE, "spec.limits[1].type"),
            (INVALID, "spec.limits[1].min[cpu]"),
        ],
    ),
    ("servicecidrs", {}, [(REQUIRED, "spec.cidrs")]),
    ("servicecidrs", {"cidrs": ["10.0.0.0/24", "x"]}, [(INVALID, "spec.cidrs[1]")]),
    (
        "certificatesigningrequests",
        {"signerName": "x", "expirationSeconds": 5},
        [(REQUIRED, "spec.usages"), (INVALID, "spec.signerName"), (INVALID, "spec.expirationSeconds")],
    ),
    ("validatingadmissionpolicybindings", {}, [(REQUIRED, "spec.policyName"), (REQUIRED, "spec.validationActions")]),
    ("volumeattachments", {}, [(REQUIRED, "spec.attacher"), (REQUIRED, "spec.nodeName")]),
]


def mounts(**volume: Any) -> JSON:
    """A Pod with that volume, mounted."""
    container = {**CONTAINERS[0], "volumeMounts": [{"name": "v", "mountPath": "/v"}]}
    return {"containers": [container], "volumes": [{"name": "v", **volume}]}


CASES += [
    ("pods", mounts(secret={"secretName": "s"}), []),
    (
        "services",
        {"type": "LoadBalancer", "clusterIP": "None", "ports": [{"port": 10250}], "loadBalancerClass": "x"},
        [(INVALID, "spec.ports[0]"), (INVALID, "spec.clusterIPs[0]")],
    ),
    (
        "services",
        {"type": "ExternalName", "externalName": "a.b", "clusterIPs": ["1.2.3.4"]},
        [(FORBIDDEN, "spec.clusterIPs")],
    ),
    (
        "services",
        {
            "ports": [{"port": 1}],
            "externalTrafficPolicy": "Local",
            "healthCheckNodePort": 30000,
            "internalTrafficPolicy": "X",
            "loadBalancerClass": "x",
            "sessionAffinity": "ClientIP",
            "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 86401}},
        },
        [
            (INVALID, "spec.sessionAffinityConfig.clientIP.timeoutSeconds"),
            (INVALID, "spec.externalTrafficPolicy"),
            (INVALID, "spec.healthCheckNodePort"),
            (UNSUPPORTED, "spec.internalTrafficPolicy"),
            (FORBIDDEN, "spec.loadBalancerClass"),
        ],
    ),
    ("services", {"ports": [{"port": 1}], "externalIPs": ["x"]}, [(INVALID, "spec.externalIPs[0]")]),
    ("services", {"ports": [{"port": 1}], "ipFamilyPolicy": "RequireDualStack"}, [(INVALID, "spec.ipFamilyPolicy")]),
    ("services", {"ports": [{"port": 1}], "ipFamilyPolicy": "PreferDualStack"}, []),
    ("services", {"ports": [{"port": 1}], "ipFamilies": ["IPv6"]}, [(INVALID, "spec.ipFamilies[0]")]),
    (
        "services",
        {"ports": [{"port": 1}], "ipFamilies": ["IPv4", "IPv6"], "ipFamilyPolicy": "SingleStack"},
        [(INVALID, "spec.ipFamilyPolicy")],
    ),
    ("services", {"clusterIP": "None", "ipFamilies": ["IPv6"]}, []),
    ("services", {"ports": [{"port": 1, "nodePort": 30000}]}, [(FORBIDDEN, "spec.ports[0].nodePort")]),
    (
        "services",
        {"type": "NodePort", "sessionAffinity": "X", "ports": [{"port": 1}, {"port": 2, "nodePort": 29999}]},
        [(INVALID, "spec.ports[1].nodePort")],
    ),
    (
        "pods",
        {
            "containers": [
                {
                    **CONTAINERS[0],
                    "env": [
                        {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "c"}}},
                        {"name": "B", "valueFrom": {"secretKeyRef": {"key": "k"}}},
                        {"name": "C", "valueFrom": {"fieldRef": {}}},
                        {"name": "D", "valueFrom": {"resourceFieldRef": {}}},
                    ],
                    "envFrom": [{}, {"secretRef": {}}, {"secretRef": {"name": "s"}, "configMapRef": {"name": "c"}}],
                }
            ]
        },
        [
            (REQUIRED, "spec.containers[0].env[0].valueFrom.configMapKeyRef.key"),
            (REQUIRED, "spec.containers[0].env[1].valueFrom.secretKeyRef.name"),
            (REQUIRED, "spec.containers[0].env[2].valueFrom.fieldRef.fieldPath"),
            (REQUIRED, "spec.containers[0].env[3].valueFrom.resourceFieldRef.resource"),
            (INVALID, "spec.containers[0].envFrom[0]"),
            (REQUIRED, "spec.containers[0].envFrom[1].secretRef.name"),
            (INVALID, "spec.containers[0].envFrom[2]"),
        ],
    ),
    (
        "pods",
        mounts(secret={"defaultMode": 512, "items": [{"key": "k", "path": "/a"}, {"path": "../b"}]}),
        [
            (REQUIRED, "spec.volumes[0].secret.secretName"),
            (INVALID, "spec.volumes[0].secret.defaultMode"),
            (INVALID, "spec.volumes[0].secret.items[0].path"),
            (REQUIRED, "spec.volumes[0].secret.items[1].key"),
            (INVALID, "spec.volumes[0].secret.items[1].path"),
            ("FieldValueNotFound", "spec.containers[0].volumeMounts[0].name"),
        ],
    ),
    (
        "pods",
        mounts(emptyDir={"sizeLimit": "-1"}, hostPath={}),
        [
            (FORBIDDEN, "spec.volumes[0].hostPath"),
            (FORBIDDEN, "spec.volumes[0].emptyDir.sizeLimit"),
            ("FieldValueNotFound", "spec.containers[0].volumeMounts[0].name"),
        ],
    ),
    (
        "pods",
        {
            "containers": CONTAINERS,
            "tolerations": [
                {"operator": "Equal", "value": "x"},
                {"key": "a", "operator": "Exists", "value": "b"},
                {"key": "a", "operator": "Near"},
                {"key": "a", "effect": "NoSchedule", "tolerationSeconds": 3},
            ],
        },
        [
            (INVALID, "spec.tolerations[0].operator"),
            (INVALID, "spec.tolerations[1].operator"),
            (UNSUPPORTED, "spec.tolerations[2].operator"),
            (INVALID, "spec.tolerations[3].effect"),
        ],
    ),
    (
        "pods",
        {
            "hostNetwork": True,
            "containers": [
                {**CONTAINERS[0], "ports": [{"containerPort": 1, "hostPort": 2}, {"containerPort": 2, "name": "b"}]}
            ],
            "hostAliases": [{"ip": "x"}],
            "activeDeadlineSeconds": 0,
        },
        [
            (INVALID, "spec.containers[0].ports[0].containerPort"),
            (DUPLICATE, "spec.containers[0].ports[1].hostPort"),
            (INVALID, "spec.activeDeadlineSeconds"),
            (INVALID, "spec.hostAliases[0].ip"),
        ],
    ),
    ("pods", {"containers": CONTAINERS, "terminationGracePeriodSeconds": -1}, []),
]


@pytest.mark.parametrize(("resource", "spec", "causes"), CASES)
def test_refused(resource: str, spec: JSON, causes: list[tuple[str, str]], sandbox: Sandbox) -> None:
    assert sandbox.write(resource, {"spec": spec}).causes == causes


@pytest.mark.parametrize(
    ("resource", "obj", "causes"),
    [
        ("priorityclasses", {"value": 2_000_000_000}, [(FORBIDDEN, "value")]),
        ("storageclasses", {"volumeBindingMode": "X"}, [(REQUIRED, "provisioner"), (UNSUPPORTED, "volumeBindingMode")]),
        ("runtimeclasses", {"handler": "A"}, [(INVALID, "handler")]),
        ("podtemplates", {}, [(REQUIRED, "template.spec.containers")]),
        ("podtemplates", {"template": JOB_TEMPLATE}, []),
        (
            "cronjobs",
            {
                "metadata": {"name": "a" * 53},
                "spec": {"schedule": "@daily", "jobTemplate": {"spec": {"template": JOB_TEMPLATE}}},
            },
            [(INVALID, "metadata.name")],
        ),
        ("controllerrevisions", {"revision": -1}, [(REQUIRED, "data"), (INVALID, "revision")]),
        ("secrets", {"type": "kubernetes.io/basic-auth"}, [(REQUIRED, "data[username]"), (REQUIRED, "data[password]")]),
        ("secrets", {"type": "kubernetes.io/basic-auth", "data": {"password": "YQ=="}}, []),
        (
            "secrets",
            {"type": "kubernetes.io/service-account-token"},
            [(REQUIRED, "metadata.annotations[kubernetes.io/service-account.name]")],
        ),
        (
            "secrets",
            {"type": "kubernetes.io/dockerconfigjson", "data": {".dockerconfigjson": "YQ=="}},
            [(INVALID, "data[.dockerconfigjson]")],
        ),
        ("validatingwebhookconfigurations", {"webhooks": [HOOK]}, []),
        (
            "validatingwebhookconfigurations",
            {"webhooks": [{**HOOK, "name": "a.b", "sideEffects": "Unknown", "timeoutSeconds": 31}]},
            [
                (INVALID, "webhooks[0].name"),
                (UNSUPPORTED, "webhooks[0].sideEffects"),
                (INVALID, "webhooks[0].timeoutSeconds"),
            ],
        ),
        (
            "mutatingwebhookconfigurations",
            {"webhooks": [{"name": "a.b.c"}]},
            [
                (REQUIRED, "webhooks[0].sideEffects"),
                (REQUIRED, "webhooks[0].admissionReviewVersions"),
                (REQUIRED, "webhooks[0].clientConfig"),
            ],
        ),
        (
            "endpointslices",
            {
                "addressType": "IPv4",
                "endpoints": [{"addresses": ["10.0.0.1", "10.0.0.1", "::1", "x"]}, {}, {"addresses": ["1.1.1.1"]}],
                "ports": [{"name": "a"}, {"name": "a", "protocol": "X"}, {"name": "A"}],
            },
            [
                (DUPLICATE, "endpoints[0].addresses[1]"),
                (INVALID, "endpoints[0].addresses[2]"),
                (INVALID, "endpoints[0].addresses[3]"),
                (REQUIRED, "endpoints[1].addresses"),
                (DUPLICATE, "ports[1].name"),
                (UNSUPPORTED, "ports[1].protocol"),
                (INVALID, "ports[2].name"),
            ],
        ),
        (
            "endpointslices",
            {"addressType": "FQDN", "endpoints": [{"addresses": ["a.b", "A"], "hostname": "x.y"}]},
            [(INVALID, "endpoints[0].addresses[1]"), (INVALID, "endpoints[0].hostname")],
        ),
        ("ipaddresses", {"spec": {}}, [(INVALID, "metadata.name"), (REQUIRED, "spec.parentRef")]),
    ],
)
def test_refused_as_a_whole(resource: str, obj: JSON, causes: list[tuple[str, str]], sandbox: Sandbox) -> None:
    assert sandbox.write(resource, obj).causes == causes


def test_a_secret_may_be_as_large_as_its_decoded_data(sandbox: Sandbox) -> None:
    for size, refused in ((1024 * 1024, False), (1024 * 1024 + 1, True)):
        data = base64.b64encode(bytes(size)).decode()
        assert bool(sandbox.write("secrets", {"data": {"k": data}}).causes) == refused


@pytest.mark.parametrize(
    ("resource", "before", "change", "causes"),
    [
        ("priorityclasses", {"value": 1}, {"value": 2}, [(FORBIDDEN, "value")]),
        ("priorityclasses", {"value": 1}, {"preemptionPolicy": "Never"}, [(INVALID, "preemptionPolicy")]),
        ("storageclasses", {"provisioner": "p"}, {"provisioner": "q"}, [(FORBIDDEN, "provisioner")]),
        (
            "storageclasses",
            {"provisioner": "p"},
            {"volumeBindingMode": "WaitForFirstConsumer"},
            [(INVALID, "volumeBindingMode")],
        ),
        ("runtimeclasses", {"handler": "a"}, {"handler": "b"}, [(INVALID, "handler")]),
        ("controllerrevisions", {"data": {"a": 1}, "revision": 1}, {"data": {"a": 2}}, [(INVALID, "data")]),
        (
            "pods",
            {"spec": {"containers": CONTAINERS}},
            {"spec": {"containers": [*CONTAINERS, {"name": "n", "image": "b"}]}},
            [(FORBIDDEN, "spec.containers")],
        ),
        (
            "pods",
            {"spec": {"containers": CONTAINERS}},
            {"spec": {"tolerations": []}},
            [(FORBIDDEN, "spec.tolerations")],
        ),
        ("pods", {"spec": {"containers": CONTAINERS}}, {"spec": {"activeDeadlineSeconds": 9}}, []),
        (
            "pods",
            {"spec": {"containers": CONTAINERS, "activeDeadlineSeconds": 9}},
            {"spec": {"activeDeadlineSeconds": 10}},
            [(INVALID, "spec.activeDeadlineSeconds")],
        ),
        (
            "pods",
            {"spec": {"containers": CONTAINERS}},
            {"spec": {"schedulingGates": [{"name": "g"}]}},
            [(FORBIDDEN, "spec.schedulingGates")],
        ),
        ("pods", {"spec": {"containers": CONTAINERS}}, {"spec": {"dnsPolicy": "Default"}}, [(FORBIDDEN, "spec")]),
        ("jobs", {"spec": {"template": JOB_TEMPLATE}}, {"spec": {"completions": 3}}, [(INVALID, "spec.completions")]),
        ("jobs", {"spec": {"template": JOB_TEMPLATE}}, {"spec": {"parallelism": 3, "suspend": True}}, []),
        (
            "cronjobs",
            {
                "metadata": {"name": "a" * 53},
                "spec": {"schedule": "@daily", "jobTemplate": {"spec": {"template": JOB_TEMPLATE}}},
            },
            {"spec": {"schedule": "@hourly"}},
            [],
        ),
        (
            "ingressclasses",
            {"spec": {"controller": "x.io/y"}},
            {"spec": {"controller": "x.io/z"}},
            [(INVALID, "spec.controller")],
        ),
    ],
)
def test_updates(resource: str, before: JSON, change: JSON, causes: list[tuple[str, str]], sandbox: Sandbox) -> None:
    old = sandbox.write(resource, before).obj
    changed = {**old, **change}
    if "spec" in change:
        changed["spec"] = {**old["spec"], **change["spec"]}

    assert sandbox.write(resource, changed, old).causes == causes


def test_a_suspended_job_may_still_be_told_where_to_run(sandbox: Sandbox) -> None:
    for suspended, causes in ((True, []), (False, [(INVALID, "spec.template")])):
        old = sandbox.write("jobs", {"spec": {"suspend": suspended, "template": JOB_TEMPLATE}}).obj
        pod = {**old["spec"]["template"]["spec"], "nodeSelector": {"a": "b"}}
        changed = {**old, "spec": {**old["spec"], "template": {**old["spec"]["template"], "spec": pod}}}
        assert sandbox.write("jobs", changed, old).causes == causes


@pytest.mark.parametrize(
    ("resource", "spec", "texts"),
    [
        (
            "pods",
            {"containers": [{**CONTAINERS[0], "env": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]}]},
            ['spec.containers[0].env[1]: hides previous definition of "A", which may be dropped when using apply'],
        ),
        (
            "pods",
            {"containers": [{**CONTAINERS[0], "env": [{"name": "A", "value": "1"}, {"name": "A", "value": "$(A)2"}]}]},
            [],
        ),
        (
            "pods",
            {"containers": [{**CONTAINERS[0], "ports": [{"containerPort": 1}, {"containerPort": 1, "name": "b"}]}]},
            ["spec.containers[0].ports[1]: duplicate port definition with spec.containers[0].ports[0]"],
        ),
        (
            "deployments",
            {**SELECTED, "template": {**TEMPLATE, "spec": {"containers": CONTAINERS, "imagePullSecrets": [{}]}}},
            ['spec.template.spec.imagePullSecrets[0].name: invalid empty name ""'],
        ),
        (
            "services",
            {"ports": [{"port": 1}], "externalName": "x.y"},
            ['spec.externalName is ignored when spec.type is not "ExternalName"'],
        ),
        (
            "services",
            {"ports": [{"port": 1}], "clusterIP": "None", "sessionAffinity": "ClientIP"},
            ["spec.SessionAffinity is ignored for headless services"],
        ),
    ],
)
def test_warned_of(resource: str, spec: JSON, texts: list[str], sandbox: Sandbox) -> None:
    found = sandbox.write(resource, {"spec": spec})

    assert (found.warnings, found.causes) == (texts, [])


@pytest.mark.parametrize(
    ("resource", "spec"),
    [
        *((each, SELECTED) for each in ("deployments", "replicasets")),
        ("replicationcontrollers", {"template": TEMPLATE}),
        ("jobs", {"template": JOB_TEMPLATE}),
        ("cronjobs", {"schedule": "@daily", "jobTemplate": {"spec": {"template": JOB_TEMPLATE}}}),
    ],
)
def test_names_that_pods_cannot_be_called_after_are_warned_of(resource: str, spec: JSON, sandbox: Sandbox) -> None:
    old = sandbox.write(resource, {"metadata": {"name": "a.b"}, "spec": spec})
    assert (len(old.warnings), old.causes) == (1, [])
    assert "is used in Pod names and hostnames" in old.warnings[0]
    assert old.warnings[0].endswith("[must not contain dots]")
    assert sandbox.write(resource, old.obj, old.obj).warnings == []


def test_an_annotation_that_a_field_took_the_place_of_is_warned_of(sandbox: Sandbox) -> None:
    metadata = {"name": "i", "annotations": {"kubernetes.io/ingress.class": "x"}}
    old = sandbox.write("ingresses", {"metadata": metadata, "spec": backend()})
    assert old.warnings == [
        "annotation \"kubernetes.io/ingress.class\" is deprecated, please use 'spec.ingressClassName' instead"
    ]
    assert sandbox.write("ingresses", old.obj, old.obj).warnings == []
    said = sandbox.write("ingresses", {"metadata": metadata, "spec": {**backend(), "ingressClassName": "x"}})
    assert (said.warnings, said.causes) == ([], [])


def test_that_webhooks_and_policies_are_not_asked_is_told_in_the_log_only(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    for resource in (
        *("mutatingwebhookconfigurations", "validatingwebhookconfigurations"),
        *("mutatingadmissionpolicies", "validatingadmissionpolicies"),
        *("mutatingadmissionpolicybindings", "validatingadmissionpolicybindings"),
    ):
        caplog.clear()
        kind = sandbox.builtin(resource)
        assert sandbox.write(resource, {"spec": {}}).warnings == []
        assert kind.warning == ""
        assert [each.getMessage().split()[0] for each in caplog.records] == [kind.kind]


@pytest.mark.parametrize(
    ("resource", "status", "fields"),
    [
        ("deployments", {"replicas": 1, "updatedReplicas": 2}, ["updatedReplicas"]),
        ("deployments", {"replicas": 2, "availableReplicas": 1}, ["availableReplicas"]),
        (
            "deployments",
            {"readyReplicas": 1, "availableReplicas": 2},
            ["readyReplicas", "availableReplicas", "availableReplicas"],
        ),
        ("replicasets", {"replicas": 1, "fullyLabeledReplicas": 2}, ["fullyLabeledReplicas"]),
        ("replicasets", {"replicas": -1}, ["replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas"]),
        ("replicationcontrollers", {"replicas": 1, "readyReplicas": 2}, ["readyReplicas"]),
        ("daemonsets", {"numberReady": -1, "observedGeneration": -1}, ["numberReady", "observedGeneration"]),
        ("statefulsets", {"replicas": 1, "currentReplicas": 2}, ["currentReplicas"]),
    ],
)
def test_a_status_counts_right(resource: str, status: JSON, fields: list[str], sandbox: Sandbox) -> None:
    spec = {"template": TEMPLATE} if resource == "replicationcontrollers" else SELECTED
    old = sandbox.write(resource, {"spec": spec}).obj
    found = sandbox.write(resource, {**old, "status": status}, old, "status")
    assert found.causes == [(INVALID, f"status.{field}") for field in fields]


def test_pods_and_templates_are_looked_at_when_they_are_new(sandbox: Sandbox) -> None:
    odd = {"containers": CONTAINERS, "imagePullSecrets": [{}]}
    old = sandbox.write("pods", {"spec": odd})
    assert len(old.warnings) == 1
    assert sandbox.write("pods", {**old.obj, "metadata": {**old.obj["metadata"], "labels": {}}}, old.obj).warnings == []
    named = sandbox.write("pods", {"metadata": {"name": "a.b"}, "spec": {"containers": CONTAINERS}})
    assert "a DNS label is recommended" in named.warnings[0]

    spec = {**SELECTED, "template": {**TEMPLATE, "spec": odd}}
    before = sandbox.write("deployments", {"spec": spec})
    assert len(before.warnings) == 1
    assert (
        sandbox.write("deployments", {**before.obj, "spec": {**before.obj["spec"], "replicas": 3}}, before.obj).warnings
        == []
    )
