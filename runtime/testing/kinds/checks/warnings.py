"""What the real server warns of in Pods, Pod templates and Services: it is stored, and seldom meant."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from runtime.testing.kinds import errors, gojson, names, paths
from runtime.testing.kinds.checks.common import Checker
from runtime.testing.kinds.model import FieldError
from runtime.types import JSONMapping, JSONObject

_VOLUMES: Final = {
    "photonPersistentDisk": "deprecated in v1.11, non-functional in v1.16+",
    "gitRepo": "deprecated in v1.11, and disabled by default in v1.33+",
    "scaleIO": "deprecated in v1.16, non-functional in v1.22+",
    "flocker": "deprecated in v1.22, non-functional in v1.25+",
    "storageos": "deprecated in v1.22, non-functional in v1.25+",
    "quobyte": "deprecated in v1.22, non-functional in v1.25+",
    "glusterfs": "deprecated in v1.25, non-functional in v1.26+",
    "cephfs": "deprecated in v1.28, non-functional in v1.31+",
    "rbd": "deprecated in v1.28, non-functional in v1.31+",
}
_ANNOTATIONS: Final = {
    "scheduler.alpha.kubernetes.io/critical-pod": 'non-functional in v1.16+; use the "priorityClassName" field instead',
    "security.alpha.kubernetes.io/sysctls": 'non-functional in v1.11+; use the "sysctls" field instead',
    "security.alpha.kubernetes.io/unsafe-sysctls": 'non-functional in v1.11+; use the "sysctls" field instead',
}
_CLASS: Final = "kubernetes.io/ingress.class"
_LABELS: Final = {
    "beta.kubernetes.io/arch": "kubernetes.io/arch",
    "beta.kubernetes.io/os": "kubernetes.io/os",
    "beta.kubernetes.io/instance-type": "node.kubernetes.io/instance-type",
    "failure-domain.beta.kubernetes.io/region": "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone": "topology.kubernetes.io/zone",
}


def warn_of_pod(obj: JSONObject, old: JSONObject | None) -> list[FieldError]:
    """A Pod is looked at when it is made, not when it is changed."""
    if old is not None:
        return []
    found: list[str] = []
    name = str((obj.get("metadata") or {}).get("name") or "")
    problems = names.bad_label(name)
    if problems:
        found.append(
            "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; "
            f"a DNS label is recommended: [{' '.join(problems)}]"
        )
    return [errors.warning(each) for each in (*found, *_of_template(obj, ""))]


def warn_of_name(obj: JSONObject, old: JSONObject | None) -> list[FieldError]:
    """The name of a workload becomes part of what its Pods are called."""
    problems = names.bad_label(str((obj.get("metadata") or {}).get("name") or "")) if old is None else []
    if not problems:
        return []
    text = (
        "this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended"
    )
    return [errors.warning(f"metadata.name: {text}: [{' '.join(problems)}]")]


def warn_of_ingress(obj: JSONObject, old: JSONObject | None) -> list[FieldError]:
    """An annotation that a field took the place of."""
    annotations = (obj.get("metadata") or {}).get("annotations") or {}
    if old is not None or _CLASS not in annotations or (obj.get("spec") or {}).get("ingressClassName") is not None:
        return []
    text = f"annotation {gojson.quoted(_CLASS)} is deprecated, please use 'spec.ingressClassName' instead"
    return [errors.warning(text)]


def warn_of_template(path: str) -> Checker:
    """The check of a workload with a Pod template there; only a changed one is looked at."""
    steps = paths.dotted(path)

    def check(obj: JSONObject, old: JSONObject | None) -> list[FieldError]:
        template = paths.get(obj, steps)
        if not isinstance(template, dict) or (old is not None and template == paths.get(old, steps)):
            return []
        return [errors.warning(each) for each in _of_template(template, f"{path}.")]

    return check


def _of_template(template: JSONMapping, prefix: str) -> Iterator[str]:
    spec, annotations = template.get("spec") or {}, (template.get("metadata") or {}).get("annotations") or {}
    where = f"{prefix}spec"
    yield from _of_placement(spec, where)
    for key, text in _ANNOTATIONS.items():
        if key in annotations:
            yield f"{prefix}metadata.annotations[{key}]: {text}"
    for index, volume in enumerate(spec.get("volumes") or ()):
        for kind in sorted(set(volume) & set(_VOLUMES)):
            yield f"{where}.volumes[{index}].{kind}: {_VOLUMES[kind]}"
    yield from _twice(spec.get("hostAliases"), "ip", f"{where}.hostAliases")
    yield from _twice(spec.get("imagePullSecrets"), "name", f"{where}.imagePullSecrets")
    for index, each in enumerate(spec.get("imagePullSecrets") or ()):
        if not each.get("name"):
            yield f'{where}.imagePullSecrets[{index}].name: invalid empty name ""'
    containers: list[tuple[JSONObject, str]] = [
        (each, f"{where}.{field}[{index}]")
        for field in ("initContainers", "containers", "ephemeralContainers")
        for index, each in enumerate(spec.get(field) or ())
    ]
    for container, at in containers:
        yield from _hidden_variables(container, at)
    yield from _ports(containers)
    if (spec.get("terminationGracePeriodSeconds") or 0) < 0:
        text = "must be >= 0; negative values are invalid and will be treated as 1"
        yield f"{where}.terminationGracePeriodSeconds: {text}"


def _of_placement(spec: JSONMapping, path: str) -> Iterator[str]:
    for key in sorted(set(spec.get("nodeSelector") or {}) & set(_LABELS)):
        yield f'{path}.nodeSelector[{key}]: deprecated since v1.14; use "{_LABELS[key]}" instead'
    for index, each in enumerate(spec.get("topologySpreadConstraints") or ()):
        at, key = f"{path}.topologySpreadConstraints[{index}]", each.get("topologyKey")
        if key in _LABELS:
            yield f'{at}.topologyKey: {key} is deprecated since v1.17; use "{_LABELS[key]}" instead'
        if each.get("labelSelector") is None:
            yield f"{at}.labelSelector: a null labelSelector results in matching no pod"


def _twice(items: object, field: str, path: str) -> Iterator[str]:
    seen: set[object] = set()
    for index, each in enumerate(items if isinstance(items, list) else ()):
        value = each.get(field)
        if value in seen:
            yield f"{path}[{index}].{field}: duplicate {field} {gojson.quoted(str(value))}"
        seen.add(value)


def _hidden_variables(container: JSONMapping, path: str) -> Iterator[str]:
    seen: set[str] = set()
    for index, each in enumerate(container.get("env") or ()):
        name, value = str(each.get("name")), str(each.get("value") or "")
        reference = f"$({name})"
        if name in seen and (each.get("valueFrom") is not None or value == reference or reference not in value):
            hidden = f"hides previous definition of {gojson.quoted(name)}, which may be dropped when using apply"
            yield f"{path}.env[{index}]: {hidden}"
        seen.add(name)


def _ports(containers: list[tuple[JSONObject, str]]) -> Iterator[str]:
    seen: dict[tuple[object, object], list[tuple[JSONMapping, str]]] = {}
    for container, path in containers:
        for index, port in enumerate(container.get("ports") or ()):
            at = f"{path}.ports[{index}]"
            others = seen.setdefault((port.get("containerPort"), port.get("protocol")), [])
            for other, place in others:
                if _host(port) == _host(other):
                    yield f"{at}: duplicate port definition with {place}"
                elif not port.get("hostPort") or not other.get("hostPort"):
                    yield f"{at}: overlapping port definition with {place}"
            others.append((port, at))


def _host(port: JSONMapping) -> tuple[object, object]:
    return port.get("hostIP") or "", port.get("hostPort") or 0


def warn_of_service(obj: JSONObject, old: JSONObject | None) -> list[FieldError]:
    """What a Service says in vain."""
    del old
    spec = obj.get("spec") or {}
    kind, external = spec.get("type"), spec.get("externalIPs")
    headless = kind == "ClusterIP" and spec.get("clusterIP") == "None"
    affinity = headless and spec.get("sessionAffinity") != "None"
    rules: tuple[tuple[object, str], ...] = (
        (headless and spec.get("loadBalancerIP"), "spec.loadBalancerIP is ignored for headless services"),
        (headless and external, "spec.externalIPs is ignored for headless services"),
        (affinity, "spec.SessionAffinity is ignored for headless services"),
        (kind == "ExternalName" and external, 'spec.externalIPs is ignored when spec.type is "ExternalName"'),
        (
            kind != "ExternalName" and spec.get("externalName"),
            'spec.externalName is ignored when spec.type is not "ExternalName"',
        ),
    )
    return [errors.warning(text) for applies, text in rules if applies]
