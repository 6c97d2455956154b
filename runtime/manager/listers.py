"""Reading a resource that is cached namespace by namespace."""

from __future__ import annotations

from collections.abc import Mapping

from runtime.client import Unstructured
from runtime.informer import Lister, NamespaceLister
from runtime.selectors import LabelSelector
from runtime.types import GVR, Request

__all__ = ["MultiNamespaceLister"]


class MultiNamespaceLister(Lister):
    """Several caches of one resource, one per namespace, read as one."""

    def __init__(self, by_namespace: Mapping[str, Lister], gvr: GVR) -> None:
        self._by_namespace = dict(by_namespace)
        self._gvr = gvr

    def get(self, name: str | Request, namespace: str = "") -> Unstructured:
        """:raises LookupError: that namespace is not watched."""
        if isinstance(name, Request):
            namespace, name = name
        elif not namespace and "/" in name:
            namespace, _, name = name.partition("/")
        return self._of(namespace).get(name, namespace)

    def list(self, selector: str | LabelSelector | None = None) -> list[Unstructured]:
        return [obj for lister in self._by_namespace.values() for obj in lister.list(selector)]

    def namespace(self, namespace: str) -> NamespaceLister:
        """:raises LookupError: that namespace is not watched."""
        return self._of(namespace).namespace(namespace)

    def _of(self, namespace: str) -> Lister:
        lister = self._by_namespace.get(namespace)
        if lister is None:
            watched = ", ".join(self._by_namespace)
            raise LookupError(f"{self._gvr} in namespace {namespace!r} is not cached: watched are {watched}")
        return lister
