"""Addresses and node ports of Services."""

from __future__ import annotations

import ipaddress
import threading
from collections.abc import Callable, Iterable
from itertools import cycle

from runtime.types import JSONMapping

NODE_PORTS = range(30000, 32768)


def family_of(address: object) -> str:
    """``IPv4`` or ``IPv6``."""
    return "IPv6" if ":" in str(address) else "IPv4"


class ServiceAddresses:
    """Hands out cluster IPs and node ports. Thread-safe.

    :param cidr: where cluster IPs come from; local nodes take a part of 127.0.0.0/8, so that the addresses work.
    :param in_use: gives the Services that exist, so that no address is handed out twice, also after a restart.
        Without it an address is not handed out again before the range is used up.
    """

    def __init__(self, cidr: str = "10.96.0.0/16", in_use: Callable[[], Iterable[JSONMapping]] | None = None) -> None:
        network = ipaddress.ip_network(cidr)
        self.family = f"IPv{network.version}"
        self.in_use = in_use
        self._lock = threading.Lock()
        self._size = max(network.num_addresses - 2, 1)
        self._first = int(network.network_address)
        self._make = ipaddress.ip_address
        self._offsets = cycle(range(10, self._size + 1) if self._size > 20 else range(1, self._size + 1))
        self._ports = cycle(NODE_PORTS)

    def next_ip(self) -> str:
        """A free cluster IP.

        :raises RuntimeError: if there is none left.
        """
        taken, _ = self.taken()
        with self._lock:
            for _ in range(self._size):
                address = str(self._make(self._first + next(self._offsets)))
                if address not in taken:
                    return address
        raise RuntimeError("no cluster IP is left: delete Services, or give the server a larger service range")

    def next_port(self) -> int:
        """A free node port.

        :raises RuntimeError: if there is none left.
        """
        _, taken = self.taken()
        with self._lock:
            for _ in NODE_PORTS:
                port = next(self._ports)
                if port not in taken:
                    return port
        raise RuntimeError("no node port is left: delete Services of type NodePort or LoadBalancer")

    def taken(self) -> tuple[set[str], set[int]]:
        """The cluster IPs and node ports of all Services."""
        ips: set[str] = set()
        ports: set[int] = set()
        for service in self._services():
            spec = service["spec"]
            ips.update(ip for ip in spec.get("clusterIPs") or () if ip != "None")
            ports.update(port["nodePort"] for port in spec.get("ports") or () if port.get("nodePort"))
            ports.update(port for port in (spec.get("healthCheckNodePort"),) if port)
        return ips, ports

    def _services(self) -> Iterable[JSONMapping]:
        return self.in_use() if self.in_use is not None else ()
