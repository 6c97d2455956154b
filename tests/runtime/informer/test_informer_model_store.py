"""Random writes to an Indexer, compared with a dict that is searched (S1 to S8)."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from runtime.client import Unstructured
from runtime.informer import NAMESPACE_INDEX, Indexer, IndexFunc
from runtime.informer.store import namespace_index

NAMESPACES = st.sampled_from(["", "a", "b"])
NAMES = st.sampled_from(["x", "y", "z"])
VALUES = st.lists(st.sampled_from(["red", "green", "blue"]), max_size=3)
FAILS = "fails"


def values_of(obj: Unstructured) -> list[str]:
    values: list[str] = obj["values"]
    if FAILS in values:
        raise RuntimeError("a user's function")
    return values


def name_and_uid(obj: Unstructured) -> list[str]:
    return [obj.name, obj.uid]


def uid(obj: Unstructured) -> tuple[str, ...]:
    return (obj.uid,)


FUNCTIONS: dict[str, IndexFunc] = {"values": values_of, "name-and-uid": name_and_uid, "unique": uid}


class StoreMachine(RuleBasedStateMachine):
    """The model is a dict; each query is answered by looking at every object."""

    def __init__(self) -> None:
        super().__init__()
        self.functions: dict[str, IndexFunc] = {"values": values_of, NAMESPACE_INDEX: namespace_index}
        self.indexer = Indexer(self.functions)
        self.model: dict[str, Unstructured] = {}
        self.version = ""
        self.number = 0

    def _new(self, namespace: str, name: str, values: Iterable[str]) -> Unstructured:
        self.number += 1
        metadata = {"name": name, "uid": f"uid-{self.number}", "resourceVersion": str(self.number)}
        if namespace:
            metadata["namespace"] = namespace
        return Unstructured({"apiVersion": "v1", "kind": "Thing", "metadata": metadata, "values": [*values]})

    @rule(namespace=NAMESPACES, name=NAMES, values=VALUES)
    def put(self, namespace: str, name: str, values: list[str]) -> None:
        obj = self._new(namespace, name, values)
        assert self.indexer.put(obj) is self.model.get(obj.key)
        self.model[obj.key] = obj
        self.version = obj.resource_version

    @rule(namespace=NAMESPACES, name=NAMES)
    def an_object_an_index_function_fails_on_changes_nothing(self, namespace: str, name: str) -> None:
        """S4: neither alone nor among others."""
        bad = self._new(namespace, name, ["red", FAILS])
        with pytest.raises(ValueError, match="values"):
            self.indexer.put(bad)
        with pytest.raises(ValueError, match="values"):
            self.indexer.replace([self._new("a", "other", ["red"]), bad], "99999")

    @rule(namespace=NAMESPACES, name=NAMES, by_key=st.booleans())
    def delete(self, namespace: str, name: str, by_key: bool) -> None:
        """S8: a deletion that carries the object moves the version, one by key does not."""
        obj = self._new(namespace, name, [])
        assert self.indexer.delete(obj.key if by_key else obj) is self.model.pop(obj.key, None)
        if not by_key:
            self.version = obj.resource_version

    @rule(content=st.lists(st.tuples(NAMESPACES, NAMES, VALUES), max_size=6), keep=st.booleans())
    def replace(self, content: list[tuple[str, str, list[str]]], keep: bool) -> None:
        """S7, with or without what is there already."""
        objects = [*self.model.values()] if keep else []
        objects += [self._new(*each) for each in content]
        self.number += 1
        self.version = str(self.number)
        self.indexer.replace(objects, self.version)
        self.model = {obj.key: obj for obj in objects}

    @rule()
    def bookmark(self) -> None:
        self.number += 1
        self.version = str(self.number)
        self.indexer.bookmark(self.version)

    @rule(name=st.sampled_from(sorted(FUNCTIONS)))
    def add_indexers(self, name: str) -> None:
        """S6: what is there is filed; a name that is taken changes nothing."""
        added = {name: FUNCTIONS[name], "never": uid}
        if name in self.functions:
            with pytest.raises(ValueError, match=name):
                self.indexer.add_indexers(added)
        else:
            self.indexer.add_indexers({name: FUNCTIONS[name]})
            self.functions[name] = FUNCTIONS[name]

    @invariant()
    def the_content_is_that_of_the_model(self) -> None:
        indexer, model = self.indexer, self.model
        assert len(indexer) == len(model)
        assert sorted(indexer.list_keys()) == sorted(model)
        assert {obj.key: obj for obj in indexer.list()} == model
        assert indexer.resource_version == self.version
        for namespace in ("", "a", "b"):
            for name in ("x", "y", "z", "other"):
                key = f"{namespace}/{name}" if namespace else name
                assert indexer.get(key) is model.get(key)
                assert (key in indexer) == (key in model)

    @invariant()
    def the_indices_are_those_of_the_model(self) -> None:
        assert self.indexer.index_names == sorted(self.functions)
        for name, function in self.functions.items():
            filed: dict[str, list[str]] = {}
            for key in sorted(self.model):
                for value in dict.fromkeys(function(self.model[key])):
                    filed.setdefault(value, []).append(key)
            assert self.indexer.list_index_func_values(name) == sorted(filed)
            for value, keys in filed.items():
                assert self.indexer.index_keys(name, value) == keys
                assert sorted(obj.key for obj in self.indexer.by_index(name, value)) == keys
                assert all(self.model[obj.key] is obj for obj in self.indexer.by_index(name, value))
            for obj in self.model.values():
                together = {key for value in function(obj) for key in filed[value]}
                assert {each.key for each in self.indexer.index(name, obj)} == together
            assert self.indexer.by_index(name, "nothing") == []


TestStore = StoreMachine.TestCase
TestStore.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
