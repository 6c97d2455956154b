"""What the server serves: groups, versions, resources and their names."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from runtime.client.errors import ConnectionFailed, NotFound, ServiceUnavailable
from runtime.types import GVR, JSONObject

if TYPE_CHECKING:
    from runtime.client.client import Client


@dataclass(frozen=True, slots=True)
class APIResource:
    """One resource, as discovery tells it."""

    gvr: GVR
    kind: str
    namespaced: bool
    singular: str = ""
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    verbs: frozenset[str] = frozenset()
    subresources: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class APIGroup:
    """One group (``""`` is the core group) with its versions, the server's preferred one first."""

    name: str
    versions: tuple[str, ...]

    @property
    def preferred_version(self) -> str:
        return self.versions[0]


class Discovery:
    """Answers are kept until :meth:`invalidate`; that something is *not* there is never kept.

    What is not served (404), or whose extension server is down (503), counts as not there. Every method may ask the
    server and raises :class:`ClientError` where it cannot tell. Safe to share between threads.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._lock = threading.Lock()  # guards both caches; not held while the server is asked
        self._groups: tuple[APIGroup, ...] | None = None
        self._resources: dict[tuple[str, str], tuple[APIResource, ...]] = {}

    def invalidate(self) -> None:
        """Forget everything, as after a CRD was installed or removed."""
        with self._lock:
            self._groups = None
            self._resources = {}

    def groups(self) -> tuple[APIGroup, ...]:
        """All groups, the core group first, then in the server's order."""
        with self._lock:
            if self._groups is not None:
                return self._groups
        core = self._get("/api")
        versions = tuple(_strings(core.get("versions"))) if core else ()
        groups = [APIGroup("", versions)] if versions else []
        listed = self._get("/apis")
        for raw in _objects(listed.get("groups")) if listed else ():
            served = [v["version"] for v in _objects(raw.get("versions")) if isinstance(v.get("version"), str)]
            preferred = raw.get("preferredVersion")
            first = preferred.get("version") if isinstance(preferred, dict) else None
            if served:
                ordered = sorted(served, key=lambda v: v != first)  # stable: only the preferred one moves
                groups.append(APIGroup(str(raw.get("name", "")), tuple(ordered)))
        with self._lock:
            self._groups = tuple(groups)
            return self._groups

    def resources(self, group: str, version: str) -> tuple[APIResource, ...]:
        """The resources of a group version; empty if it is not served."""
        with self._lock:
            cached = self._resources.get((group, version))
        if cached is not None:
            return cached
        answer = self._get(GVR(group, version, "").prefix)
        if answer is None:
            return ()
        resources = _resources(group, version, _objects(answer.get("resources")))
        with self._lock:
            self._resources[group, version] = resources
        return resources

    def find(self, name: str, group: str | None = None) -> APIResource | None:
        """The resource of that kind, plural, singular or short name, in any group or in ``group``.

        Also in the forms ``plural.group`` and ``plural.version.group``, as kubectl takes them. The first group that
        has it counts, in its preferred version if it is served there. Case does not matter.
        """
        found = self._find_any_form(name.lower(), group)
        if found is None:  # it may have come since the groups and their resources were looked at
            self.invalidate()
            found = self._find_any_form(name.lower(), group)
        return found

    def _find_any_form(self, name: str, group: str | None) -> APIResource | None:
        found = self._find(name, group, None)
        if found is not None or group is not None or "." not in name:
            return found
        plural, rest = name.split(".", 1)
        found = self._find(plural, rest, None)
        if found is None:
            version, _, rest = rest.partition(".")
            found = self._find(plural, rest, version)
        return found

    def resource_for(self, api_version: str, kind: str) -> APIResource | None:
        """The resource whose objects say this apiVersion and kind; None if it is not served."""
        group, _, version = api_version.rpartition("/")
        return self._look_twice(group, version, lambda resource: resource.kind == kind)

    def gvr_for(self, api_version: str, kind: str) -> GVR | None:
        """Where objects of this apiVersion and kind live; None if it is not served."""
        resource = self.resource_for(api_version, kind)
        return resource.gvr if resource is not None else None

    def has(self, gvr: GVR) -> bool:
        """Whether the server serves this resource now. A "no" is asked again each time."""
        gvr = GVR(*gvr)
        return self._look_twice(gvr.group, gvr.version, lambda resource: resource.gvr == gvr) is not None

    def _look_twice(self, group: str, version: str, wanted: Callable[[APIResource], bool]) -> APIResource | None:
        found = next(filter(wanted, self.resources(group, version)), None)
        if found is None:
            # The version may have been cached before this resource was added to it.
            with self._lock:
                self._resources.pop((group, version), None)
            found = next(filter(wanted, self.resources(group, version)), None)
        return found

    def _find(self, name: str, group: str | None, version: str | None) -> APIResource | None:
        for candidate in self.groups():
            if group is not None and candidate.name != group:
                continue
            for served in candidate.versions:
                if version is not None and served != version:
                    continue
                for resource in self.resources(candidate.name, served):
                    if name in _names(resource):
                        return resource
        return None

    def _get(self, path: str) -> JSONObject | None:
        try:
            answer = orjson.loads(self._client.request("GET", path).body)
        except NotFound:
            return None
        except ServiceUnavailable:
            if path in _ROOTS:  # the server itself is not up: nothing is known of what it serves
                raise
            return None
        except orjson.JSONDecodeError as e:
            raise _not_discovery(path) from e
        if not isinstance(answer, dict):
            raise _not_discovery(path)
        return answer


_ROOTS = ("/api", "/apis")


def _not_discovery(path: str) -> ConnectionFailed:
    return ConnectionFailed(f"GET {path}: the answer is no discovery document", sent=False, retryable=False)


def _names(resource: APIResource) -> set[str]:
    names = {resource.gvr.resource, resource.kind.lower(), resource.singular.lower()}
    names.update(short.lower() for short in resource.short_names)
    names.discard("")
    return names


def _resources(group: str, version: str, listed: list[JSONObject]) -> tuple[APIResource, ...]:
    subresources: dict[str, set[str]] = {}
    for raw in listed:
        plural, slash, sub = str(raw.get("name", "")).partition("/")
        if slash:
            subresources.setdefault(plural, set()).add(sub)
    return tuple(
        APIResource(
            gvr=GVR(group, version, raw["name"]),
            kind=str(raw.get("kind", "")),
            namespaced=bool(raw.get("namespaced")),
            singular=str(raw.get("singularName") or ""),
            short_names=tuple(_strings(raw.get("shortNames"))),
            categories=tuple(_strings(raw.get("categories"))),
            verbs=frozenset(_strings(raw.get("verbs"))),
            subresources=frozenset(subresources.get(raw["name"], ())),
        )
        for raw in listed
        if isinstance(raw.get("name"), str) and "/" not in raw["name"]
    )


def _objects(value: Any) -> list[JSONObject]:
    return [v for v in value if isinstance(v, dict)] if isinstance(value, list) else []


def _strings(value: Any) -> list[str]:
    return [v for v in value if isinstance(v, str)] if isinstance(value, list) else []
