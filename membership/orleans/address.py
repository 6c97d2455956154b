"""Who a silo is: IP address, port, and the generation that tells one start from the next."""

from __future__ import annotations

import functools
import ipaddress
import re
import struct
import threading
from dataclasses import dataclass
from datetime import UTC, datetime

from membership.orleans.hashing import xxhash32
from runtime.clock import SYSTEM, Clock

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

_INT32 = range(-(2**31), 2**31)
_PORTS = range(2**16)
_PORT = re.compile(r"[0-9]{1,5}", re.ASCII)
_GENERATION = re.compile(r"-?[0-9]{1,10}", re.ASCII)
_GENERATION_EPOCH = datetime(2022, 1, 1, tzinfo=UTC)


@functools.total_ordering
@dataclass(frozen=True, slots=True)
class SiloAddress:
    """One start of a silo at one endpoint. Hashable; ordered as Orleans orders: by generation, port, address.

    ``str()`` is the form that goes into the table, ``IP:PORT@GENERATION``, and :meth:`parse` reads it.

    :param address: an IPv4 or IPv6 address, the latter perhaps with a scope id (``fe80::1%3``). Kept in the form that
        .NET prints, so that equal addresses are equal texts; an IPv4 address in IPv6 clothes becomes the IPv4 address.
    :param port: 0 to 65535.
    :param generation: a 32-bit integer; seconds since 2022-01-01 UTC by convention, see :func:`allocate_generation`.
    :raises ValueError: one of them is none of this.
    """

    address: str
    port: int
    generation: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "address", _normal(self.address))
        if type(self.port) is not int or self.port not in _PORTS:
            raise ValueError(f"port {self.port!r} of silo {self.address}: must be an integer from 0 to 65535")
        if type(self.generation) is not int or self.generation not in _INT32:
            raise ValueError(f"generation {self.generation!r} of silo {self.address}: must be a 32-bit integer")

    @classmethod
    def parse(cls, text: str) -> SiloAddress:
        """Of ``IP:PORT@GENERATION``; an IPv6 address stands there without brackets, and with them is read, too.

        :raises ValueError: it is no such text.
        """
        endpoint, at, generation = text.rpartition("@")
        host, colon, port = endpoint.rpartition(":")
        if not (at and colon and _PORT.fullmatch(port) and _GENERATION.fullmatch(generation)):
            raise ValueError(f"{text!r} is no silo address: must be IP:PORT@GENERATION")
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        return cls(host, int(port), int(generation))

    def __str__(self) -> str:
        return f"{self.address}:{self.port}@{self.generation}"

    def __lt__(self, other: object) -> bool:
        if not isinstance(other, SiloAddress):
            return NotImplemented
        return self._order() < other._order()

    @property
    def ip(self) -> IPAddress:
        """The address as the standard library's type."""
        return _parsed(self.address)

    def gateway_uri(self) -> str:
        """``gwy.tcp://IP:PORT/GENERATION``, an IPv6 address in brackets. The port is this address's: that of a
        silo's gateway is its proxy port."""
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"gwy.tcp://{host}:{self.port}/{self.generation}"

    def same_endpoint(self, other: SiloAddress) -> bool:
        """The same silo, perhaps started another time."""
        return (self.address, self.port) == (other.address, other.port)

    def is_successor_of(self, other: SiloAddress) -> bool:
        """A later start of the same silo."""
        return self.same_endpoint(other) and 0 < other.generation < self.generation

    def consistent_hash(self, seed: int | None = None) -> int:
        """The signed 32-bit hash by which Orleans places silos on its ring (GetConsistentHashCode): the same number
        in every process and language. ``seed`` gives further, independent ones."""
        # xxHash32 of 16 bytes of address (IPv4: 4 and zeros), port, generation, seed; all little-endian. .NET writes
        # the digest with its highest byte first, and Orleans reads these bytes with the lowest one first.
        place = self.ip.packed.ljust(16, b"\0") + struct.pack("<ii", self.port, self.generation)
        if seed is not None:
            place += struct.pack("<i", seed)
        return int.from_bytes(xxhash32(place).to_bytes(4, "big"), "little", signed=True)

    def _order(self) -> tuple[int, int, int, bytes, str]:
        ip = self.ip
        # .NET compares an IPv4 address as the integer whose lowest byte is the first of the address.
        packed = ip.packed[::-1] if ip.version == 4 else ip.packed
        return self.generation, self.port, ip.version, packed, self.address


class _Generations:
    """Seconds since 2022-01-01 UTC, never the same or a smaller one again in this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards _last
        self._last = 0

    def next(self, clock: Clock) -> int:
        elapsed = int((clock.now() - _GENERATION_EPOCH).total_seconds())
        with self._lock:
            self._last = max(elapsed, self._last + 1)
            return (self._last + 2**31) % 2**32 - 2**31


_generations = _Generations()


def allocate_generation(clock: Clock | None = None) -> int:
    """A generation for a silo that starts now: seconds since 2022-01-01 UTC, always greater than the ones before in
    this process. As in Orleans it is cut to 32 bits, which matters from 2090 on. Any thread may call it."""
    return _generations.next(clock or SYSTEM)


@functools.lru_cache(maxsize=8192)
def _normal(text: str) -> str:
    """The address as .NET prints it."""
    ip = _parsed(text)
    if isinstance(ip, ipaddress.IPv4Address):
        return str(ip)
    if ip.ipv4_mapped is not None:
        return str(ip.ipv4_mapped)
    scope = ip.scope_id or ""
    if scope.isascii() and scope.isdigit():
        scope = scope.lstrip("0")
    return _printed(ip) + (f"%{scope}" if scope else "")


@functools.lru_cache(maxsize=8192)  # a table is read again and again, and has the same addresses
def _parsed(text: str) -> IPAddress:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        raise ValueError(f"{text!r} is no IP address") from None


def _printed(ip: ipaddress.IPv6Address) -> str:
    """RFC 5952, and the last 32 bits in dots where .NET takes them for an IPv4 address."""
    groups = struct.unpack(">8H", ip.packed)
    compatible = not any(groups[:4]) and groups[6] and groups[4:6] in {(0, 0), (0xFFFF, 0)}
    isatap = groups[4:6] == (0, 0x5EFE)
    if not (compatible or isatap):
        return str(ipaddress.IPv6Address(ip.packed))
    head = _compressed(groups[:6])
    return f"{head}{'' if head.endswith(':') else ':'}{ipaddress.IPv4Address(ip.packed[12:])}"


def _compressed(groups: tuple[int, ...]) -> str:
    """The groups in hex; the first longest run of two or more zeros is ``::``."""
    start = length = 0
    for i in range(len(groups)):
        run = 0
        while i + run < len(groups) and groups[i + run] == 0:
            run += 1
        if run > max(length, 1):
            start, length = i, run
    words = [f"{group:x}" for group in groups]
    if not length:
        return ":".join(words)
    return f"{':'.join(words[:start])}::{':'.join(words[start + length :])}"
