"""Keys made of index values."""

from __future__ import annotations

from collections.abc import Callable

from runtime.client import Unstructured

from .store import IndexFunc, key_of


def index_func_to_key_func(index_func: IndexFunc) -> Callable[[Unstructured], str]:
    """A function that gives the one value of ``index_func`` as an object's key, for an :class:`ExpirationCache` (S17).

    It raises ValueError for an object with no value, or with several.
    """

    def key(obj: Unstructured) -> str:
        values = [*dict.fromkeys(index_func(obj))]
        if len(values) != 1:
            raise ValueError(f"{key_of(obj)}: {len(values)} index values where one is needed as key: {values}")
        return values[0]

    return key
