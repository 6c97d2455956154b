"""Reads at a version that is yet to come wait for it for a while."""

from __future__ import annotations

import time

from runtime.testing.apiserver.context import Context
from runtime.testing.apiserver.errors import future_version

_POLL = 0.01  # seconds between looks at a clock that may be a test's


def wait_for(context: Context, version: int) -> None:
    """Return when the store has come to ``version``.

    A clock that stands still does not keep the wait from ending: nobody sees that it is one.

    :raises StatusError: 504, after :attr:`Context.future_version_wait` or when the server stops.
    """
    store, clock = context.store, context.clock
    if version <= store.version:
        return
    wait = context.future_version_wait
    due, due_at_last = clock.monotonic() + wait, time.monotonic() + wait
    while version > store.version:
        if context.stopping.is_set() or clock.monotonic() >= due or time.monotonic() >= due_at_last:
            raise future_version(version, store.version)
        time.sleep(_POLL)
