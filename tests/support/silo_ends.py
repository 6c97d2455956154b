"""Ends of the silo agents' protocol for tests: an agent's face, and servers that are none."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import threading
from collections.abc import Callable, Iterator

from membership.orleans.address import SiloAddress
from membership.orleans.prober import Prober
from membership.orleans.probeserver import ProbeServer

CLUSTER = "c1"


class Face:
    """What an agent is for its probe server: all that came is kept."""

    def __init__(self) -> None:
        self.degraded = 0
        self.seen = 0
        self.probed_by: list[SiloAddress] = []
        self.heard: list[tuple[SiloAddress, int]] = []
        self.known: set[SiloAddress] = set()

    def health(self) -> int:
        return self.degraded

    def version(self) -> int:
        return self.seen

    def on_probe(self, source: SiloAddress) -> None:
        self.probed_by.append(source)

    def on_gossip(self, source: SiloAddress, version: int) -> None:
        self.heard.append((source, version))

    def may_probe(self, target: SiloAddress) -> bool:
        return target in self.known


class End:
    """One silo: both sides of the protocol. It takes those that do not speak it, and never have, for alive."""

    def __init__(self, address: SiloAddress, cluster: str = CLUSTER) -> None:
        self.address = address
        self.face = Face()
        self.prober = Prober(address, cluster, foreign="alive")
        self.server = ProbeServer(address, cluster, self.face, self.prober)

    def stop(self) -> None:
        self.prober.close()
        self.server.stop()


def free_port(host: str = "127.0.0.1") -> int:
    """Free now, and not given out soon again."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as sock:
        sock.bind((host, 0))
        return int(sock.getsockname()[1])


def silo(host: str = "127.0.0.1", generation: int = 1) -> SiloAddress:
    return SiloAddress(host, free_port(host), generation)


@contextlib.contextmanager
def listening(serve: Callable[[socket.socket], None], backlog: int = 16) -> Iterator[SiloAddress]:
    """Something that listens where a silo should, and calls ``serve`` with each connection, in one thread."""
    with socket.create_server(("127.0.0.1", 0), backlog=backlog) as listener:
        stop = threading.Event()

        def run() -> None:
            while True:
                try:
                    sock, _ = listener.accept()
                except OSError:
                    return
                with sock, contextlib.suppress(OSError):
                    if stop.is_set():
                        return
                    serve(sock)

        thread = threading.Thread(target=run, name="no-silo")
        thread.start()
        try:
            yield SiloAddress("127.0.0.1", listener.getsockname()[1], 1)
        finally:
            stop.set()
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


@contextlib.contextmanager
def no_descriptors() -> Iterator[None]:
    """This process can open no file or socket more."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    with socket.socket() as sock:
        free = os.dup(sock.fileno())
        os.close(free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)


@contextlib.contextmanager
def frozen() -> Iterator[SiloAddress]:
    """Something that accepts connections and never says anything, like a process that was stopped."""
    over = threading.Event()

    def wait(_: socket.socket) -> None:
        over.wait()

    with listening(wait) as address:
        try:
            yield address
        finally:
            over.set()
