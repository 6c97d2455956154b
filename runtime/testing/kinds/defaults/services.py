"""Defaults of Services and Endpoints, and the addresses that Services get."""

from __future__ import annotations

import copy

from runtime.testing.kinds.services import ServiceAddresses
from runtime.types import JSONObject

_TIMEOUT = 10800
_ALLOCATED = ("ClusterIP", "NodePort", "LoadBalancer")
_WITH_NODE_PORTS = ("NodePort", "LoadBalancer")


def default_service(obj: JSONObject) -> None:
    spec = obj.get("spec")
    if not isinstance(spec, dict):
        return
    spec.setdefault("type", "ClusterIP")
    spec.setdefault("sessionAffinity", "None")
    if spec["sessionAffinity"] == "ClientIP":
        config = (spec.get("sessionAffinityConfig") or {}).get("clientIP") or {}
        if "timeoutSeconds" not in config:
            spec["sessionAffinityConfig"] = {"clientIP": {"timeoutSeconds": _TIMEOUT}}
    elif spec["sessionAffinity"] == "None":
        spec.pop("sessionAffinityConfig", None)
    for port in spec.get("ports") or ():
        port.setdefault("protocol", "TCP")
        if port.get("targetPort") in (None, 0, "") and "port" in port:
            port["targetPort"] = port["port"]
    if spec["type"] in _ALLOCATED:
        spec.setdefault("internalTrafficPolicy", "Cluster")
    if spec["type"] in _WITH_NODE_PORTS or (spec["type"] == "ClusterIP" and spec.get("externalIPs")):
        spec.setdefault("externalTrafficPolicy", "Cluster")
    if spec["type"] == "LoadBalancer":
        spec.setdefault("allocateLoadBalancerNodePorts", True)
        for ingress in ((obj.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ():
            if ingress.get("ip"):
                ingress.setdefault("ipMode", "VIP")


class ServiceAllocation:
    """Gives Services their addresses when they are written."""

    def __init__(self, addresses: ServiceAddresses) -> None:
        self._addresses = addresses

    def create(self, obj: JSONObject) -> None:
        """Fill in what is allocated for a new Service."""
        spec = obj.setdefault("spec", {})
        obj["status"] = {"loadBalancer": {}}
        if spec.get("type") in _ALLOCATED:
            self._allocate_ip(spec)
            spec.setdefault("ipFamilies", ["IPv6" if ":" in str(spec["clusterIP"]) else "IPv4"])
            spec.setdefault("ipFamilyPolicy", "SingleStack")
        self._allocate_ports(spec)

    def update(self, obj: JSONObject, old: JSONObject, subresource: str | None) -> None:
        """Keep what a write leaves out and the Service has already."""
        if subresource is not None:
            return
        spec, before = obj.get("spec") or {}, old.get("spec") or {}
        if spec.get("type") in _ALLOCATED:
            for field in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"):
                if not spec.get(field) and before.get(field):
                    spec[field] = copy.deepcopy(before[field])
            self._allocate_ip(spec)
            spec.setdefault("ipFamilies", ["IPv4"])
            spec.setdefault("ipFamilyPolicy", "SingleStack")
        elif before.get("type") in _ALLOCATED:
            for field in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"):
                if spec.get(field) == before.get(field):
                    spec.pop(field, None)
        if spec.get("type") in _WITH_NODE_PORTS:
            _keep_node_ports(spec, before)
        self._allocate_ports(spec)

    def _allocate_ip(self, spec: JSONObject) -> None:
        if not spec.get("clusterIP"):
            given = spec.get("clusterIPs") or [self._addresses.next_ip()]
            spec["clusterIP"] = given[0]
        if not spec.get("clusterIPs"):
            spec["clusterIPs"] = [spec["clusterIP"]]

    def _allocate_ports(self, spec: JSONObject) -> None:
        ports = spec.get("ports") or ()
        wanted = spec.get("type") == "NodePort" or (
            spec.get("type") == "LoadBalancer" and spec.get("allocateLoadBalancerNodePorts") is not False
        )
        for port in ports:
            if wanted and not port.get("nodePort"):
                port["nodePort"] = self._addresses.next_port()
            elif not wanted and spec.get("type") == "ClusterIP":
                port.pop("nodePort", None)


def _keep_node_ports(spec: JSONObject, before: JSONObject) -> None:
    known = {
        (each.get("port"), each.get("protocol")): each["nodePort"]
        for each in before.get("ports") or ()
        if each.get("nodePort")
    }
    for port in spec.get("ports") or ():
        if not port.get("nodePort") and (port.get("port"), port.get("protocol")) in known:
            port["nodePort"] = known[port.get("port"), port.get("protocol")]


def default_endpoints(obj: JSONObject) -> None:
    for subset in obj.get("subsets") or ():
        for port in subset.get("ports") or ():
            port.setdefault("protocol", "TCP")


def default_endpoint_slice(obj: JSONObject) -> None:
    for port in obj.get("ports") or ():
        port.setdefault("name", "")
        port.setdefault("protocol", "TCP")
