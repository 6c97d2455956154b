"""What reading a cache costs, one process per way: ``python -m bench.reads WAY --kind silo --objects N``.

The caches are filled without a server. Whoever changes what it reads needs a copy of its own: our cache gives it by
decoding the bytes it keeps, caches of dicts have to copy.
"""

from __future__ import annotations

import argparse
import copy
import gc
import json
from collections.abc import Callable, Iterable
from typing import Any

import orjson

from bench.gauges import cpu_seconds
from bench.objects import KINDS, Kind
from runtime.client import Unstructured
from runtime.informer import Indexer, Lister

_SELECTORS = {"silo": "orleans.dot.net/shard=3", "pod": "app=web-03"}
_ENOUGH = 0.2  # seconds of CPU time, which the kernel counts in steps


class Ours:
    """An Indexer and its Lister, with one index on a label."""

    def __init__(self, kind: Kind, raw: Iterable[bytes], selector: str) -> None:
        label, _, self._value = selector.partition("=")
        self._indexer = Indexer({"by-label": lambda obj: [obj.labels[label]]})
        for one in raw:
            self._indexer.add(Unstructured.from_bytes(one))
        self._lister = Lister(self._indexer, kind.gvr)
        self._selector = selector

    def copy_of(self, key: str) -> Any:
        obj = self._indexer.get(key)
        assert obj is not None
        return obj.to_dict()

    def name_of(self, key: str) -> str:
        obj = self._indexer.get(key)
        assert obj is not None
        return obj.name

    def copies(self) -> int:
        return len([obj.to_dict() for obj in self._lister.list()])

    def names(self) -> int:
        return len([obj.name for obj in self._lister.list()])

    def by_index(self) -> int:
        return len(self._indexer.by_index("by-label", self._value))

    def by_selector(self) -> int:
        return len(self._lister.list(self._selector))


class Dicts:
    """A dict of dicts, and ``copy.deepcopy``. It has no index: whoever asks has to look at every object."""

    def __init__(self, kind: Kind, raw: Iterable[bytes], selector: str) -> None:
        del kind
        self._label, _, self._value = selector.partition("=")
        self._get, self._list = self._fill([orjson.loads(one) for one in raw])

    def _fill(self, objects: list[Any]) -> tuple[Callable[[str], Any], Callable[[], Iterable[Any]]]:
        cache = {_key(obj["metadata"]): obj for obj in objects}
        return cache.__getitem__, cache.values

    def copy_of(self, key: str) -> Any:
        return copy.deepcopy(self._get(key))

    def name_of(self, key: str) -> str:
        name: str = self._get(key)["metadata"]["name"]
        return name

    def copies(self) -> int:
        return len([copy.deepcopy(obj) for obj in self._list()])

    def names(self) -> int:
        return len([obj["metadata"]["name"] for obj in self._list()])

    def by_index(self) -> int:
        return self.by_selector()

    def by_selector(self) -> int:
        label, value = self._label, self._value
        return len([obj for obj in self._list() if obj["metadata"]["labels"].get(label) == value])


class Official(Dicts):
    """The cache of the official client's informer: dicts under a lock. Custom resources only."""

    def _fill(self, objects: list[Any]) -> tuple[Callable[[str], Any], Callable[[], Iterable[Any]]]:
        from kubernetes.informer.cache import ObjectCache

        library: Any = ObjectCache  # it has no types
        cache = library()
        cache._replace_all(objects)
        return cache.get_by_key, cache.list


WAYS: dict[str, Callable[[Kind, list[bytes], str], Ours | Dicts]] = {
    "ours": Ours,
    "deepcopy": Dicts,
    "informer": Official,
}


def _key(metadata: Any) -> str:
    return f"{metadata['namespace']}/{metadata['name']}"


def _per_call(call: Callable[[], object]) -> float:
    """CPU seconds of one call, of as many as can be measured."""
    gc.collect()
    times, began = 0, cpu_seconds()
    while (passed := cpu_seconds() - began) < _ENOUGH:
        for _ in range(5):
            call()
        times += 5
    return passed / times


def _each(read: Callable[[str], object], keys: list[str]) -> None:
    """One after the other, and nothing is kept."""
    for key in keys:
        read(key)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("way", choices=WAYS)
    parser.add_argument("--kind", choices=_SELECTORS, default="silo")
    parser.add_argument("--objects", type=int, default=10_000)
    options = parser.parse_args()
    kind, selector = KINDS[options.kind], _SELECTORS[options.kind]
    objects = [kind.make(i, 1000 + i, 0) for i in range(options.objects)]
    keys = [_key(obj["metadata"]) for obj in objects[:: max(1, options.objects // 100)]]
    raw = [bytes(memoryview(orjson.dumps(obj))) for obj in objects]
    del objects
    cache = WAYS[options.way](kind, raw, selector)
    copied = cache.copy_of(keys[0])
    if cache.copies() != options.objects or cache.by_index() != cache.by_selector() or copied is cache.copy_of(keys[0]):
        raise SystemExit(f"{options.way}: the cache does not give what it was filled with")
    print(
        json.dumps(
            {
                "copy_of_one": _per_call(lambda: _each(cache.copy_of, keys)) / len(keys),
                "name_of_one": _per_call(lambda: _each(cache.name_of, keys)) / len(keys),
                "copy_of_all": _per_call(cache.copies) / options.objects,
                "name_of_all": _per_call(cache.names) / options.objects,
                "by_index": _per_call(cache.by_index),
                "by_selector": _per_call(cache.by_selector),
                "found": cache.by_index(),
            }
        )
    )


if __name__ == "__main__":
    main()
