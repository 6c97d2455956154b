"""Checks of Services and Endpoints."""

from __future__ import annotations

from typing import Final

from runtime.testing.kinds import errors, names
from runtime.testing.kinds.checks import common
from runtime.testing.kinds.defaults.services import selects_nothing
from runtime.testing.kinds.model import FieldError
from runtime.testing.kinds.services import NODE_PORTS, ServiceAddresses
from runtime.types import JSONMapping, JSONObject

_TYPES: Final = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
_OUT_OF_RANGE: Final = (
    f"provided port is not in the valid range. The range of valid ports is {NODE_PORTS.start}-{NODE_PORTS.stop - 1}"
)
_KUBELET: Final = 10250
_MAX_TIMEOUT: Final = 86400
_PROTOCOLS: Final = ("SCTP", "TCP", "UDP")


def validate_service(obj: JSONObject, old: JSONObject | None) -> list[FieldError]:
    spec = obj.get("spec") or {}
    found: list[FieldError] = []
    kind = spec.get("type")
    headless = spec.get("clusterIP") == "None"
    ports = spec.get("ports") or ()
    if not ports and not headless and kind != "ExternalName":
        found.append(errors.required("spec.ports"))
    found += _check_type(spec, headless=headless)
    found += _check_ports(ports)
    if spec.get("selector"):
        found += common.labels(spec["selector"], "spec.selector")
    found += common.one_of(spec.get("sessionAffinity"), ("ClientIP", "None"), "spec.sessionAffinity")
    found += _check_affinity(spec)
    for index, address in enumerate(spec.get("externalIPs") or ()):
        found += common.ip_address(address, f"spec.externalIPs[{index}]")
    found += common.one_of(kind, _TYPES, "spec.type")
    found += _check_traffic(spec)
    found += _check_addresses(spec)
    if old is not None:
        found += _check_update(spec, old.get("spec") or {})
    return found


def judge_service(addresses: ServiceAddresses) -> common.Checker:
    """All checks of a Service. What it asks for is allocated before anything else is looked at."""
    allocated = _check_allocated(addresses)
    return lambda obj, old: allocated(obj, old) or validate_service(obj, old)


def _check_allocated(addresses: ServiceAddresses) -> common.Checker:
    """A check that a Service asks for nothing that another one has, or that this cluster has not got."""

    def check(obj: JSONObject, old: JSONObject | None) -> list[FieldError]:
        spec, before = obj.get("spec") or {}, (old or {}).get("spec") or {}
        if spec.get("type") == "ExternalName":
            return []
        found = _check_families(spec, addresses.family)
        wanted = [
            ip for ip in spec.get("clusterIPs") or () if ip != "None" and ip not in (before.get("clusterIPs") or ())
        ]
        had = {port.get("nodePort") for port in before.get("ports") or ()}
        given = spec.get("ports") or () if spec.get("type") in ("LoadBalancer", "NodePort") else ()
        ports = [
            (index, port["nodePort"])
            for index, port in enumerate(given)
            if port.get("nodePort") and port["nodePort"] not in had
        ]
        if not wanted and not ports:
            return found
        ips, taken = addresses.taken()
        for ip in wanted:
            if ip in ips:
                detail = f"failed to allocate IP {ip}: provided IP is already allocated"
                found.append(errors.invalid("spec.clusterIPs", spec["clusterIPs"], detail))
        for index, port in ports:
            detail = "provided port is already allocated" if port in taken else _OUT_OF_RANGE
            if port in taken or port not in NODE_PORTS:
                found.append(errors.invalid(f"spec.ports[{index}].nodePort", port, detail))
        return found

    return check


def _check_families(spec: JSONMapping, family: str) -> list[FieldError]:
    """This cluster has one family of addresses."""
    policy, families, where = spec.get("ipFamilyPolicy"), spec.get("ipFamilies") or (), "spec.ipFamilyPolicy"
    found: list[FieldError] = []
    if policy == "SingleStack":
        for field, given in (("cluster IPs", spec.get("clusterIPs") or ()), ("IP families", families)):
            if len(given) == 2:
                detail = f"must be 'RequireDualStack' or 'PreferDualStack' when multiple {field} are specified"
                found.append(errors.invalid(where, policy, detail))
    if found or selects_nothing(spec):
        return found
    if policy == "RequireDualStack":
        found.append(errors.invalid(where, policy, "this cluster is not configured for dual-stack services"))
    return found + [
        errors.invalid(f"spec.ipFamilies[{index}]", each, "not configured on this cluster")
        for index, each in enumerate(families)
        if each != family
    ]


def _check_type(spec: JSONMapping, *, headless: bool) -> list[FieldError]:
    """What a Service of that type can and cannot have."""
    kind = spec.get("type")
    found: list[FieldError] = []
    if kind == "LoadBalancer":
        for index, port in enumerate(spec.get("ports") or ()):
            if port.get("port") == _KUBELET:
                detail = f"may not expose port {_KUBELET} externally since it is used by kubelet"
                found.append(errors.invalid(f"spec.ports[{index}]", _KUBELET, detail))
    if kind == "ClusterIP":
        found += [
            errors.forbidden(f"spec.ports[{index}].nodePort", "may not be used when `type` is 'ClusterIP'")
            for index, port in enumerate(spec.get("ports") or ())
            if port.get("nodePort")
        ]
    if kind in ("LoadBalancer", "NodePort") and headless:
        detail = f"may not be set to 'None' for {kind} services"
        found.append(errors.invalid("spec.clusterIPs[0]", "None", detail))
    if kind == "ExternalName":
        if spec.get("clusterIPs"):
            detail = "may not be set for ExternalName services"
            found.append(errors.forbidden("spec.clusterIPs", detail))
        name = str(spec.get("externalName") or "").removesuffix(".")
        if not name:
            found.append(errors.required("spec.externalName"))
        else:
            problems = names.bad_subdomain(name)
            found += [errors.invalid("spec.externalName", name, problem) for problem in problems]
    return found


