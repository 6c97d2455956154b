"""What the objects consist of: managedFields, labels, owners and statuses, as kube-apiserver would send them."""

from __future__ import annotations

import hashlib

from runtime.types import JSONObject

SENT = "bench/sent"
"""The annotation for the time at which a paced server sent the event: nanoseconds since 1970, of fixed width."""

UNSENT = "0" * 19

_SILO_FIELDS = (
    "address", "clusterId", "generation", "hostname", "iAmAliveTime", "port", "proxyPort", "siloName", "startTime",
    "status", "suspectingSilos", "suspectingTimes",
)  # fmt: skip
_POD_CONDITIONS = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")


def silo(i: int, resource_version: int, revision: int = 0) -> JSONObject:
    """A custom resource of about 1.3 KB of JSON; ``revision`` counts its modifications."""
    return {
        "address": _address(i),
        "apiVersion": "orleans.dot.net/v1",
        "clusterId": f"cluster-{i % 64:03d}",
        "generation": 400_000_000 + i,
        "hostname": f"orleans-{i % 64:03d}-{i:06d}.svc.cluster.local",
        "iAmAliveTime": _time(i * 7 + revision),
        "kind": "OrleansSilo",
        "metadata": _silo_metadata(i, resource_version, revision),
        "port": 11111,
        "proxyPort": 30000,
        "siloName": f"Silo_{i:05x}",
        "startTime": _time(i),
        "status": ("Active", "Joining", "ShuttingDown", "Dead")[revision % 4],
        "suspectingSilos": [f"10.0.{j}.{i & 255}:11111@{400_000_000 + j}" for j in range(i % 3)],
        "suspectingTimes": [_time(revision + j) for j in range(i % 3)],
    }


def _silo_metadata(i: int, resource_version: int, revision: int) -> JSONObject:
    fields: JSONObject = {
        **{f"f:{field}": {} for field in _SILO_FIELDS},
        "f:metadata": {
            "f:annotations": {".": {}, f"f:{SENT}": {}},
            "f:labels": {".": {}, "f:app.kubernetes.io/instance": {}, "f:app.kubernetes.io/name": {}},
        },
    }
    return {
        "annotations": {SENT: UNSENT, "orleans.dot.net/cluster-service": f"svc-{i % 64:03d}"},
        "creationTimestamp": _time(i),
        "generation": revision + 1,
        "labels": {
            "app.kubernetes.io/name": "orleans",
            "app.kubernetes.io/instance": f"cluster-{i % 64:03d}",
            "orleans.dot.net/shard": str(i % 16),
        },
        "managedFields": [_managed("orleans-silo", "orleans.dot.net/v1", _time(i + revision), fields)],
        "name": f"silo-{i:06d}",
        "namespace": "bench",
        "resourceVersion": str(resource_version),
        "uid": _uid("silo", i),
    }


def item(i: int, resource_version: int, revision: int = 0) -> JSONObject:
    """A custom resource of about 250 bytes."""
    return {
        "apiVersion": "bench.datenlord.com/v1",
        "kind": "Item",
        "metadata": {
            "creationTimestamp": _time(i),
            "name": f"item-{i:06d}",
            "namespace": "bench",
            "resourceVersion": str(resource_version),
            "uid": _uid("item", i),
        },
        "spec": {"revision": revision},
    }


