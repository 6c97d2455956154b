"""Silo addresses: the text in the table, the order, the hash of the ring, and generations that only grow."""

from __future__ import annotations

import ipaddress
import itertools
import struct
import threading

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from membership.orleans import SiloAddress
from membership.orleans.address import allocate_generation
from membership.orleans.hashing import xxhash32
from runtime.testing import FakeClock
from tests.support.silos import ADDRESSES, INT32, SILOS


@given(SILOS)
@example(SiloAddress("0.0.0.0", 0, 0))  # SiloAddress.Zero of Orleans
def test_the_text_is_read_back(silo: SiloAddress) -> None:
    assert SiloAddress.parse(str(silo)) == silo
    assert hash(SiloAddress.parse(str(silo))) == hash(silo)


@given(ADDRESSES, st.integers(0, 65535), INT32)
def test_a_normal_address_stays_and_says_the_same(address: str, port: int, generation: int) -> None:
    silo = SiloAddress(address, port, generation)
    assert SiloAddress(silo.address, port, generation) == silo
    meant = ipaddress.ip_address(address)
    mapped = meant.ipv4_mapped if isinstance(meant, ipaddress.IPv6Address) else None
    assert silo.ip.packed == (mapped or meant).packed


@pytest.mark.parametrize(
    ("given_text", "printed"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("::FFFF:10.0.0.1", "10.0.0.1"),
        ("2001:DB8:0:0:1:0:0:1", "2001:db8::1:0:0:1"),
        ("2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"),
        ("::", "::"),
        ("::1", "::1"),
        # The last 32 bits in dots, where .NET takes them for an IPv4 address.
        ("::102:304", "::1.2.3.4"),
        ("::ffff:0:102:304", "::ffff:0:1.2.3.4"),
        ("fe80::5efe:102:304", "fe80::5efe:1.2.3.4"),
        ("1:2:3:4:0:5efe:0:0", "1:2:3:4:0:5efe:0.0.0.0"),
        ("1:0:0:2:0:5efe:102:304", "1::2:0:5efe:1.2.3.4"),
        ("0:0:1:0:0:5efe:102:304", "::1:0:0:5efe:1.2.3.4"),
        ("::1:0:102:304", "::1:0:102:304"),
        ("::0:304", "::304"),
        ("64:ff9b::102:304", "64:ff9b::102:304"),
        ("fe80::1%3", "fe80::1%3"),
        ("fe80::1%007", "fe80::1%7"),
        ("fe80::1%0", "fe80::1"),
        ("fe80::1%eth0", "fe80::1%eth0"),
    ],
)
def test_addresses_are_printed_as_by_dotnet(given_text: str, printed: str) -> None:
    assert str(SiloAddress(given_text, 1, 2)) == f"{printed}:1@2"
    assert SiloAddress.parse(f"[{given_text}]:1@2").address == printed


@pytest.mark.parametrize(
    "text",
    [
        "",
        "10.0.0.1",
        "10.0.0.1:1",
        "10.0.0.1@1",
        "10.0.0.1:@1",
        "10.0.0.1:1@",
        "10.0.0.1:-1@1",
        "10.0.0.1:65536@1",
        "10.0.0.1:1@2147483648",
        "10.0.0.1:1@-2147483649",
        "10.0.0.1:1@+1",
        "10.0.0.1:\u0661@1",
        "10.0.0.256:1@1",
        "silo.example:1@1",
        "10.0.0.1:1@1 ",
        "1.2.3:1@1",
    ],
)
def test_what_is_no_address_is_refused_by_name(text: str) -> None:
    with pytest.raises(ValueError, match=r"silo|IP address") as told:
        SiloAddress.parse(text)
    assert not text or text.split(":")[0].split("@")[0] in str(told.value)


@pytest.mark.parametrize(("port", "generation"), [(True, 1), ("1", 1), (1, 1.0), (-1, 1), (1, 2**31)])
def test_numbers_are_numbers(port: int, generation: int) -> None:
    with pytest.raises(ValueError, match=r"10\.0\.0\.1"):
        SiloAddress("10.0.0.1", port, generation)


