"""Object names: as the .NET provider's where those are names, reversible where they are not."""

from __future__ import annotations

import re

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from membership.orleans import SiloAddress
from membership.orleans.names import is_name, row_address, row_name, version_cluster_id, version_name
from tests.support.silos import ADDRESSES, INT32, SILOS

# As apimachinery's validation has it.
DNS_1123_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")

WORDS = st.text("abhx09-", min_size=1, max_size=12).map(lambda word: f"x{word}0" if word[0] == "-" else f"{word}0")
NAMES = st.lists(WORDS, min_size=1, max_size=4).map(".".join)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
CLUSTER_IDS = st.one_of(NAMES, TEXTS, TEXTS.map(lambda text: "x-" + text), NAMES.map(version_name))


def is_valid(name: str) -> bool:
    return len(name) <= 253 and DNS_1123_SUBDOMAIN.fullmatch(name) is not None


@given(SILOS)
@example(SiloAddress("fe80::1%" + "s" * 150, 1, 1))
def test_rows_have_valid_names_of_one_silo_only(silo: SiloAddress) -> None:
    name = row_name(silo)
    assert is_valid(name)
    assert row_address(name) == (None if name.startswith("h-") else silo)


@given(st.ip_addresses(v=4), st.integers(0, 65535), INT32)
def test_ipv4_rows_are_called_as_by_dotnet(ip: object, port: int, generation: int) -> None:
    assert row_name(SiloAddress(str(ip), port, generation)) == f"{ip}-{port}-{generation}"


def test_ipv6_rows() -> None:
    assert row_name(SiloAddress("2001:db8::a", 11111, 7)) == "2001-0db8-0000-0000-0000-0000-0000-000a-11111-7"
    assert row_name(SiloAddress("::1.2.3.4", 1, -7)) == "0000-0000-0000-0000-0000-0000-0102-0304-1--7"
    assert row_name(SiloAddress("fe80::1%3", 1, 2)) == "x-cpijgc1q78oiacpq65034"
    long = row_name(SiloAddress("fe80::1%" + "s" * 200, 1, 2))
    assert re.fullmatch("h-[0-9a-f]{64}", long)
    assert long != row_name(SiloAddress("fe80::1%" + "s" * 201, 1, 2))


@pytest.mark.parametrize(
    "name",
    [
        "orders",
        "10.0.0.1-1",
        "10.0.0.1-65536-1",
        "10.0.0.1-01-1",
        "10.0.0.1-1-+1",
        "010.0.0.1-1-1",
        "2001-0db8-0000-0000-0000-0000-0000-000a-11111",
        "0000-0000-0000-0000-0000-ffff-0102-0304-1-1",  # that silo's row has its IPv4 name
        "x-64p36d1l6orjge9g64p36d1l6o",
        "x-CPIJGC1Q78OIACPQ65034",
        "x-cpijgc1q78oiacpq65035",  # not the last bits that the encoder writes
        "h-" + "0" * 64,
        "x-",
    ],
)
def test_other_names_are_no_rows(name: str) -> None:
    assert row_address(name) is None


@given(CLUSTER_IDS)
@example("x-men")
@example("x-64")  # reads as base32hex, of an id that would not be escaped
@example("x-8cog")  # what "C1" is called
@example("h-" + "0" * 64)
@example("a" * 253)
@example("a" * 254)
@example("\u00e4" * 200)
def test_version_rows_have_valid_names_of_one_cluster_only(cluster_id: str) -> None:
    name = version_name(cluster_id)
    assert is_valid(name)
    assert version_cluster_id(name) == (None if name.startswith("h-") and name != cluster_id else cluster_id)


@given(st.lists(CLUSTER_IDS, min_size=2, max_size=2, unique=True))
def test_two_clusters_never_share_a_name(ids: list[str]) -> None:
    assert version_name(ids[0]) != version_name(ids[1])


@given(NAMES)
def test_a_cluster_id_that_is_a_name_is_kept(cluster_id: str) -> None:
    assume(not cluster_id.startswith(("x-", "h-")))
    assert version_name(cluster_id) == cluster_id


def test_version_names() -> None:
    kept = ["orders", "x-men", "x-64", "h-orders", "a" * 253]
    assert [version_name(cluster_id) for cluster_id in kept] == kept
    assert version_name("C1") == "x-8cog"
    assert version_name("x-8cog") not in {"x-8cog", version_name("C1")}
    assert re.fullmatch("h-[0-9a-f]{64}", version_name("A" * 200))
    assert version_cluster_id("Orders") is None


@pytest.mark.parametrize("cluster_id", ["", "\ud800"])
def test_ids_that_nobody_can_write(cluster_id: str) -> None:
    with pytest.raises(ValueError, match=r"empty|UTF-8"):
        version_name(cluster_id)


@given(st.one_of(NAMES, st.text("aA0-.", max_size=8), TEXTS, ADDRESSES))
@example("a" * 254)
@example("a\n")
def test_what_a_name_is(text: str) -> None:
    assert is_name(text) == is_valid(text)
