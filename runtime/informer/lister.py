"""Reading the cache as one reads the API: by name, by namespace, by selector."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

from runtime.client import NotFound, Unstructured
from runtime.client.errors import Answer, Details, Target
from runtime.selectors import LabelSelector
from runtime.types import GVR, Request

from .store import Indexer

_Objects: TypeAlias = list[Unstructured]  # the classes below have a method named list


class _Lister:
    def __init__(self, indexer: Indexer, gvr: GVR) -> None:
        self._indexer = indexer
        self._gvr = gvr

    def _find(self, namespace: str, name: str) -> Unstructured:
        obj = self._indexer.find(namespace, name)
        if obj is None:
            key = f"{namespace}/{name}" if namespace else name
            answer = Answer(
                404,
                "NotFound",
                f"{self._gvr.resource} {key!r} is not in the cache",
                Details(name=name, group=self._gvr.group, kind=self._gvr.resource),
            )
            raise NotFound(Target("get", f"{self._gvr} {key}"), answer)
        return obj


class Lister(_Lister):
    """All objects of an informer's cache, without a call to the server. Any thread may use it.

    :param indexer: the cache.
    :param gvr: what it holds; for the text of errors.
    """

    def get(self, name: str | Request, namespace: str = "") -> Unstructured:
        """The object of that name.

        :param name: a name, a key ``"namespace/name"``, or a ``Request``.
        :param namespace: where to look, if ``name`` does not tell.
        :raises NotFound: it is not in the cache (S11).
        """
        if isinstance(name, Request):
            return self._find(name.namespace, name.name)
        if not namespace and "/" in name:
            namespace, _, name = name.rpartition("/")
        return self._find(namespace, name)

    def list(self, selector: str | LabelSelector | None = None) -> _Objects:
        """The objects whose labels match; all without a selector. In no order.

        :param selector: as ``"app=web,tier in (a,b)"``.
        :raises ValueError: the selector cannot be read.
        """
        return _matching(self._indexer.list(), selector)

    def namespace(self, namespace: str) -> NamespaceLister:
        """The objects of one namespace; ``""`` for all (S10). Needs no index: the cache is kept by namespace."""
        return NamespaceLister(self._indexer, self._gvr, namespace)


class NamespaceLister(_Lister):
    """The objects of one namespace in an informer's cache."""

    def __init__(self, indexer: Indexer, gvr: GVR, namespace: str) -> None:
        super().__init__(indexer, gvr)
        self._namespace = namespace

    def get(self, name: str) -> Unstructured:
        """The object of that name.

        :raises NotFound: it is not in the cache.
        """
        return self._find(self._namespace, name)

    def list(self, selector: str | LabelSelector | None = None) -> _Objects:
        """The objects whose labels match; all without a selector. In no order.

        :raises ValueError: the selector cannot be read.
        """
        if not self._namespace:
            return _matching(self._indexer.list(), selector)
        return _matching(self._indexer.in_namespace(self._namespace), selector)


def _matching(objects: Iterable[Unstructured], selector: str | LabelSelector | None) -> _Objects:
    parsed = LabelSelector.parse(selector)
    if parsed.empty:
        return [*objects]
    return [obj for obj in objects if parsed.matches(obj.labels)]
