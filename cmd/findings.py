"""What ``check`` looks at. Each function looks at one thing, and yields what it finds; none writes anything."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias

import orjson

from controllers.xline.names import CERTIFICATES
from controllers.xline.workloads import ADVANCED_STATEFULSETS
from crds import manifests
from crds.definition import CustomResource
from runtime.client import Client, ClientError, Forbidden, NotFound, Unauthorized, Unstructured
from runtime.types import GVR

from .crds import DEFINITIONS, conditions
from .flags import program
from .permissions import Permission, permissions

__all__ = ["Finding", "Level", "Place", "examine"]

Level: TypeAlias = Literal["ok", "note", "warning", "problem"]

_OLDEST: Final = (1, 25)  # rules of CustomResourceDefinitions (x-kubernetes-validations)
_SIDECARS: Final = (1, 29)  # init containers that go on running
_SELECTABLE: Final = (1, 31)  # selectableFields of definitions, which older servers drop
_ACCESS_REVIEWS: Final = GVR("authorization.k8s.io", "v1", "selfsubjectaccessreviews")
_STORAGE_CLASSES: Final = GVR("storage.k8s.io", "v1", "storageclasses")
_DEFAULT_CLASS: Final = "storageclass.kubernetes.io/is-default-class"
_MONITORS: Final = GVR("monitoring.coreos.com", "v1", "servicemonitors")
_INSTALL_CRDS: Final = f"{program('crds')} apply"
_GRANT: Final = "grant it: deploy/base/rbac.yaml has all rules; whoever applies it needs them himself"

_NO_ORLEANS: Final = "Orleans clusters are not looked after"
# What is lost without a right, or a definition, that the operator can do without.
_WITHOUT: Final = {
    "silos.orleans.dot.net": _NO_ORLEANS,
    "clusterversions.orleans.dot.net": _NO_ORLEANS,
    "clusterversions.orleans.dot.net/status": "Orleans clusters get no status",
    "nodes": "spec.replaceDeadMembers is refused",
    "tokenreviews.authentication.k8s.io": "nobody can read the metrics with --metrics-secure",
    "subjectaccessreviews.authorization.k8s.io": "nobody can read the metrics with --metrics-secure",
    "certificates.cert-manager.io": "spec.tls with certificate is refused",
    "statefulsets.apps.kruise.io": "workload AdvancedStatefulSet is not possible",
    "xlineclusters.xline.io.datenlord.com/finalizers": "nothing is made where owner references are enforced",
    "leases.coordination.k8s.io xline-operator": "a standby takes over when it next looks, not at once",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """:ivar about: one or two words.
    :ivar text: a sentence.
    :ivar fix: what to do; ``""`` if there is nothing to do.
    """

    level: Level
    about: str
    text: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """:ivar namespaces: that the operator looks after; empty: all.
    :ivar own: the namespace of the operator's Lease.
    :ivar version: of the API server, if it can be read.
    """

    client: Client
    namespaces: tuple[str, ...]
    own: str
    version: tuple[int, int] = _SELECTABLE


def examine(place: Place) -> Iterator[Finding]:
    """Everything, in the order in which it should be put right; it ends early if the API server cannot be asked."""
    try:
        answer = orjson.loads(place.client.request("GET", "/version").body)
    except (ClientError, orjson.JSONDecodeError) as error:
        yield _unreachable(place, error)
        return
    version = _version_of(answer)
    yield _judged_version(place, answer, version)
    place = replace(place, version=version or place.version)
    for about, look in _LOOKS:
        try:
            yield from look(place)
        except Unauthorized as error:
            yield Finding("problem", about, f"the API server does not know who asks: {error}", "log in again")
            return
        except ClientError as error:
            yield Finding("problem", about, f"cannot be seen: {error}", "run this again when the API server answers")


def _unreachable(place: Place, error: Exception) -> Finding:
    if isinstance(error, Unauthorized):
        return Finding("problem", "API server", f"{place.client.url} does not know who asks: {error}", "log in again")
    text = f"{place.client.url} does not answer as one: {error}"
    return Finding(
        "problem", "API server", text, "see with kubectl cluster-info whether it is up; --context names another"
    )


def _version_of(answer: object) -> tuple[int, int] | None:
    """Of an answer to ``/version``; None if it says none."""
    said = answer.get("gitVersion") if isinstance(answer, dict) else None
    found = re.match(r"v(\d+)\.(\d+)", str(said))
    return (int(found[1]), int(found[2])) if found else None


def _judged_version(place: Place, answer: object, version: tuple[int, int] | None) -> Finding:
    if version is None:
        return Finding("warning", "API server", f"{place.client.url} does not tell its version: {str(answer)[:200]}")
    text = f"{place.client.url} is Kubernetes {'.'.join(map(str, version))}"
    if version < _OLDEST:
        oldest = ".".join(map(str, _OLDEST))
        return Finding(
            "problem", "API server", text, f"the definitions of our resources need {oldest} or newer: upgrade"
        )
    if version < _SIDECARS:
        fix = "set spec.agent.mode: Supervisor in XlineClusters; agents beside their server need 1.29 or newer"
        return Finding("warning", "API server", text, fix)
    return Finding("ok", "API server", text)


# -- our resources


def _definitions(place: Place) -> Iterator[Finding]:
    for resource in manifests.RESOURCES:
        try:
            live = place.client.resource(DEFINITIONS).get(resource.name)
        except NotFound:
            yield _not_installed(resource)
        except Forbidden:
            yield _served(place, resource)
        else:
            yield _judged(place, resource, live)


def _not_installed(resource: CustomResource) -> Finding:
    lost = f": {_WITHOUT[resource.name]}" if resource.name in _WITHOUT else ""
    return Finding(_level(resource), "definitions", f"{resource.name} is not installed{lost}", _INSTALL_CRDS)


def _level(resource: CustomResource) -> Level:
    """Of what is wrong with its definition. Those of the .NET provider do for Orleans clusters, too."""
    return "warning" if resource.name in _WITHOUT else "problem"


def _served(place: Place, resource: CustomResource) -> Finding:
    """All that can be told by who may not read definitions."""
    if not place.client.discovery.has(resource.gvr):
        return _not_installed(resource)
    return Finding(
        "note", "definitions", f"{resource.name} is served; whether as this release has it, this account may not see"
    )


def _judged(place: Place, resource: CustomResource, live: Unstructured) -> Finding:
    states = conditions(live.to_dict())
    accepted, message = states.get("NamesAccepted", ("", ""))
    if live.deletion_timestamp is not None:
        fix = f"when it has gone: {_INSTALL_CRDS}"
        return Finding(_level(resource), "definitions", f"{resource.name} is being deleted", fix)
    if accepted == "False":
        fix = "delete the definition that has them"
        return Finding(_level(resource), "definitions", f"{resource.name}: its names are taken: {message}", fix)
    wanted = resource.manifest()["spec"]
    if place.version < _SELECTABLE:
        wanted["versions"] = [{k: v for k, v in each.items() if k != "selectableFields"} for each in wanted["versions"]]
    difference = _difference(wanted, live["spec"], "spec")
    if difference:
        text = f"{resource.name} is not as this release has it: {difference}"
        return Finding(_level(resource), "definitions", text, _INSTALL_CRDS)
    if states.get("Established", ("", ""))[0] != "True":
        fix = f"kubectl describe crd {resource.name} tells why"
        return Finding(_level(resource), "definitions", f"{resource.name} is not established", fix)
    return Finding("ok", "definitions", f"{resource.name} is as this release has it")


def _difference(wanted: object, live: object, path: str) -> str:
    """The first thing of ``wanted`` that ``live`` has not, or has otherwise; ``""``: it has all. Servers add to it."""
    if isinstance(wanted, dict) and isinstance(live, dict):
        return next(
            (found for key in wanted if (found := _difference(wanted[key], live.get(key), f"{path}.{key}"))), ""
        )
    if isinstance(wanted, list) and isinstance(live, list) and len(wanted) == len(live):
        pairs = enumerate(zip(wanted, live, strict=True))
        return next((found for n, (one, other) in pairs if (found := _difference(one, other, f"{path}[{n}]"))), "")
    return "" if wanted == live else f"{path} differs"


# -- who may do what


def _rights(place: Place) -> Iterator[Finding]:
    where: dict[str, tuple[str, ...]] = {"cluster": ("",), "own": (place.own,), "watched": place.namespaces or ("",)}
    for namespace in dict.fromkeys(each for scope in where.values() for each in scope):
        mine = [each for each in permissions() if namespace in where[each.scope]]
        missing = [each for each in mine if not _allowed(place.client, each, namespace)]
        there = f"in namespace {namespace}" if namespace else "in the whole cluster"
        if not missing:
            yield Finding("ok", "rights", f"all {len(mine)} that are needed {there}")
        yield from _missing(missing, there)


def _missing(missing: Iterable[Permission], there: str) -> Iterator[Finding]:
    verbs: dict[str, list[str]] = {}
    for each in missing:
        verbs.setdefault(f"{each.what} {each.name}".rstrip(), []).append(each.verb)
    for what, lacking in verbs.items():
        text = f"this account may not {', '.join(lacking)} {what} {there}"
        if what in _WITHOUT:
            yield Finding("warning", "rights", f"{text}: {_WITHOUT[what]}", _GRANT)
        else:
            yield Finding("problem", "rights", text, _GRANT)


def _allowed(client: Client, permission: Permission, namespace: str) -> bool:
    attributes = {
        "verb": permission.verb,
        "group": permission.group,
        "resource": permission.resource,
        "subresource": permission.subresource,
        "name": permission.name,
        "namespace": namespace,
    }
    body = {
        "apiVersion": _ACCESS_REVIEWS.api_version,
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {key: value for key, value in attributes.items() if value}},
    }
    return client.resource(_ACCESS_REVIEWS).create(body)["status"].get("allowed") is True


# -- what else there is


def _storage(place: Place) -> Iterator[Finding]:
    try:
        classes = place.client.resource(_STORAGE_CLASSES).list()
    except Forbidden:
        yield Finding("note", "storage", "this account may not see StorageClasses: one should be the default")
        return
    defaults = [each for each in classes if each.annotations.get(_DEFAULT_CLASS) == "true"]
    if not defaults:
        names = ", ".join(each.name for each in classes) or "there is none at all"
        text = f"no StorageClass is the default ({names}): XlineClusters must name one in spec.storage.storageClassName"
        fix = f"kubectl annotate storageclass NAME {_DEFAULT_CLASS}=true"
        yield Finding("warning", "storage", text, fix)
    for each in defaults:
        grows = each.get("allowVolumeExpansion") is True
        text = f"StorageClass {each.name} is the default, and its volumes {'can' if grows else 'cannot'} grow"
        yield Finding("ok" if grows else "note", "storage", text)


def _optional(gvr: GVR, about: str, have: str, lack: str) -> Callable[[Place], Iterator[Finding]]:
    def look(place: Place) -> Iterator[Finding]:
        if place.client.discovery.has(gvr):
            yield Finding("ok", about, f"is installed: {have}")
        else:
            yield Finding("note", about, f"is not installed, and need not be: {lack}")

    return look


_LOOKS: Final[tuple[tuple[str, Callable[[Place], Iterator[Finding]]], ...]] = (
    ("definitions", _definitions),
    ("rights", _rights),
    ("storage", _storage),
    (
        "OpenKruise",
        _optional(
            ADVANCED_STATEFULSETS,
            "OpenKruise",
            "workload: auto makes AdvancedStatefulSets, which can lose any member",
            "workloads are StatefulSets, which lose their highest ordinal",
        ),
    ),
    (
        "cert-manager",
        _optional(CERTIFICATES, "cert-manager", "spec.tls may ask for certificates", "spec.tls needs Secrets of yours"),
    ),
    (
        "Prometheus",
        _optional(
            _MONITORS,
            "Prometheus",
            "deploy/overlays/monitored can be applied",
            "deploy/overlays/monitored needs the Prometheus operator",
        ),
    ),
)
