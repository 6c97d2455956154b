"""Runs a backup, or a step of a restore, and kills itself with SIGKILL at the nth thing that happens to the store or
the volume: ``python -m tests.membership.xline.backup.killing N KIND ...`` in a process of its own.

Exits with 0 if there is no nth thing.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from membership.xline.backup.restore import Place, fetch, install
from membership.xline.backup.source import connector
from membership.xline.backup.stores import Store, Stored, VolumeStore
from membership.xline.backup.take import Order, take
from membership.xline.options import AccessFiles


class Countdown:
    def __init__(self, left: int) -> None:
        self._left = left

    def tick(self) -> None:
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        self._left -= 1


class Doomed:
    """A store before each of whose steps the countdown goes on."""

    def __init__(self, store: Store, countdown: Countdown) -> None:
        self._store, self._countdown = store, countdown
        self.abandoned_after = store.abandoned_after

    def __str__(self) -> str:
        return str(self._store)

    def write(self, key: str, pieces: Iterable[bytes]) -> None:
        def each() -> Iterator[bytes]:
            for piece in pieces:
                self._countdown.tick()
                yield piece
            self._countdown.tick()

        self._countdown.tick()
        self._store.write(key, each())
        self._countdown.tick()

    def read(self, key: str) -> Iterator[bytes]:
        self._countdown.tick()
        yield from self._store.read(key)

    def list(self, prefix: str) -> list[Stored]:
        self._countdown.tick()
        return self._store.list(prefix)

    def delete(self, key: str) -> None:
        self._countdown.tick()
        self._store.delete(key)
        self._countdown.tick()

    def exclusive(self, folder: str, timeout: float) -> AbstractContextManager[None]:
        self._countdown.tick()
        return self._store.exclusive(folder, timeout)


def order(endpoint: str, keep: int = 1) -> Order:
    return Order(engine="etcd", namespace="ns", cluster="demo", cluster_uid="uid", endpoints=[endpoint], keep=keep)


def _audited(countdown: Countdown) -> None:
    """The countdown goes on with each rename, removal and opening for writing that Python does."""

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event in ("os.rename", "os.remove", "shutil.rmtree", "os.mkdir"):
            countdown.tick()

    sys.addaudithook(hook)


def main() -> None:
    number, kind, *rest = sys.argv[1:]
    countdown = Countdown(int(number))
    if kind == "backup":
        volume, endpoint = rest
        take(order(endpoint), Doomed(VolumeStore(Path(volume)), countdown), connector(AccessFiles()))
    elif kind == "fetch":
        volume, data = rest
        _audited(countdown)
        fetch(Doomed(VolumeStore(Path(volume)), countdown), "ns/demo/", "latest", "etcd", Place(Path(data)), "token")
    elif kind == "install":
        (data,) = rest
        _audited(countdown)
        install(Place(Path(data)), "token")


if __name__ == "__main__":
    main()
