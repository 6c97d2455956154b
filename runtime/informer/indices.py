"""Finding objects by what an index function says of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeAlias

from runtime.client import Unstructured

from .state import text_of

IndexFunc: TypeAlias = Callable[[Unstructured], Iterable[str]]
"""The values under which an object is found; none, one or many, duplicates merge (S4).

It is given the cached object, whose body is decoded only where the function reads it. It must be a pure
function of the object, and quick: it runs under the store's lock.
"""

_Bucket: TypeAlias = "Unstructured | dict[str, Unstructured]"


class IndexFunctionError(ValueError):
    """An index function failed on an object. The store still holds what it held before."""


class Index:
    """Value -> objects for one index function. Guarded by the store's lock.

    What stands alone under its value is kept without a container of its own: an index over something unique costs no
    more objects, and the garbage collector nothing.
    """

    def __init__(self, name: str, func: IndexFunc) -> None:
        self.name = name
        self.func = func
        self._buckets: dict[str, _Bucket] = {}
        # What the function said when the object came in: asking again about the old object would decode its
        # body once more, and a function that is not pure would leave stale entries.
        self._filed: dict[str, str | tuple[str, ...]] = {}
        # One text per value, however many objects are filed under it.
        self._texts: dict[str, str] = {}

    def values_of(self, obj: Unstructured) -> tuple[str, ...]:
        """:raises IndexFunctionError: the function raised, or returned something else than texts."""
        try:
            values: object = self.func(obj)  # what a user's function really returns is not what it says
            if isinstance(values, str):
                raise TypeError(f"returned the text {values!r}; return a list of values")
            if not isinstance(values, Iterable):
                raise TypeError(f"returned {values!r}; return a list of values")
            texts = tuple(values)
            for value in texts:
                if not isinstance(value, str):
                    raise TypeError(f"returned {value!r}, a {type(value).__name__}; values are texts")
        except (Exception, SystemExit) as e:  # the function is the user's: it may raise anything
            raise IndexFunctionError(f"index {self.name!r} failed on {obj.key}: {text_of(e)}") from e
        return texts if len(texts) < 2 else tuple(dict.fromkeys(texts))

    def file(self, obj: Unstructured, values: tuple[str, ...]) -> None:
        """File the object under ``values`` and nowhere else (S3)."""
        key = obj.key
        before = self._values(key)
        if before != values:
            for value in before:
                if value not in values:
                    self._unfile(key, value)
            self._remember(key, values)
        for value in values:
            bucket = self._buckets.get(value)
            if isinstance(bucket, dict):
                bucket[key] = obj
            elif bucket is None or value in before:  # then it stood there alone
                self._buckets[self._texts[value]] = obj
            else:
                assert isinstance(bucket, Unstructured)
                self._buckets[value] = {bucket.key: bucket, key: obj}

    def drop(self, key: str) -> None:
        """File it nowhere any more."""
        for value in self._values(key):
            self._unfile(key, value)
        self._filed.pop(key, None)

    def objects(self, value: str) -> list[Unstructured]:
        bucket = self._buckets.get(value)
        if bucket is None:
            return []
        return [*bucket.values()] if isinstance(bucket, dict) else [bucket]

    def keys(self, value: str) -> list[str]:
        bucket = self._buckets.get(value)
        return [*bucket] if isinstance(bucket, dict) else [obj.key for obj in self.objects(value)]

    def values(self) -> list[str]:
        return [*self._buckets]

    def _values(self, key: str) -> tuple[str, ...]:
        filed = self._filed.get(key, ())
        return (filed,) if isinstance(filed, str) else filed

    def _remember(self, key: str, values: tuple[str, ...]) -> None:
        if not values:
            self._filed.pop(key, None)
            return
        texts = tuple(self._texts.setdefault(value, value) for value in values)
        self._filed[key] = texts[0] if len(texts) == 1 else texts

    def _unfile(self, key: str, value: str) -> None:
        bucket = self._buckets[value]
        if isinstance(bucket, dict):
            del bucket[key]
            if bucket:
                return
        # An emptied value is gone (S3).
        del self._buckets[value]
        del self._texts[value]
