"""Addresses of Pods and Services, out of 127.0.0.0/8, which Linux answers for as a whole on the loopback interface.

Every node root has a range of its own, ``127.A.0.0/16`` with A from 64 to 127: the first half of it is for Pods, the
second for Services. The range is held by an abstract Unix socket (they live in the network namespace, as loopback
does, and vanish with their last holder), and recorded in ``network.json`` together with every address given out:
programs like etcd write their peers' addresses into their data, so a name keeps its address as long as the root lives.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from zlib import crc32

from runtime.types import JSONObject

_FIRST_RANGE, _RANGES = 64, 64
_BOUND = 64  # from the third number of a Pod's front address to that of the one it listens on
_PREDECESSOR_TIMEOUT = 15.0  # seconds for the processes of a predecessor on the same root to end


class AddressesExhausted(OSError):
    """No range, or no address in the range, is free."""


class NodeUnsupported(Exception):
    """Local nodes need Linux."""


def require_linux() -> None:
    """:raises NodeUnsupported: this is not Linux."""
    if not sys.platform.startswith("linux"):
        raise NodeUnsupported(
            f"local nodes need Linux (they use 127.0.0.0/8, process groups and /proc); this is {sys.platform}. "
            "FakeAPIServer alone runs everywhere."
        )


class Network:
    """The addresses of one node root. Safe to use from any thread.

    :param fronts: a Pod listens on another address (:meth:`bound`) than the one it is known by, so that somebody can
        stand between it and who comes to it.
    """

    def __init__(self, root: Path, *, fronts: bool = False) -> None:
        self._fronts = fronts
        self._path = root / "network.json"
        self._lock = threading.Lock()  # guards what follows
        self._range = 0
        self._pods: dict[str, str] = {}
        self._services: dict[str, str] = {}
        self._holder: socket.socket | None = None

    @property
    def holder_fd(self) -> int:
        """The descriptor that holds the range, for whoever must keep it held."""
        assert self._holder is not None, "open() first"
        return self._holder.fileno()

    @property
    def host_address(self) -> str:
        """The node's own address."""
        return f"127.{self._range}.0.1"

    @property
    def cidr(self) -> str:
        return f"127.{self._range}.0.0/16"

    def open(self) -> None:
        """Take the recorded range, or a free one.

        :raises AddressesExhausted: the recorded range is held by somebody else, or all are.
        :raises NodeUnsupported: this machine, or the sandbox around us, has no such addresses or sockets.
        """
        require_linux()
        recorded = self._load()
        if recorded:
            deadline = time.monotonic() + _PREDECESSOR_TIMEOUT
            while not self._hold(recorded):
                if time.monotonic() > deadline:
                    raise AddressesExhausted(
                        f"the addresses 127.{recorded}.0.0/16 recorded in {self._path} are in use by another local "
                        "node: stop it, or remove this folder to start afresh"
                    )
                time.sleep(0.05)
            return
        start = crc32(str(self._path).encode())
        for offset in range(_RANGES):
            if self._hold(_FIRST_RANGE + (start + offset) % _RANGES):
                with self._lock:
                    self._save()
                return
        raise AddressesExhausted(f"all {_RANGES} address ranges of local nodes are in use on this machine")

    def close(self) -> None:
        if self._holder is not None:
            self._holder.close()
            self._holder = None

    def pod(self, namespace: str, hostname: str, subdomain: str) -> str:
        """The address of the Pod that has, or will have, this host name below this Service.

        :param hostname: without a subdomain the Pod's own name: host names alone need not be unique.
        """
        return self._give(
            self._pods, f"{namespace}/{hostname}.{subdomain}" if subdomain else f"{namespace}//{hostname}", 0
        )

    def bound(self, address: str) -> str:
        """Where a Pod that is known by this address listens itself."""
        if not self._fronts:
            return address
        first, second, third, fourth = address.split(".")
        return f"{first}.{second}.{int(third) + _BOUND}.{fourth}"

    def service(self, namespace: str, name: str) -> str:
        """The address of the Service, given also before it exists."""
        return self._give(self._services, f"{namespace}/{name}", 128)

    def release_pod(self, namespace: str, name: str) -> None:
        """Forget the address of a Pod without subdomain: nobody can know it by a name."""
        with self._lock:
            if self._pods.pop(f"{namespace}//{name}", None) is not None:
                self._save()

    def _give(self, table: dict[str, str], key: str, offset: int) -> str:
        with self._lock:
            known = table.get(key)
            if known is not None:
                return known
            used = set(table.values())
            for address in self._addresses(offset):
                if address not in used:
                    table[key] = address
                    self._save()
                    return address
        raise AddressesExhausted(
            f"no address left in {self.cidr} for {key}: remove {self._path.parent} to start afresh"
        )

    def _addresses(self, offset: int) -> Iterator[str]:
        for third in range(offset, offset + (_BOUND if self._fronts and offset == 0 else 128)):
            for fourth in range(1, 255):
                if third or fourth > 1:  # the first is the host's
                    yield f"127.{self._range}.{third}.{fourth}"

    def _hold(self, number: int) -> bool:
        holder = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            holder.bind(f"\0runtime-local-node/127.{number}")
        except OSError as error:
            holder.close()
            if error.errno == errno.EADDRINUSE:
                return False
            raise NodeUnsupported(f"local nodes need abstract Unix sockets: {error}") from error
        self._try_address(f"127.{number}.0.1", holder)
        self._range, self._holder = number, holder
        return True

    @staticmethod
    def _try_address(address: str, holder: socket.socket) -> None:
        try:
            socket.create_server((address, 0)).close()
        except OSError as error:
            holder.close()
            raise NodeUnsupported(
                f"local nodes need all of 127.0.0.0/8 on the loopback interface; {address}: {error}"
            ) from error

    def _load(self) -> int:
        try:
            recorded: JSONObject = json.loads(self._path.read_text())
        except FileNotFoundError:
            return 0
        self._pods, self._services = recorded["pods"], recorded["services"]
        return int(recorded["range"])

    def _save(self) -> None:
        state = {"range": self._range, "pods": self._pods, "services": self._services}
        new = self._path.with_suffix(".tmp")
        new.write_text(json.dumps(state, indent=1))
        os.replace(new, self._path)
