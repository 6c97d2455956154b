"""Checks of Ingresses, IngressClasses, NetworkPolicies and the addresses of Services."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from typing import Final

from runtime.testing.kinds import errors, names
from runtime.testing.kinds.checks import common
from runtime.testing.kinds.model import FieldError
from runtime.types import JSONMapping, JSONObject

_PROTOCOLS: Final = ("SCTP", "TCP", "UDP")
_PATH_TYPES: Final = ("Exact", "ImplementationSpecific", "Prefix")
_BAD_SEQUENCES: Final = ("//", "/./", "/../", "%2f", "%2F")
_BAD_SUFFIXES: Final = ("/..", "/.")
_WILDCARD = re.compile(r"\*\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_BAD_WILDCARD: Final = (
    "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of "
    "lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character (e.g. '*.example.com', "
    r"regex used for validation is '\*\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
_BAD_CIDR: Final = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"


def validate_ingress(obj: JSONObject, old: JSONObject | None) -> list[FieldError]:
    spec = obj.get("spec") or {}
    found: list[FieldError] = []
    rules = spec.get("rules") or ()
    if not rules and spec.get("defaultBackend") is None:
        found.append(errors.invalid("spec", None, "either `defaultBackend` or `rules` must be specified"))
    if spec.get("defaultBackend") is not None:
        found += _backend(spec["defaultBackend"], "spec.defaultBackend")
    for index, rule in enumerate(rules):
        found += _rule(rule, f"spec.rules[{index}]")
    for index, each in enumerate(spec.get("tls") or ()):
        found += _tls(each, f"spec.tls[{index}]")
    name = spec.get("ingressClassName")
    if name is not None:
        problems = names.bad_subdomain(name)
        found += [errors.invalid("spec.ingressClassName", name, problem) for problem in problems]
    wanted = ((obj.get("metadata") or {}).get("annotations") or {}).get("kubernetes.io/ingress.class")
    if old is None and wanted is not None and name is not None and wanted != name:
        detail = "must match `ingressClassName` when both are specified"
        found.append(errors.invalid("annotations.kubernetes.io/ingress.class", wanted, detail))
    return found


def _rule(rule: JSONMapping, path: str) -> list[FieldError]:
    found: list[FieldError] = []
    host = rule.get("host")
    if host:
        if _is_ip(host):
            found.append(errors.invalid(f"{path}.host", host, "must be a DNS name, not an IP address"))
        found += _host(host, f"{path}.host")
    if rule.get("http") is None:
        return found
    where = f"{path}.http.paths"
    if not rule["http"].get("paths"):
        found.append(errors.required(where))
    for index, each in enumerate(rule["http"].get("paths") or ()):
        found += _http_path(each, f"{where}[{index}]")
    return found


def _http_path(given: JSONMapping, path: str) -> list[FieldError]:
    found: list[FieldError] = []
    kind, place = given.get("pathType"), given.get("path") or ""
    if kind is None:
        return [errors.required(f"{path}.pathType", "pathType must be specified")]
    if kind not in _PATH_TYPES:
        found.append(errors.not_supported(f"{path}.pathType", kind, _PATH_TYPES))
    elif kind == "ImplementationSpecific":
        if place and not place.startswith("/"):
            found.append(errors.invalid(f"{path}.path", place, "must be an absolute path"))
    else:
        if not place.startswith("/"):
            found.append(errors.invalid(f"{path}.path", place, "must be an absolute path"))
        found += [
            errors.invalid(f"{path}.path", place, f"must not contain '{each}'")
            for each in _BAD_SEQUENCES
            if each in place
        ]
        found += [
            errors.invalid(f"{path}.path", place, f"cannot end with '{each}'")
            for each in _BAD_SUFFIXES
            if place.endswith(each)
        ]
    return found + _backend(given.get("backend") or {}, f"{path}.backend")


def _backend(backend: JSONMapping, path: str) -> list[FieldError]:
    service, resource = backend.get("service"), backend.get("resource")
    found: list[FieldError] = []
    if service is not None and resource is not None:
        return [errors.invalid(path, "", "cannot set both resource and service backends")]
    if resource is not None:
        found += [errors.required(f"{path}.resource.{each}") for each in ("kind", "name") if not resource.get(each)]
        return found
    if service is None:
        return [errors.invalid(path, "", "resource or service backend is required")]
    name, port = str(service.get("name") or ""), service.get("port") or {}
    if not name:
        found.append(errors.required(f"{path}.service.name"))
    else:
        found += [errors.invalid(f"{path}.service.name", name, problem) for problem in names.bad_label(name)]
    where = f"{path}.service.port"
    if port.get("name") and port.get("number"):
        found.append(errors.invalid(path, "", "cannot set both port name & port number"))
    elif port.get("name"):
        found += common.port_name(port["name"], f"{where}.name")
    elif port.get("number"):
        found += common.port_number(port["number"], f"{where}.number")
    else:
        found.append(errors.required(path, "port name or number is required"))
    return found


def _tls(tls: JSONMapping, path: str) -> list[FieldError]:
    found: list[FieldError] = []
    for index, host in enumerate(tls.get("hosts") or ()):
        found += _host(host, f"{path}.hosts[{index}]")
    name = tls.get("secretName")
    if name:
        found += [errors.invalid(f"{path}.secretName", name, problem) for problem in names.bad_subdomain(name)]
    return found


def _host(host: str, path: str) -> list[FieldError]:
    if "*" not in host:
        return [errors.invalid(path, host, problem) for problem in names.bad_subdomain(host)]
    return [] if _WILDCARD.fullmatch(host) else [errors.invalid(path, host, _BAD_WILDCARD)]


def validate_ingress_class(obj: JSONObject, old: JSONObject | None) -> list[FieldError]:
    spec = obj.get("spec") or {}
    controller = spec.get("controller") or ""
    found: list[FieldError] = []
    if old is not None:
        before = (old.get("spec") or {}).get("controller") or ""
        if controller != before:
            found.append(errors.invalid("spec.controller", controller, common.IMMUTABLE))
    elif len(controller) > 250:
        found.append(errors.too_long("spec.controller", 250))
    elif not controller:
        found.append(errors.required("spec.controller"))
    elif "/" not in controller:
        detail = 'must be a domain-prefixed path (such as "acme.io/foo")'
        found.append(errors.invalid("spec.controller", controller, detail))
    parameters = spec.get("parameters")
    if parameters is not None:
        where = "spec.parameters"
        found += [errors.required(f"{where}.{each}") for each in ("kind", "name") if not parameters.get(each)]
        scope, namespace = parameters.get("scope"), parameters.get("namespace")
        found += common.one_of(scope, ("Cluster", "Namespace"), f"{where}.scope")
        if scope == "Namespace" and not namespace:
            detail = "`parameters.scope` is set to 'Namespace'"
            found.append(errors.required(f"{where}.namespace", detail))
        if scope == "Cluster" and namespace is not None:
            found.append(errors.forbidden(f"{where}.namespace", "`parameters.scope` is set to 'Cluster'"))
    return found


def validate_network_policy(obj: JSONObject, old: JSONObject | None) -> list[FieldError]:
    del old
    spec = obj.get("spec") or {}
    found = common.label_selector(spec.get("podSelector"), "spec.podSelector")
    for field, peers in (("ingress", "from"), ("egress", "to")):
        for index, rule in enumerate(spec.get(field) or ()):
            where = f"spec.{field}[{index}]"
            for number, port in enumerate(rule.get("ports") or ()):
                found += _policy_port(port, f"{where}.ports[{number}]")
            for number, peer in enumerate(rule.get(peers) or ()):
                found += _peer(peer, f"{where}.{peers}[{number}]")
    types = spec.get("policyTypes") or ()
    if len(types) > 2:
        return [*found, errors.invalid("spec.policyTypes", types, "may not specify more than two policyTypes")]
    for index, each in enumerate(types):
        found += common.one_of(each, ("Egress", "Ingress"), f"spec.policyTypes[{index}]")
    return found


def _policy_port(port: JSONMapping, path: str) -> list[FieldError]:
    found = common.one_of(port.get("protocol"), _PROTOCOLS, f"{path}.protocol")
    number, end = port.get("port"), port.get("endPort")
    if number is not None:
        found += common.port_or_name(number, f"{path}.port")
    if end is None:
        return found
    if number is None:
        found.append(errors.invalid(f"{path}.endPort", end, "may not be specified when `port` is not specified"))
    elif isinstance(number, str):
        found.append(errors.invalid(f"{path}.endPort", end, "may not be specified when `port` is non-numeric"))
    else:
        if end < number:
            found.append(errors.invalid(f"{path}.endPort", end, "must be greater than or equal to `port`"))
        found += common.port_number(end, f"{path}.endPort")
    return found


def _peer(peer: JSONMapping, path: str) -> list[FieldError]:
    found: list[FieldError] = []
    kinds = [each for each in ("podSelector", "namespaceSelector", "ipBlock") if peer.get(each) is not None]
    for each in kinds:
        if each == "ipBlock":
            found += _ip_block(peer[each], f"{path}.ipBlock")
        else:
            found += common.label_selector(peer[each], f"{path}.{each}")
    if not kinds:
        found.append(errors.required(path, "must specify a peer"))
    elif len(kinds) > 1 and "ipBlock" in kinds:
        found.append(errors.forbidden(path, "may not specify both ipBlock and another peer"))
    return found


def _ip_block(block: JSONMapping, path: str) -> list[FieldError]:
    cidr = block.get("cidr") or ""
    if not cidr:
        return [errors.required(f"{path}.cidr")]
    network = _network(cidr)
    if network is None:
        return [errors.invalid(f"{path}.cidr", cidr, _BAD_CIDR)]
    found: list[FieldError] = []
    for index, each in enumerate(block.get("except") or ()):
        inner = _network(each)
        if inner is None:
            found.append(errors.invalid(f"{path}.except[{index}]", each, _BAD_CIDR))
        elif not _within(inner, network):
            found.append(errors.invalid(f"{path}.except[{index}]", each, "must be a strict subset of `cidr`"))
    return found


Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _within(inner: Network, outer: Network) -> bool:
    return inner.version == outer.version and inner.prefixlen > outer.prefixlen and inner.network_address in outer


def _network(text: object) -> Network | None:
    try:
        return ipaddress.ip_network(str(text), strict=False) if "/" in str(text) else None
    except ValueError:
        return None


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def validate_service_cidr(obj: JSONObject, old: JSONObject | None) -> list[FieldError]:
    cidrs = (obj.get("spec") or {}).get("cidrs") or []
    if old is not None:
        same = cidrs == ((old.get("spec") or {}).get("cidrs") or [])
        return [] if same else [errors.invalid("spec.cidrs", cidrs, common.IMMUTABLE)]
    if not cidrs:
        return [errors.required("spec.cidrs", "at least one CIDR required")]
    if len(cidrs) > 2:
        return [errors.invalid("spec", obj.get("spec"), "may only hold up to 2 values")]
    return _networks(cidrs, "spec.cidrs")


def _networks(cidrs: Iterable[str], path: str) -> list[FieldError]:
    return [
        errors.invalid(f"{path}[{index}]", each, _BAD_CIDR)
        for index, each in enumerate(cidrs)
        if _network(each) is None
    ]


def validate_ip_address(obj: JSONObject, old: JSONObject | None) -> list[FieldError]:
    parent = (obj.get("spec") or {}).get("parentRef")
    name = str((obj.get("metadata") or {}).get("name") or "")
    if old is not None:
        same = parent == (old.get("spec") or {}).get("parentRef")
        return [] if same else [errors.invalid("spec.parentRef", parent, common.IMMUTABLE)]
    found = [] if _is_ip(name) else [errors.invalid("metadata.name", name, "must be a valid IP address")]
    if parent is None:
        return [*found, errors.required("spec.parentRef")]
    return found + [
        errors.required(f"spec.parentRef.{field}") for field in ("resource", "name") if not parent.get(field)
    ]
