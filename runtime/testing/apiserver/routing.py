"""From a path to what it names: a collection, an object, or a subresource of one."""

from __future__ import annotations

from dataclasses import dataclass

from runtime.testing.apiserver.errors import no_such_group, no_such_path, not_found
from runtime.testing.kinds.model import Kind, Registry
from runtime.types import GVR

# Subresources of namespaces are the only ones that share a place with the resources inside a namespace.
_NAMESPACE_SUBRESOURCES = frozenset({"status", "finalize"})


@dataclass(frozen=True, slots=True)
class Target:
    """What a request is about. ``name`` and ``subresource`` are empty for a collection; ``namespace`` is empty for
    cluster-scoped objects and for a collection over all namespaces.

    :param watch: the deprecated ``/watch/`` path.
    """

    kind: Kind
    namespace: str
    name: str
    subresource: str
    rest: str = ""
    watch: bool = False


def parse(registry: Registry, path: str) -> Target:
    """Raises the 404 that the real server gives for paths which name nothing."""
    parts = [part for part in path.split("/") if part]
    if parts[:1] == ["api"] and len(parts) >= 3:
        group, version, rest = "", parts[1], parts[2:]
    elif parts[:1] == ["apis"] and len(parts) >= 4:
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        raise no_such_group()
    watch = rest[0] == "watch" and len(rest) > 1
    if watch:
        rest = rest[1:]
    namespace = ""
    if rest[0] == "namespaces" and len(rest) >= 3 and not _is_namespace_subresource(group, rest):
        namespace, rest = rest[1], rest[2:]
    resource, name, subresource = (*rest, "", "", "")[:3]
    kind = _lookup(registry, GVR(group, version, resource))
    if subresource and subresource not in kind.subresources:
        # QUIRK kept: of a custom resource, a missing subresource looks like a missing object.
        raise not_found(kind, name) if kind.custom else no_such_path()
    if kind.namespaced and not namespace and name:
        raise _unknown(kind)
    if not kind.namespaced and namespace:
        raise _unknown(kind)
    return Target(kind, namespace, name, subresource, "/".join(rest[3:]), watch)


def _is_namespace_subresource(group: str, rest: list[str]) -> bool:
    return group == "" and len(rest) == 3 and rest[2] in _NAMESPACE_SUBRESOURCES


def _lookup(registry: Registry, gvr: GVR) -> Kind:
    kind = registry.lookup(gvr)
    if kind is not None:
        return kind
    builtin = any(each.gvr.group == gvr.group and not each.custom for each in registry.kinds())
    raise no_such_path() if builtin else no_such_group()


def _unknown(kind: Kind) -> Exception:
    return no_such_group() if kind.custom else no_such_path()
