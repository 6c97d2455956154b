"""Telling silos that the table has changed, without waiting for any of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import Final

from membership.orleans.address import SiloAddress
from runtime.logging import get_logger

GOSSIP_TIMEOUT: Final = 2.0  # seconds for one silo; who does not hear of it reads the table by itself in time
_THREADS: Final = 4

_log = get_logger(__name__)


class Gossiper:
    """Tells silos of the newest version only: what is older and not told yet is left out. Thread-safe.

    :param tell: sends one message; blocks for so many seconds at most, and does not raise.
    """

    def __init__(self, tell: Callable[[SiloAddress, int, float], None]) -> None:
        self._tell = tell
        self._changed = threading.Condition()  # guards what follows
        self._waiting: dict[SiloAddress, int] = {}  # in the order in which they are told
        self._threads: list[threading.Thread] = []
        self._telling = 0  # threads that tell somebody now
        self._finishing = False
        self._closed = False

    def spread(self, silos: Iterable[SiloAddress], version: int) -> None:
        """Returns at once."""
        with self._changed:
            if self._finishing or self._closed:
                return
            for silo in silos:
                self._waiting[silo] = max(version, self._waiting.get(silo, version))
            while len(self._threads) < min(_THREADS, len(self._waiting)):
                thread = threading.Thread(target=self._work, name=f"silo-gossip-{len(self._threads)}", daemon=True)
                try:
                    thread.start()
                except RuntimeError as error:  # no more threads; the versions wait for those there are
                    _log.warning("no thread to gossip in", error=str(error))
                    break
                self._threads.append(thread)
            self._changed.notify_all()

    def finish(self, timeout: float) -> None:
        """Take no more, and wait for what there is to be told, for so many seconds at most."""
        deadline = time.monotonic() + timeout
        with self._changed:
            self._finishing = True
            while (self._waiting or self._telling) and (left := deadline - time.monotonic()) > 0:
                self._changed.wait(left)

    def close(self) -> None:
        """What has not been told is not told; waits for what is being told."""
        with self._changed:
            self._closed = True
            self._waiting.clear()
            self._changed.notify_all()
            threads = list(self._threads)
        for thread in threads:
            thread.join()

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._closed:
                    self._changed.wait()
                if self._closed:
                    return
                silo = next(iter(self._waiting))
                version = self._waiting.pop(silo)
                self._telling += 1
            try:
                self._tell(silo, version, GOSSIP_TIMEOUT)
            finally:
                with self._changed:
                    self._telling -= 1
                    self._changed.notify_all()