def _check_affinity(spec: JSONMapping) -> list[FieldError]:
    seconds = ((spec.get("sessionAffinityConfig") or {}).get("clientIP") or {}).get("timeoutSeconds")
    if spec.get("sessionAffinity") != "ClientIP" or seconds is None or 0 < seconds <= _MAX_TIMEOUT:
        return []
    detail = f"must be greater than 0 and less than {_MAX_TIMEOUT}"
    return [errors.invalid("spec.sessionAffinityConfig.clientIP.timeoutSeconds", seconds, detail)]


def _check_traffic(spec: JSONMapping) -> list[FieldError]:
    found: list[FieldError] = []
    external, internal = spec.get("externalTrafficPolicy"), spec.get("internalTrafficPolicy")
    public = spec.get("type") in ("LoadBalancer", "NodePort") or (
        spec.get("type") == "ClusterIP" and spec.get("externalIPs")
    )
    if external is not None and not public:
        detail = "may only be set for externally-accessible services"
        found.append(errors.invalid("spec.externalTrafficPolicy", external, detail))
    elif external is not None:
        found += common.one_of(external, ("Cluster", "Local"), "spec.externalTrafficPolicy")
    check = spec.get("healthCheckNodePort")
    if check and (spec.get("type") != "LoadBalancer" or external != "Local"):
        detail = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"
        found.append(errors.invalid("spec.healthCheckNodePort", check, detail))
    if internal is not None:
        found += common.one_of(internal, ("Cluster", "Local"), "spec.internalTrafficPolicy")
    if spec.get("loadBalancerClass") is not None and spec.get("type") != "LoadBalancer":
        detail = "may only be used when `type` is 'LoadBalancer'"
        found.append(errors.forbidden("spec.loadBalancerClass", detail))
    policy = spec.get("ipFamilyPolicy")
    if policy is not None:
        found += common.one_of(policy, ("PreferDualStack", "RequireDualStack", "SingleStack"), "spec.ipFamilyPolicy")
    return found


def _check_ports(ports: tuple[JSONMapping, ...] | list[JSONMapping]) -> list[FieldError]:
    found: list[FieldError] = []
    seen_names: set[str] = set()
    seen: set[tuple[object, object]] = set()
    for index, port in enumerate(ports):
        where, name = f"spec.ports[{index}]", port.get("name") or ""
        if not name and len(ports) > 1:
            found.append(errors.required(f"{where}.name"))
        elif name:
            found += [errors.invalid(f"{where}.name", name, problem) for problem in names.bad_label(name)]
            if name in seen_names:
                found.append(errors.duplicate(f"{where}.name", name))
            seen_names.add(name)
        found += common.port_number(port.get("port"), f"{where}.port")
        found += common.one_of(port.get("protocol"), _PROTOCOLS, f"{where}.protocol")
        found += common.port_or_name(port.get("targetPort"), f"{where}.targetPort")
        key = (port.get("port"), port.get("protocol"))
        if key in seen:
            shown = {"port": port.get("port"), "protocol": port.get("protocol")}
            found.append(errors.duplicate(where, shown))
        seen.add(key)
    return found


def _check_addresses(spec: JSONMapping) -> list[FieldError]:
    found: list[FieldError] = []
    for index, address in enumerate(spec.get("clusterIPs") or ()):
        if address == "None" or (index == 0 and not address):
            continue
        found += common.ip_address(address, f"spec.clusterIPs[{index}]")
    return found


def validate_endpoints(obj: JSONObject, old: JSONObject | None) -> list[FieldError]:
    del old
    found: list[FieldError] = []
    for index, subset in enumerate(obj.get("subsets") or ()):
        where = f"subsets[{index}]"
        if not subset.get("addresses") and not subset.get("notReadyAddresses"):
            found.append(errors.required(where, "must specify `addresses` or `notReadyAddresses`"))
        for field in ("addresses", "notReadyAddresses"):
            for number, address in enumerate(subset.get(field) or ()):
                found += common.ip_address(address.get("ip"), f"{where}.{field}[{number}].ip")
        ports = subset.get("ports") or ()
        for number, port in enumerate(ports):
            at, name = f"{where}.ports[{number}]", port.get("name") or ""
            if not name and len(ports) > 1:
                found.append(errors.required(f"{at}.name"))
            elif name:
                found += [errors.invalid(f"{at}.name", name, problem) for problem in names.bad_label(name)]
            found += common.port_number(port.get("port"), f"{at}.port")
            found += common.one_of(port.get("protocol"), _PROTOCOLS, f"{at}.protocol")
    return found


def _check_update(spec: JSONMapping, old: JSONMapping) -> list[FieldError]:
    """An address stays while the Service has one at all."""
    if old.get("type") == "ExternalName" or spec.get("type") == "ExternalName" or not old.get("clusterIP"):
        return []
    found: list[FieldError] = []
    before, after = old.get("clusterIPs") or [], spec.get("clusterIPs") or []
    if before and after and before[0] != after[0]:
        found.append(errors.invalid("spec.clusterIPs[0]", after, "may not change once set"))
    elif spec.get("clusterIP") != old.get("clusterIP"):
        detail = "must match the value in clusterIPs[0]"
        found.append(errors.invalid("spec.clusterIPs", after, detail))
    return found
