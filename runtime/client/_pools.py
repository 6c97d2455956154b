"""Closing connections when asked to, not when the garbage collector gets there."""

from __future__ import annotations

import urllib3


def close_idle(manager: urllib3.PoolManager) -> None:
    """Close the idle connections of every pool.

    ``PoolManager.clear()`` only forgets the pools and leaves their sockets to a finalizer; a pool that is part of
    a reference cycle, as an exception's traceback makes one, then stays connected for as long as nothing collects.
    """
    for key in manager.pools.keys():  # noqa: SIM118  # it is no dict: it refuses to be iterated
        pool = manager.pools.get(key)
        if pool is not None:
            pool.close()
    manager.clear()
