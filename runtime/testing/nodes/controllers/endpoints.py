"""EndpointSlices and Endpoints: which Pods stand behind a Service."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

from runtime.client import AlreadyExists, Conflict, NotFound, Unstructured
from runtime.controller import ReconcileContext
from runtime.manager import Manager
from runtime.testing.nodes.controllers.pods import condition, owner_reference
from runtime.types import GVR, JSONObject, Request, Result

SERVICES = GVR("", "v1", "services")
PODS = GVR("", "v1", "pods")
ENDPOINTS = GVR("", "v1", "endpoints")
SLICES = GVR("discovery.k8s.io", "v1", "endpointslices")

SERVICE_LABEL = "kubernetes.io/service-name"
OURS = {"endpoints.kubernetes.io/managed-by": "endpoint-controller"}  # labels of the Endpoints made here
MANAGED_BY = "endpointslice.kubernetes.io/managed-by"


def register(manager: Manager) -> None:
    """Add the controller that keeps one EndpointSlice and one Endpoints object for each Service with a selector."""
    services = manager.informer(SERVICES)

    def services_of(pod: Unstructured) -> Iterable[Request]:
        for service in services.lister.namespace(pod.namespace).list():
            selector = service["spec"].get("selector")
            if selector and selector.items() <= pod.labels.items():
                yield Request(service.namespace, service.name)

    (
        manager.controller("endpoints")
        .for_(SERVICES)
        .owns(SLICES)
        .watches(PODS, services_of)
        .watches(ENDPOINTS, lambda endpoints: [Request(endpoints.namespace, endpoints.name)])
        .with_options(workers=2)
        .complete(reconcile)
    )


def reconcile(request: Request, ctx: ReconcileContext) -> Result | None:
    try:
        service = ctx.lister(SERVICES).namespace(request.namespace).get(request.name)
    except NotFound:
        _delete_endpoints(ctx, request)
        return None
    selector = service["spec"].get("selector")
    if not selector or service.deletion_timestamp is not None:
        return None
    text = ",".join(f"{key}={value}" for key, value in selector.items())
    pods = sorted(ctx.lister(PODS).namespace(request.namespace).list(text), key=lambda pod: pod.name)
    pods = [pod for pod in pods if (pod.get("status") or {}).get("podIP") and not _ended(pod)]
    _write(ctx, SLICES, build_slice(service, pods))
    _write(ctx, ENDPOINTS, build_endpoints(service, pods))
    return None


def build_slice(service: Unstructured, pods: list[Unstructured]) -> JSONObject:
    """The one slice of a Service: every Pod that has an address, with what it can be used for."""
    everybody = bool(service["spec"].get("publishNotReadyAddresses"))
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"{service.name}-local",
            "namespace": service.namespace,
            "labels": {SERVICE_LABEL: service.name, MANAGED_BY: "local-nodes"},
            "ownerReferences": [owner_reference(service, controller=True)],
        },
        "addressType": "IPv4",
        "ports": _ports(service, pods),
        "endpoints": [_slice_endpoint(pod, everybody) for pod in pods],
    }


def build_endpoints(service: Unstructured, pods: list[Unstructured]) -> JSONObject:
    """The older form of the same, which kubectl and many programs still read."""
    everybody = bool(service["spec"].get("publishNotReadyAddresses"))
    ports = _ports(service, pods)
    subset: JSONObject = {}
    for key, wanted in (("addresses", True), ("notReadyAddresses", False)):
        chosen = [_address(pod) for pod in pods if (everybody or _ready(pod)) is wanted]
        if chosen:
            subset[key] = chosen
    if subset and ports:
        subset["ports"] = ports
    return {
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": {"name": service.name, "namespace": service.namespace, "labels": OURS},
        "subsets": [subset] if subset else [],
    }


def _ready(pod: Unstructured) -> bool:
    return pod.deletion_timestamp is None and (condition(pod, "Ready") or {}).get("status") == "True"


def _ended(pod: Unstructured) -> bool:
    return (pod.get("status") or {}).get("phase") in ("Failed", "Succeeded")


def _slice_endpoint(pod: Unstructured, everybody: bool) -> JSONObject:
    serving = (condition(pod, "Ready") or {}).get("status") == "True"
    terminating = pod.deletion_timestamp is not None
    endpoint: JSONObject = {
        "addresses": [pod["status"]["podIP"]],
        "conditions": {
            "ready": everybody or (serving and not terminating),
            "serving": serving,
            "terminating": terminating,
        },
        "targetRef": _reference(pod),
    }
    if pod["spec"].get("subdomain"):
        endpoint["hostname"] = pod["spec"].get("hostname") or pod.name
    if pod["spec"].get("nodeName"):
        endpoint["nodeName"] = pod["spec"]["nodeName"]
    return endpoint


def _address(pod: Unstructured) -> JSONObject:
    address: JSONObject = {"ip": pod["status"]["podIP"], "targetRef": _reference(pod)}
    if pod["spec"].get("subdomain"):
        address["hostname"] = pod["spec"].get("hostname") or pod.name
    if pod["spec"].get("nodeName"):
        address["nodeName"] = pod["spec"]["nodeName"]
    return address


def _reference(pod: Unstructured) -> JSONObject:
    return {"kind": "Pod", "namespace": pod.namespace, "name": pod.name, "uid": pod.uid}


def _ports(service: Unstructured, pods: list[Unstructured]) -> list[JSONObject]:
    """The ports of a Service as numbers; one whose name no Pod has leads nowhere and is left out."""
    ports = []
    for port in service["spec"].get("ports") or []:
        target = port.get("targetPort", port["port"])
        number = target if isinstance(target, int) else _named_port(str(target), pods)
        if number is not None:
            name = {"name": port["name"]} if port.get("name") else {}
            ports.append({**name, "port": number, "protocol": port.get("protocol", "TCP")})
    return ports


def _named_port(name: str, pods: list[Unstructured]) -> int | None:
    for pod in pods:
        for container in pod["spec"]["containers"]:
            for port in container.get("ports") or []:
                if port.get("name") == name:
                    return int(port["containerPort"])
    return None


def _write(ctx: ReconcileContext, gvr: GVR, body: JSONObject) -> None:
    """Create or replace the object unless it is already as it should be."""
    meta = body["metadata"]
    api = ctx.client.resource(gvr, namespace=meta["namespace"])
    try:
        live = ctx.lister(gvr).namespace(meta["namespace"]).get(meta["name"])
    except NotFound:
        with contextlib.suppress(AlreadyExists):  # ours, not in the cache yet: its own event brings us back
            api.create(body)
        return
    if all(
        (live.get(key) or []) == value for key, value in body.items() if key not in ("metadata", "apiVersion", "kind")
    ):
        return
    meta["resourceVersion"] = live.resource_version
    api.update(body)


def _delete_endpoints(ctx: ReconcileContext, request: Request) -> None:
    """Those made here go with their Service; others were written by hand, and their Service may be yet to come."""
    with contextlib.suppress(NotFound, Conflict):
        live = ctx.lister(ENDPOINTS).namespace(request.namespace).get(request.name)
        if live.labels.items() >= OURS.items():
            ctx.client.resource(ENDPOINTS, namespace=request.namespace).delete(request.name, uid=live.uid)
