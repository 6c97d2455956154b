"""Services on local addresses: who their endpoints are, and what the proxy listens on."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from runtime.client import Client, Unstructured
from runtime.testing.nodes.network import Network
from runtime.testing.nodes.proxy import Address, Proxy
from runtime.types import GVR, JSONMapping, JSONObject

SERVICES = GVR("", "v1", "services")
ADDRESS_ANNOTATION = "local.nodes/address"


class Services:
    """Keeps the proxy's routes as the Services and Pods are, and tells each Service's address in its annotation
    ``local.nodes/address``.

    Endpoints are the Pods its selector matches that are Ready (all with an address, if it publishes not-ready
    addresses) and are not being deleted. A headless Service, whose name means its Pods' own addresses in a cluster,
    also has an address here; it listens on its target ports besides its ports. Only TCP.
    """

    def __init__(self, client: Client, network: Network, proxy: Proxy, pods: Callable[[str], Iterable[Unstructured]]):
        """:param pods: the Pods of a namespace."""
        self._client = client
        self._network = network
        self._proxy = proxy
        self._pods = pods

    def sync(self, key: str, service: Unstructured | None) -> None:
        """Bring one Service's routes up to date.

        :param service: ``None``: it is gone.
        :raises ApiError: its annotation could not be written; call again.
        """
        if service is None or not service["spec"].get("selector"):
            self._proxy.set(key, {})  # ExternalName, or endpoints that somebody else knows
            return
        address = self._network.service(service.namespace, service.name)
        self._proxy.set(key, routes(service.to_dict(), address, self._pods(service.namespace)))
        if service.annotations.get(ADDRESS_ANNOTATION) != address and service.deletion_timestamp is None:
            patch = {"metadata": {"uid": service.uid, "annotations": {ADDRESS_ANNOTATION: address}}}
            self._client.resource(SERVICES, service.namespace).patch(service.name, patch)


def routes(service: JSONMapping, address: str, pods: Iterable[Unstructured]) -> dict[Address, list[Address]]:
    """What to listen on for a Service, and where each port leads."""
    spec = service["spec"]
    selector = spec.get("selector")
    found: dict[Address, list[Address]] = {}
    if not selector:
        return found
    all_of_them = bool(spec.get("publishNotReadyAddresses"))
    backends = [
        pod.to_dict()
        for pod in sorted(pods, key=lambda pod: pod.name)
        if selector.items() <= pod.labels.items() and _serves(pod, all_of_them)
    ]
    for port in spec.get("ports") or ():
        if (port.get("protocol") or "TCP") != "TCP":
            continue
        target = port.get("targetPort") or port["port"]
        endpoints = [
            (pod["status"]["podIP"], number) for pod in backends if (number := _target_port(pod, target)) is not None
        ]
        found.setdefault((address, port["port"]), []).extend(endpoints)
        if spec.get("clusterIP") == "None":
            for _, number in endpoints[:1]:
                if number != port["port"]:
                    found.setdefault((address, number), []).extend(endpoints)
    return found


def _serves(pod: Unstructured, even_if_not_ready: bool) -> bool:
    status = pod.get("status") or {}
    if not status.get("podIP") or status.get("phase") in ("Succeeded", "Failed"):
        return False
    if even_if_not_ready:
        return True
    conditions: list[JSONObject] = status.get("conditions") or []
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
    return ready and pod.deletion_timestamp is None


def _target_port(pod: JSONMapping, target: int | str) -> int | None:
    """A target port's number in one Pod; ``None``: it has no port of that name."""
    if isinstance(target, int):
        return target
    for container in (*pod["spec"]["containers"], *(pod["spec"].get("initContainers") or ())):
        for port in container.get("ports") or ():
            if port.get("name") == target:
                return int(port["containerPort"])
    return None
