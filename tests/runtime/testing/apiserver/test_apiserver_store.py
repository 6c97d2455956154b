"""The store by itself: what keeps two writers from losing each other's work."""

from __future__ import annotations

import pytest

from runtime.testing.apiserver.store import Changed, Store


def test_a_write_from_a_state_that_is_gone_is_refused() -> None:
    store, key = Store(), ("", "configmaps")
    first = store.create(key, "ns", "a", {"metadata": {"name": "a", "uid": "u"}})
    store.update(key, first, {"metadata": {"name": "a", "uid": "u"}})
    with pytest.raises(Changed):
        store.update(key, first, {"metadata": {"name": "a", "uid": "u"}})
    with pytest.raises(Changed):
        store.delete(key, first)