def test_gateway_uris() -> None:
    assert SiloAddress("10.0.0.1", 30000, 5).gateway_uri() == "gwy.tcp://10.0.0.1:30000/5"
    assert SiloAddress("2001:db8::1", 30000, 5).gateway_uri() == "gwy.tcp://[2001:db8::1]:30000/5"


def test_the_order_is_orleans_own() -> None:
    # By generation, then port, then IPv4 before IPv6; IPv4 by the last part first, as .NET compares its integers.
    ordered = [
        SiloAddress("10.0.0.9", 9, -1),
        SiloAddress("10.0.0.9", 1, 1),
        SiloAddress("1.0.0.1", 2, 1),
        SiloAddress("2.0.0.1", 2, 1),
        SiloAddress("1.0.0.2", 2, 1),
        SiloAddress("::1", 2, 1),
        SiloAddress("2::", 2, 1),
        SiloAddress("2::%1", 2, 1),
        SiloAddress("10.0.0.9", 1, 2),
    ]
    for several in itertools.islice(itertools.permutations(ordered), 0, None, 5039):
        assert sorted(several) == ordered
    assert ordered[0] <= ordered[0] < ordered[1]
    with pytest.raises(TypeError):
        assert ordered[0] < "10.0.0.9:9@5"


def test_one_silo_and_its_starts() -> None:
    first, second = SiloAddress("10.0.0.1", 1, 5), SiloAddress("10.0.0.1", 1, 6)
    other = SiloAddress("10.0.0.1", 2, 6)
    assert first.same_endpoint(second)
    assert not first.same_endpoint(other)
    assert second.is_successor_of(first)
    assert not first.is_successor_of(second)
    assert not first.is_successor_of(first)
    assert not other.is_successor_of(first)
    # Generation 0 and below belongs to no start of a silo.
    assert not first.is_successor_of(SiloAddress("10.0.0.1", 1, 0))


@pytest.mark.parametrize(
    ("data", "seed", "digest"),
    # Published by the authors of xxHash and of its ports.
    [
        (b"", 0, 0x02CC5D05),
        (b"", 0x9E3779B1, 0x36B78AE7),
        (b"\x9e", 0, 0xB85CBEE5),
        (b"abc", 0, 0x32D153FF),
        (b"1234", 0, 0x01543429),
        (b"123456789ABCDEF", 0, 0x576E3CF9),
        (b"Nobody inspects the spammish repetition", 0, 0xE2293B2F),
    ],
)
def test_xxhash32(data: bytes, seed: int, digest: int) -> None:
    assert xxhash32(data, seed) == digest


@given(SILOS, st.one_of(st.none(), INT32))
def test_the_consistent_hash_is_of_all_that_makes_the_silo(silo: SiloAddress, seed: int | None) -> None:
    octets = silo.ip.packed if silo.ip.version == 6 else silo.ip.packed + bytes(12)
    numbers = [silo.port, silo.generation] + ([] if seed is None else [seed])
    number = xxhash32(octets + b"".join(number.to_bytes(4, "little", signed=number < 0) for number in numbers))
    # As Orleans' StableHash: the digest as System.IO.Hashing writes it, read as a little-endian integer.
    assert silo.consistent_hash(seed) == struct.unpack("<i", struct.pack(">I", number))[0]


def test_hashes_stay_what_they_are() -> None:
    assert SiloAddress("10.0.0.1", 11111, 5).consistent_hash() == 1089361533
    assert SiloAddress("10.0.0.1", 11111, 5).consistent_hash(1) == 1782245300
    assert SiloAddress("2001:db8::1", 11111, 5).consistent_hash() == -1443474215


def test_generations_are_seconds_since_2022_and_only_grow() -> None:
    from membership.orleans import address

    fresh = address._Generations()
    clock = FakeClock()
    seconds = int((clock.now() - address._GENERATION_EPOCH).total_seconds())
    assert [fresh.next(clock) for _ in range(3)] == [seconds, seconds + 1, seconds + 2]
    clock.advance(10)
    assert fresh.next(clock) == seconds + 10
    clock.advance(2.0**31)
    assert fresh.next(clock) < 0, "cut to 32 bits as in Orleans"


def test_threads_never_share_a_generation() -> None:
    got: list[int] = []
    threads = [threading.Thread(target=lambda: got.extend(allocate_generation() for _ in range(50))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(got)) == 200