def pod(i: int, resource_version: int, revision: int = 0) -> JSONObject:
    """A pod of about 7 KB: two containers, probes, volumes, conditions, and two managers of fields."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": _pod_metadata(i, resource_version, revision),
        "spec": _pod_spec(i, revision),
        "status": _pod_status(i, revision),
    }


def _pod_metadata(i: int, resource_version: int, revision: int) -> JSONObject:
    app = f"web-{i % 50:02d}"
    owner = {
        "apiVersion": "apps/v1",
        "blockOwnerDeletion": True,
        "controller": True,
        "kind": "ReplicaSet",
        "name": app,
        "uid": _uid("replicaset", i % 50),
    }
    return {
        "annotations": {SENT: UNSENT, "prometheus.io/scrape": "true", "prometheus.io/port": "8080"},
        "creationTimestamp": _time(i),
        "generateName": f"{app}-",
        "labels": {
            "app": app,
            "app.kubernetes.io/part-of": "shop",
            "pod-template-hash": f"{i % 50:08x}",
            "tier": "frontend",
        },
        "managedFields": [
            _managed("kube-controller-manager", "v1", _time(i), _fields_of_the_spec(i)),
            {**_managed("kubelet", "v1", _time(i + revision), _FIELDS_OF_THE_STATUS), "subresource": "status"},
        ],
        "name": f"{app}-{i:06d}",
        "namespace": "bench",
        "ownerReferences": [owner],
        "resourceVersion": str(resource_version),
        "uid": _uid("pod", i),
    }


def _fields_of_the_spec(i: int) -> JSONObject:
    environment: JSONObject = {".": {}, 'k:{"name":"MODE"}': {".": {}, "f:name": {}, "f:value": {}}}
    of_container = {"f:args": {}, "f:env": environment, "f:image": {}, "f:imagePullPolicy": {}, "f:name": {}}
    return {
        "f:metadata": {
            "f:annotations": {".": {}, "f:prometheus.io/port": {}, "f:prometheus.io/scrape": {}},
            "f:generateName": {},
            "f:labels": {".": {}, "f:app": {}, "f:pod-template-hash": {}, "f:tier": {}},
            "f:ownerReferences": {".": {}, f'k:{{"uid":"{_uid("replicaset", i % 50)}"}}': {}},
        },
        "f:spec": {
            "f:containers": {
                f'k:{{"name":"{name}"}}': {".": {}, **of_container, "f:resources": {}} for name in ("server", "sidecar")
            },
            "f:dnsPolicy": {},
            "f:restartPolicy": {},
            "f:schedulerName": {},
        },
    }


_FIELDS_OF_THE_STATUS: JSONObject = {
    "f:status": {
        "f:conditions": {
            f'k:{{"type":"{condition}"}}': {".": {}, "f:lastTransitionTime": {}, "f:status": {}, "f:type": {}}
            for condition in ("ContainersReady", "Initialized", "Ready")
        },
        "f:containerStatuses": {},
        "f:hostIP": {},
        "f:phase": {},
        "f:podIP": {},
        "f:startTime": {},
    }
}


def _pod_spec(i: int, revision: int) -> JSONObject:
    return {
        "containers": [_server_container(i, revision), _container("sidecar", i, revision, port=8081)],
        "dnsPolicy": "ClusterFirst",
        "enableServiceLinks": True,
        "nodeName": f"node-{i % 100:03d}",
        "preemptionPolicy": "PreemptLowerPriority",
        "priority": 0,
        "restartPolicy": "Always",
        "schedulerName": "default-scheduler",
        "securityContext": {"fsGroup": 2000, "runAsNonRoot": True},
        "serviceAccount": "default",
        "serviceAccountName": "default",
        "terminationGracePeriodSeconds": 30,
        "tolerations": [
            {
                "effect": "NoExecute",
                "key": f"node.kubernetes.io/{key}",
                "operator": "Exists",
                "tolerationSeconds": 300,
            }
            for key in ("not-ready", "unreachable")
        ],
        "volumes": [
            {"configMap": {"defaultMode": 420, "name": f"web-{i % 50:02d}"}, "name": "config"},
            {"name": "kube-api-access-x7k2p", "projected": {"defaultMode": 420, "sources": _TOKEN_SOURCES}},
        ],
    }


_NAMESPACE_FIELD = {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}, "path": "namespace"}
_TOKEN_SOURCES: list[JSONObject] = [
    {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
    {"configMap": {"items": [{"key": "ca.crt", "path": "ca.crt"}], "name": "kube-root-ca.crt"}},
    {"downwardAPI": {"items": [_NAMESPACE_FIELD]}},
]


def _container(name: str, i: int, revision: int, port: int) -> JSONObject:
    return {
        "image": f"registry.example.com/team/{name}:v1.{i % 20}.{revision}",
        "imagePullPolicy": "IfNotPresent",
        "livenessProbe": _probe("/healthz", port, failureThreshold=3, initialDelaySeconds=10, periodSeconds=10),
        "name": name,
        "ports": [{"containerPort": port, "name": "http", "protocol": "TCP"}],
        "resources": {"limits": {"cpu": "500m", "memory": "512Mi"}, "requests": {"cpu": "100m", "memory": "256Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
        "volumeMounts": [
            {"mountPath": "/etc/app", "name": "config", "readOnly": True},
            {
                "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount",
                "name": "kube-api-access-x7k2p",
                "readOnly": True,
            },
        ],
    }


def _server_container(i: int, revision: int) -> JSONObject:
    pod_name = {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}
    pod_namespace = {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}
    return {
        **_container("server", i, revision, port=8080),
        "args": ["--listen=:8080", f"--shard={i % 16}", "--log-level=info", "--config=/etc/app/config.yaml"],
        "env": [
            {"name": "POD_NAME", "valueFrom": pod_name},
            {"name": "POD_NAMESPACE", "valueFrom": pod_namespace},
            {"name": "MODE", "value": "production"},
            {
                "name": "DB_PASSWORD",
                "valueFrom": {"secretKeyRef": {"key": "password", "name": f"db-{i % 50:02d}"}},
            },
        ],
        "readinessProbe": _probe("/readyz", 8080, failureThreshold=3, periodSeconds=5),
    }


def _probe(path: str, port: int, **times: int) -> JSONObject:
    return {
        "httpGet": {"path": path, "port": port, "scheme": "HTTP"},
        "successThreshold": 1,
        "timeoutSeconds": 1,
        **times,
    }


def _pod_status(i: int, revision: int) -> JSONObject:
    address, host = _address(i), f"192.168.0.{i % 100}"
    return {
        "conditions": [
            {"lastProbeTime": None, "lastTransitionTime": _time(i + 3), "status": "True", "type": condition}
            for condition in _POD_CONDITIONS
        ],
        "containerStatuses": [_container_status(name, i, revision) for name in ("server", "sidecar")],
        "hostIP": host,
        "hostIPs": [{"ip": host}],
        "phase": "Running",
        "podIP": address,
        "podIPs": [{"ip": address}],
        "qosClass": "Burstable",
        "startTime": _time(i),
    }


def _container_status(name: str, i: int, revision: int) -> JSONObject:
    image = hashlib.sha256(f"{name}-{i % 20}".encode()).hexdigest()
    return {
        "containerID": f"containerd://{hashlib.sha256(f'{name}-{i}'.encode()).hexdigest()}",
        "image": f"registry.example.com/team/{name}:v1.{i % 20}.{revision}",
        "imageID": f"registry.example.com/team/{name}@sha256:{image}",
        "lastState": {},
        "name": name,
        "ready": True,
        "restartCount": revision,
        "started": True,
        "state": {"running": {"startedAt": _time(i + 5)}},
    }


def _managed(manager: str, api_version: str, time: str, fields: JSONObject) -> JSONObject:
    return {
        "apiVersion": api_version,
        "fieldsType": "FieldsV1",
        "fieldsV1": fields,
        "manager": manager,
        "operation": "Update",
        "time": time,
    }


def _address(i: int) -> str:
    return f"10.{i >> 16 & 255}.{i >> 8 & 255}.{i & 255}"


def _uid(kind: str, i: int) -> str:
    digest = hashlib.sha256(f"{kind}-{i}".encode()).hexdigest()
    return f"{digest[:8]}-{digest[8:12]}-{digest[12:16]}-{digest[16:20]}-{digest[20:32]}"


def _time(n: int) -> str:
    n %= 86400
    return f"2026-11-21T{n // 3600:02d}:{n // 60 % 60:02d}:{n % 60:02d}Z"
