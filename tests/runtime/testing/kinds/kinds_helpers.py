"""Writing an object as the server would, without a server."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from runtime.testing.clock import FakeClock
from runtime.testing.kinds.model import FieldError, Kind
from runtime.testing.kinds.registry import DefaultRegistry
from runtime.types import GVR

JSON = dict[str, Any]
CRDS = GVR("apiextensions.k8s.io", "v1", "customresourcedefinitions")
JSONMaker = Callable[..., JSON]


class Written:
    """What became of a write."""

    def __init__(self, obj: JSON, unknown: list[str], errors: list[FieldError]) -> None:
        self.obj = obj
        self.unknown = unknown
        self.errors = [each for each in errors if not each.warns]
        self.warnings = [each.message for each in errors if each.warns]

    @property
    def causes(self) -> list[tuple[str, str]]:
        return [(error.reason, error.field) for error in self.errors]

    @property
    def messages(self) -> list[str]:
        return [f"{error.field}: {error.message}" for error in self.errors]


def write(kind: Kind, obj: JSON, old: JSON | None = None, subresource: str | None = None) -> Written:
    """The calls that the server makes for a write, in its order."""
    obj = copy.deepcopy(obj)
    behaviour = kind.behaviour
    behaviour.default(obj)
    unknown = behaviour.prune(obj)
    if old is None:
        behaviour.prepare_create(obj)
    else:
        behaviour.prepare_update(obj, old, subresource)
    return Written(obj, unknown, behaviour.validate(obj, old, subresource))


class Sandbox:
    """A registry, and the two things that tests do with it."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.registry = DefaultRegistry(self.clock)

    def kind(self, gvr: GVR) -> Kind:
        kind = self.registry.lookup(gvr)
        assert kind is not None, gvr
        return kind

    def builtin(self, resource: str) -> Kind:
        return next(kind for kind in self.registry.kinds() if kind.gvr.resource == resource)

    def write(self, resource: str, obj: JSON, old: JSON | None = None, subresource: str | None = None) -> Written:
        kind = self.builtin(resource)
        body = {"apiVersion": kind.gvr.api_version, "kind": kind.kind, "metadata": {"name": "x", "namespace": "d"}}
        return write(kind, {**body, **obj}, old, subresource)

    def define(self, crd: JSON) -> Written:
        """Write a CRD; if it is good, its kinds are served."""
        written = write(self.kind(CRDS), crd)
        if not written.errors:
            self.settle(written.obj)
        return written

    def settle(self, crd: JSON) -> None:
        """What the server does with a stored CRD: again, until its status stays as it is."""
        while (status := self.registry.install_crd(crd)) != crd["status"]:
            crd["status"] = status

    def custom(self, spec_schema: JSON, **version: Any) -> Kind:
        """The kind of a CRD whose spec has that schema."""
        schema = {"type": "object", "properties": {"spec": spec_schema, "status": {"type": "object"}}}
        written = self.define(crd(schema, **version))
        assert written.errors == []
        return self.kind(GVR("example.com", "v1", "widgets"))


Submit = Callable[..., Written]


def crd(schema: JSON | None, *, plural: str = "widgets", kind: str = "Widget", **version: Any) -> JSON:
    entry: JSON = {"name": "v1", "served": True, "storage": True, **version}
    if schema is not None:
        entry["schema"] = {"openAPIV3Schema": schema}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"plural": plural, "kind": kind},
            "versions": [entry],
        },
    }
