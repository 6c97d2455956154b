"""All kinds that one server knows: the built-in ones, and those of its CustomResourceDefinitions."""

from __future__ import annotations

import threading
from collections.abc import Iterable

from runtime.testing.kinds.behaviour import BuiltinBehaviour
from runtime.testing.kinds.builtin import Row, builtin_kinds
from runtime.testing.kinds.model import Kind
from runtime.types import GVR, JSONObject


class DefaultRegistry:
    """The registry of a :class:`~runtime.testing.FakeAPIServer`. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kinds: dict[GVR, Kind] = {kind.gvr: kind for kind in builtin_kinds(_behaviour_of)}

    def lookup(self, gvr: GVR) -> Kind | None:
        """The kind served there, or None."""
        return self._kinds.get(gvr)

    def kinds(self) -> Iterable[Kind]:
        """All kinds, in the order in which discovery lists them."""
        with self._lock:
            return list(self._kinds.values())

    def install_crd(self, crd: JSONObject) -> JSONObject:
        raise NotImplementedError

    def remove_crd(self, crd: JSONObject) -> None:
        raise NotImplementedError


def _behaviour_of(row: Row) -> BuiltinBehaviour:
    return BuiltinBehaviour(
        has_status="status" in row.subs, spec_fields=("spec",) if row.kind != "PriorityClass" else ()
    )
