"""Network failures between Pods, and between Pods and the API server, without root: each Pod's front address is
listened on by a proxy, which knows the Pod at the other end of a connection by the process that owns its socket.

What is cut is held, not refused: bytes wait, new connections are never answered, and nobody is told, as when packets
are dropped. After healing they come through.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias
from urllib.parse import urlsplit

from runtime.testing.nodes.network import Network, NodeUnsupported
from runtime.testing.nodes.proxy import Address, Proxy
from runtime.types import JSONMapping

OUTSIDE = "outside"  # everything that runs in no Pod: this program, the operator, the proxy behind Services
API_SERVER = "api-server"
Pair: TypeAlias = frozenset[str]
_JUST_STARTED = 0.5  # seconds from a program's start to its Pod being told its number


class Links:
    """Which ends reach each other. An end is a Pod as ``namespace/name``, :data:`API_SERVER` or :data:`OUTSIDE`.

    A cut works in both directions, holds for successors of a Pod by the same name, and is in force when the call
    returns. Probes of the node are never cut, nor what goes through a Service: its proxy is outside.

    :param processes: the main processes of each Pod that runs, by its key.
    :param ancestor: the process that all of these descend from; None: there is none now.
    """

    def __init__(
        self,
        name: str,
        network: Network,
        processes: Callable[[], Mapping[str, Iterable[int]]],
        ancestor: Callable[[], int | None],
    ) -> None:
        self._network = network
        self._processes = processes
        self._ancestor = ancestor
        self._lock = threading.Lock()  # guards what follows
        self._cut: set[Pair] = set()
        self._ends: dict[str, str] = {}  # front address -> who listens behind it
        self._proxy = Proxy(name, gate=self)

    def start(self) -> None:
        """:raises NodeUnsupported: this kernel does not tell whose a socket is."""
        with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
            if _inode(client.getsockname(), server.getsockname()) != os.fstat(client.fileno()).st_ino:
                raise NodeUnsupported("links between Pods need the kernel's socket diagnostics (tcp_diag, inet_diag)")
        self._proxy.start()

    def stop(self) -> None:
        self._proxy.stop()

    # -- for tests

    def cut(self, one: str, *others: str) -> None:
        """Nothing passes between ``one`` and each of ``others`` from now on."""
        with self._lock:
            self._cut |= {frozenset((one, other)) for other in others}
        self._enforce()

    def heal(self, one: str | None = None, *others: str) -> None:
        """Undo the cuts between ``one`` and ``others``; without others, all of ``one``; without arguments, all."""
        with self._lock:
            if one is None:
                self._cut.clear()
            elif not others:
                self._cut = {pair for pair in self._cut if one not in pair}
            else:
                self._cut -= {frozenset((one, other)) for other in others}
        self._enforce()

    def _enforce(self) -> None:
        self._proxy.recheck()
        if not self._proxy.flush(30.0):
            raise TimeoutError("the proxy between Pods does not answer")

    # -- for the node

    def expose(self, key: str, address: str, ports: Sequence[int]) -> None:
        """A Pod that is known by ``address`` is reached through us, on these ports."""
        with self._lock:
            self._ends[address] = key
        behind = self._network.bound(address)
        self._proxy.set(key, {(address, port): [(behind, port)] for port in ports})

    def withdraw(self, key: str) -> None:
        self._proxy.set(key, {})

    def to_api_server(self, url: str) -> str:
        """The URL by which Pods reach the API server through us.

        :param url: the server's own, with its port.
        """
        parts = urlsplit(url)
        if parts.hostname is None or parts.port is None:
            raise ValueError(f"{url} names no host and port")
        address = self._network.service("default", "kubernetes")
        with self._lock:
            self._ends[address] = API_SERVER
        self._proxy.set(API_SERVER, {(address, parts.port): [(parts.hostname, parts.port)]})
        self._proxy.flush()
        return f"{parts.scheme}://{address}:{parts.port}"

    # -- runtime.testing.nodes.proxy.Gate

    def link(self, client: Address, listener: Address) -> Pair | None:
        inode = _inode(client, listener)
        if inode == 0:
            return None
        with self._lock:
            end = self._ends[listener[0]]
        return frozenset((self._owner(inode), end))

    def closed(self, link: object) -> bool:
        with self._lock:
            return link in self._cut

    def _owner(self, inode: int) -> str:
        """Waits a moment for the Pod of a process that was started so lately that it has not been told yet."""
        wanted = f"socket:[{inode}]"
        deadline = time.monotonic() + _JUST_STARTED
        while True:
            for key, pids in self._processes().items():
                if any(_holds(pid, wanted) for pid in _with_descendants(pids)):
                    return key
            ancestor = self._ancestor()
            started_here = ancestor is not None and any(_holds(pid, wanted) for pid in _with_descendants([ancestor]))
            if not started_here or time.monotonic() > deadline:
                return OUTSIDE  # this program, or a command that the node runs in a container
            time.sleep(0.005)


def declared_ports(spec: JSONMapping) -> list[int]:
    """The TCP ports that a Pod's containers declare."""
    containers = (*(spec.get("initContainers") or ()), *spec["containers"])
    ports = [port for container in containers for port in container.get("ports") or ()]
    return sorted({int(p["containerPort"]) for p in ports if (p.get("protocol") or "TCP") == "TCP"})


def _with_descendants(pids: Iterable[int]) -> list[int]:
    found, queue = [], list(pids)
    while queue:
        pid = queue.pop()
        found.append(pid)
        with contextlib.suppress(OSError, ValueError):
            for task in Path(f"/proc/{pid}/task").iterdir():
                queue += [int(child) for child in (task / "children").read_text().split()]
    return found


def _holds(pid: int, target: str) -> bool:
    folder = f"/proc/{pid}/fd"
    with contextlib.suppress(OSError):
        for fd in os.listdir(folder):
            with contextlib.suppress(OSError):
                if os.readlink(f"{folder}/{fd}") == target:
                    return True
    return False


# struct nlmsghdr, inet_diag_req_v2 and inet_diag_msg of linux/netlink.h and linux/inet_diag.h
_SOCK_DIAG = 4
_BY_FAMILY = 20
_NO_COOKIE = 0xFFFFFFFF
_INODE_AT = 84


def _inode(source: Address, destination: Address) -> int:
    """The inode of the local socket connected from ``source`` to ``destination``; 0: no process has it open."""
    ends = struct.pack("!HH", source[1], destination[1])
    hosts = socket.inet_aton(source[0]) + bytes(12) + socket.inet_aton(destination[0]) + bytes(12)
    ends += hosts + struct.pack("=III", 0, _NO_COOKIE, _NO_COOKIE)
    body = struct.pack("=BBBBI", socket.AF_INET, socket.IPPROTO_TCP, 0, 0, _NO_COOKIE) + ends
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _SOCK_DIAG) as netlink:
        netlink.send(struct.pack("=IHHII", 16 + len(body), _BY_FAMILY, 1, 1, 0) + body)
        answer = netlink.recv(4096)
    (kind,) = struct.unpack_from("=H", answer, 4)
    return int(struct.unpack_from("=I", answer, _INODE_AT)[0]) if kind == _BY_FAMILY else 0
