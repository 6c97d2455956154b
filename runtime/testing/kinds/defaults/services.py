"""Defaults of Services and Endpoints, and the addresses that Services get."""

from __future__ import annotations

import copy

from runtime.testing.kinds.services import ServiceAddresses, family_of
from runtime.types import JSONMapping, JSONObject

_TIMEOUT = 10800
_ALLOCATED = ("ClusterIP", "NodePort", "LoadBalancer")
_WITH_NODE_PORTS = ("NodePort", "LoadBalancer")
_IP_FIELDS = ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy")
# What a Service of another type cannot have, and loses with its type.
_OF_TYPES = {
    "allocateLoadBalancerNodePorts": ("LoadBalancer",),
    "externalTrafficPolicy": _WITH_NODE_PORTS,
    "internalTrafficPolicy": _ALLOCATED,
    "loadBalancerClass": ("LoadBalancer",),
}
_HEALTH = "healthCheckNodePort"


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
        self._allocate(spec)

    def update(self, obj: JSONObject, old: JSONObject, subresource: str | None) -> None:
        """Keep what a write leaves out and the Service has already."""
        if subresource is not None:
            return
        spec, before = obj.get("spec") or {}, old.get("spec") or {}
        if spec.get("type") in _ALLOCATED:
            for field in _IP_FIELDS:
                if not spec.get(field) and before.get(field):
                    spec[field] = copy.deepcopy(before[field])
        elif before.get("type") in _ALLOCATED:
            for field in _IP_FIELDS:
                if spec.get(field) == before.get(field):
                    spec.pop(field, None)
        if spec.get("type") in _WITH_NODE_PORTS:
            _keep_node_ports(spec, before)
        else:
            _drop_node_ports(spec, before)
        _keep_health_port(spec, before)
        for field, types in _OF_TYPES.items():
            if before.get("type") in types and spec.get("type") not in types and spec.get(field) == before.get(field):
                spec.pop(field, None)
        self._allocate(spec)

    def _allocate(self, spec: JSONObject) -> None:
        if spec.get("type") in _ALLOCATED:
            self._allocate_ip(spec)
            self._choose_families(spec)
        self._allocate_ports(spec)
        if needs_health_check(spec) and not spec.get(_HEALTH):
            spec[_HEALTH] = self._addresses.next_port()

    def _allocate_ip(self, spec: JSONObject) -> None:
        if not spec.get("clusterIP"):
            given = spec.get("clusterIPs") or [self._addresses.next_ip()]
            spec["clusterIP"] = given[0]
        if not spec.get("clusterIPs"):
            spec["clusterIPs"] = [spec["clusterIP"]]

    def _choose_families(self, spec: JSONObject) -> None:
        """One family, that of the addresses; headless Services that select no Pods may have what they want: both."""
        anything = selects_nothing(spec)
        policy = spec.setdefault("ipFamilyPolicy", "RequireDualStack" if anything else "SingleStack")
        if not spec.get("ipFamilies"):
            given = [each for each in spec["clusterIPs"] if each != "None"]
            spec["ipFamilies"] = [family_of(each) for each in given] or [self._addresses.family]
        if anything and policy != "SingleStack" and len(spec["ipFamilies"]) == 1:
            spec["ipFamilies"].append("IPv6" if spec["ipFamilies"][0] == "IPv4" else "IPv4")

    def _allocate_ports(self, spec: JSONObject) -> None:
        ports = spec.get("ports") or ()
        wanted = spec.get("type") == "NodePort" or (
            spec.get("type") == "LoadBalancer" and spec.get("allocateLoadBalancerNodePorts") is not False
        )
        # The same port of several protocols is the same port of a node.
        known = {port.get("port"): port["nodePort"] for port in reversed(ports) if port.get("nodePort")}
        for port in ports:
            if wanted and not port.get("nodePort"):
                port["nodePort"] = known.get(port.get("port")) or self._addresses.next_port()
                known[port.get("port")] = port["nodePort"]


def selects_nothing(spec: JSONMapping) -> bool:
    """Whether it is a headless Service whose endpoints somebody else makes."""
    return spec.get("clusterIP") == "None" and not spec.get("selector")


def needs_health_check(spec: JSONMapping) -> bool:
    """Whether a load balancer has to ask each node whether it has endpoints."""
    return spec.get("type") == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local"


def _drop_node_ports(spec: JSONObject, before: JSONObject) -> None:
    """What was given to a Service of another type goes, unless it was changed."""
    had = {port.get("nodePort") for port in before.get("ports") or ()}
    for port in spec.get("ports") or ():
        if port.get("nodePort") in had:
            port.pop("nodePort", None)


def _keep_health_port(spec: JSONObject, before: JSONObject) -> None:
    if needs_health_check(spec) and not spec.get(_HEALTH):
        spec[_HEALTH] = before.get(_HEALTH, 0)
    elif needs_health_check(before) and not needs_health_check(spec) and spec.get(_HEALTH) == before.get(_HEALTH):
        spec.pop(_HEALTH, None)


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
