"""Services and what is around them, as kubectl shows them."""

from __future__ import annotations

from collections.abc import Iterable

from runtime.testing.kinds.printing.base import AGE, NONE, Col, Printer, at, selector
from runtime.types import JSONMapping

_SHOWN = 3  # endpoints named before "+ N more..."


def _cluster_ip(obj: JSONMapping) -> object:
    return (obj.get("spec") or {}).get("clusterIP") or NONE


def _external_ip(obj: JSONMapping) -> object:
    spec = obj.get("spec") or {}
    external = list(spec.get("externalIPs") or ())
    kind = spec.get("type")
    if kind == "ExternalName":
        return spec.get("externalName") or NONE
    if kind == "LoadBalancer":
        ingress = ((obj.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
        external = [*(each.get("ip") or each.get("hostname", "") for each in ingress), *external]
        return ",".join(external) or "<pending>"
    return ",".join(external) or NONE


def _ports(obj: JSONMapping) -> object:
    parts = []
    for each in (obj.get("spec") or {}).get("ports") or ():
        node_port = f":{each['nodePort']}" if each.get("nodePort") else ""
        parts.append(f"{each.get('port')}{node_port}/{each.get('protocol', 'TCP')}")
    return ",".join(parts) or NONE


SERVICE = Printer(
    Col("Type", at("spec.type", "")),
    Col("Cluster-IP", _cluster_ip),
    Col("External-IP", _external_ip),
    Col("Port(s)", _ports),
    AGE,
    Col("Selector", selector("spec.selector"), priority=1),
)


def _shortened(values: Iterable[str]) -> str:
    found = list(values)
    if not found:
        return NONE
    more = f" + {len(found) - _SHOWN} more..." if len(found) > _SHOWN else ""
    return ",".join(found[:_SHOWN]) + more


def _endpoints(obj: JSONMapping) -> object:
    found: list[str] = []
    for subset in obj.get("subsets") or ():
        ports = subset.get("ports") or ()
        for address in subset.get("addresses") or ():
            if not ports:
                found.append(address["ip"])
            found += [f"{address['ip']}:{port['port']}" for port in ports]
    return _shortened(found)


ENDPOINTS = Printer(Col("Endpoints", _endpoints), AGE)


def _slice_ports(obj: JSONMapping) -> object:
    ports = [str(each.get("port") or "*") for each in obj.get("ports") or ()]
    return _shortened(ports) if ports else "<unset>"


def _slice_endpoints(obj: JSONMapping) -> object:
    addresses = [ip for each in obj.get("endpoints") or () for ip in each.get("addresses") or ()]
    return _shortened(addresses) if addresses else "<unset>"


ENDPOINT_SLICE = Printer(
    Col("AddressType", at("addressType", "")),
    Col("Ports", _slice_ports),
    Col("Endpoints", _slice_endpoints),
    AGE,
)


def _hosts(obj: JSONMapping) -> object:
    hosts = [each["host"] for each in (obj.get("spec") or {}).get("rules") or () if each.get("host")]
    return _shortened(hosts) if hosts else "*"


def _ingress_address(obj: JSONMapping) -> object:
    ingress = ((obj.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
    return ",".join(each.get("ip") or each.get("hostname", "") for each in ingress)


def _ingress_ports(obj: JSONMapping) -> object:
    return "80, 443" if (obj.get("spec") or {}).get("tls") else "80"


INGRESS = Printer(
    Col("Class", at("spec.ingressClassName")),
    Col("Hosts", _hosts),
    Col("Address", _ingress_address),
    Col("Ports", _ingress_ports),
    AGE,
)
NETWORK_POLICY = Printer(Col("Pod-Selector", selector("spec.podSelector")), AGE)
