"""Probes on behalf of other silos: they block, so each has a thread of a few."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from membership.orleans.address import SiloAddress
from membership.orleans.prober import Prober
from membership.orleans.transport import IndirectResult, NotAsked, ProbeFailed
from runtime.logging import get_logger

_THREADS: Final = 8
_MOST: Final = 32  # that are under way or wait for a thread
_FAILURE: Final = 300  # characters of the reason that are passed on

_log = get_logger(__name__)


class Errands:
    """Runs functions in a few threads, and no more than :data:`_MOST` at a time. Thread-safe."""

    def __init__(self, name: str) -> None:
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix=name)
        self._free = threading.BoundedSemaphore(_MOST)

    def start(self, run: Callable[[], None]) -> bool:
        """Have it run soon; False: too many are under way, or this is closed."""
        if not self._free.acquire(blocking=False):
            return False
        try:
            future = self._pool.submit(run)
        except RuntimeError as error:  # closed, or no more threads
            _log.warning("cannot probe a silo for another one", error=str(error))
            self._free.release()
            return False
        future.add_done_callback(lambda _: self._free.release())
        return True

    def close(self) -> None:
        """Waits for those that run; the others do not run any more."""
        self._pool.shutdown(cancel_futures=True)


def errand(prober: Prober, subject: SiloAddress, timeout: float, *, speaks: bool) -> IndirectResult | NotAsked:
    """Probe a silo for another one: what to tell that one, but for how we are doing.

    :param speaks: as of :meth:`.Prober.probe`.
    """
    began = time.monotonic()
    failure = ""
    try:
        prober.probe(subject, timeout, speaks=speaks)
    except NotAsked as error:
        return error
    except ProbeFailed as error:
        failure = str(error)[:_FAILURE]
    return IndirectResult(not failure, 0, failure, time.monotonic() - began)
