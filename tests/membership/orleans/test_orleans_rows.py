"""Rows: what .NET writes is read, an update changes what it changes and no other byte, and what cannot be read is
refused by the name of its object and field."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from membership.orleans import MalformedRow, MembershipEntry, SiloAddress, SiloStatus, TableVersion
from membership.orleans.names import row_name
from membership.orleans.rows import (
    entry_of,
    merged,
    new_row,
    new_version,
    same_but_alive,
    version_of,
    with_alive,
)
from membership.orleans.times import MIN_TIME, format_time
from tests.support.silos import SILOS

FIXTURES = Path(__file__).parent / "fixtures"
ROWS = sorted(path.name for path in FIXTURES.glob("*.json") if not path.name.startswith("version-"))

TIMES = st.datetimes(timezones=st.just(UTC))
SUSPICIONS = st.lists(
    st.tuples(SILOS, TIMES.map(lambda time: time.replace(microsecond=time.microsecond // 1000 * 1000))), max_size=3
)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
ENTRIES = st.builds(
    MembershipEntry, SILOS, st.sampled_from(SiloStatus), SUSPICIONS, st.integers(0, 65535), TEXTS, TEXTS, TIMES, TIMES
)


def load(name: str) -> dict[str, Any]:
    obj: dict[str, Any] = json.loads((FIXTURES / name).read_bytes())
    return obj


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize("name", ROWS)
def test_what_dotnet_writes_round_trips_unchanged(name: str) -> None:
    row = load(name)
    entry = entry_of(row)
    assert merged(row, entry) == row
    assert with_alive(row, entry.i_am_alive_time) == row
    assert row["metadata"]["name"] == row_name(entry.silo_address)


def test_what_dotnet_writes_is_read() -> None:
    assert entry_of(load("silo-suspected.json")) == MembershipEntry(
        silo_address=SiloAddress("10.244.1.17", 11111, 131723046),
        status=SiloStatus.ACTIVE,
        suspect_times=[
            (SiloAddress("10.244.2.9", 11111, 131722990), at("2026-03-05T11:05:06.007")),
            (SiloAddress("10.244.3.21", 11111, 131723001), at("2026-03-05T11:05:07.900")),
        ],
        proxy_port=30000,
        host_name="orders-silo-7c9d8f6b5-x2x4q",
        silo_name="orders-silo-7c9d8f6b5-x2x4q",
        start_time=at("2026-03-05T10:44:06.123456"),
        i_am_alive_time=at("2026-03-05T11:04:36.120"),
    )
    never = entry_of(load("silo-never-alive.json"))
    assert (never.host_name, never.silo_name) == ("build+agent's host", "Silo_\u00e4\u00df")
    assert never.start_time == never.i_am_alive_time == never.last_alive == MIN_TIME
    assert entry_of(load("earlier-min-max.json")).proxy_port == 0
    offset = entry_of(load("earlier-offset.json"))
    assert (offset.start_time, offset.i_am_alive_time) == (at("2021-06-01T08:00:00.12"), at("2021-06-01T08:00:30"))


def test_our_rows_have_the_fields_of_dotnets() -> None:
    theirs = load("silo-suspected.json")
    ours = new_row(entry_of(theirs), "orders")
    times = {"startTime", "iAmAliveTime"}  # the same moments in another of .NET's forms
    assert {key: ours[key] for key in times} == {
        "startTime": "2026-03-05T10:44:06.123456+00:00",
        "iAmAliveTime": "2026-03-05T11:04:36.12+00:00",
    }
    assert {**ours, **{key: theirs[key] for key in times}} == {
        **theirs,
        "metadata": {"name": "10.244.1.17-11111-131723046"},
    }


def test_version_rows() -> None:
    assert new_version("orders") == load("version-new.json")
    assert version_of(load("version-new.json")) == TableVersion(0, "")
    assert version_of(load("version-next.json")) == TableVersion(42, "118203")
    assert version_of(load("version-next.json")).next() == TableVersion(43, "118203")
    assert new_version("Orders", 3)["metadata"] == {"name": "x-9tp68pbiec"}
    with pytest.raises(MalformedRow, match=r"OrleansClusterVersion orders: clusterVersion: .*'7'"):
        version_of({**load("version-new.json"), "clusterVersion": "7"})


@given(ENTRIES)
def test_entries_round_trip(entry: MembershipEntry) -> None:
    row = json.loads(json.dumps(new_row(entry, "orders")))
    assert entry_of(row) == entry
    assert merged(row, entry) == row


@given(st.sampled_from(ROWS), ENTRIES)
def test_an_update_sets_every_field_and_keeps_the_rest(name: str, entry: MembershipEntry) -> None:
    row = {**load(name), "zone": {"a": [1]}}
    before = copy.deepcopy(row)
    updated = merged(row, entry)
    assert row == before, "what was read is left alone"
    assert entry_of(updated) == entry
    kept = ("zone", "metadata", "clusterId", "apiVersion", "kind")
    assert {key: updated[key] for key in kept} == {key: row[key] for key in kept}
    assert updated.keys() == row.keys() | new_row(entry, "orders").keys() - (
        {"proxyPort"} if entry.proxy_port == 0 and "proxyPort" not in row else set()
    )


def test_an_update_keeps_the_text_of_what_it_does_not_change() -> None:
    row = load("earlier-seven-digits.json") | {
        "status": "ACTIVE",
        "address": "10.244.1.17",
        "suspectingSilos": ["[::1]:1@2", "10.0.0.7:1@2"],
        "suspectingTimes": ["2021-06-01 08:01:00 GMT", "2021-06-01 08:02:00.1 GMT"],
    }
    entry = entry_of(row)
    later = entry.i_am_alive_time + timedelta(seconds=30)
    voter = (SiloAddress("10.0.0.9", 1, 1), at("2021-06-01T08:03:00"))
    updated = merged(row, replace(entry, i_am_alive_time=later, suspect_times=[*entry.suspect_times, voter]))
    assert updated == row | {
        "iAmAliveTime": "2021-06-01T08:01:00.999999+00:00",
        "suspectingSilos": ["[::1]:1@2", "10.0.0.7:1@2", "10.0.0.9:1@1"],
        "suspectingTimes": ["2021-06-01 08:01:00 GMT", "2021-06-01 08:02:00.1 GMT", "2021-06-01 08:03:00.000 GMT"],
    }
    assert merged(row, replace(entry, status=SiloStatus.DEAD)) == row | {"status": "Dead"}
    assert merged(row, replace(entry, suspect_times=[])) == row | {"suspectingSilos": [], "suspectingTimes": []}
    again = [entry.suspect_times[0], (entry.suspect_times[1][0], at("2021-06-01T08:05:00"))]
    assert merged(row, replace(entry, suspect_times=again)) == row | {
        "suspectingTimes": ["2021-06-01 08:01:00 GMT", "2021-06-01 08:05:00.000 GMT"]
    }


def test_an_update_replaces_what_cannot_be_read() -> None:
    good = load("silo-suspected.json")
    entry = entry_of(good)
    broken = good | {"status": 3, "startTime": "yesterday", "proxyPort": "x", "suspectingTimes": ["x"], "port": -1}
    assert entry_of(merged(broken, entry)) == entry
    assert with_alive(good | {"iAmAliveTime": "x"}, MIN_TIME)["iAmAliveTime"] == format_time(MIN_TIME)


def test_absent_fields_are_read_as_dotnet_reads_them() -> None:
    row = {"kind": "OrleansSilo", "metadata": {"name": "n"}, "address": "10.0.0.1"}
    entry = entry_of(row)
    assert entry == MembershipEntry(SiloAddress("10.0.0.1", 0, 0), SiloStatus.NONE)
    assert merged(row, entry) == row
    nulls = dict.fromkeys(
        ("hostname", "siloName", "suspectingSilos", "suspectingTimes", "proxyPort", "startTime", "iAmAliveTime")
    )
    assert entry_of({**row, **nulls}) == entry
    assert merged({**row, **nulls}, entry) == {**row, **nulls}


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("address", None, "address: is missing"),
        ("address", "silo-0", "address: 'silo-0' is no IP address"),
        ("address", 7, "address: 7 is no text"),
        ("port", 65536, "port: 65536 is no integer from 0 to 65535"),
        ("port", "1", "port: '1' is no integer"),
        ("port", True, "port: True is no integer"),
        ("generation", 2**31, "generation: 2147483648 is no integer from -2147483648 to 2147483647"),
        ("generation", 1.5, "generation: 1.5"),
        ("proxyPort", "http", "proxyPort: 'http'"),
        ("status", "Alive", "status: 'Alive' is none of None, Created, Joining, Active, ShuttingDown, Stopping, Dead"),
        ("status", 3, "status: 3 is no text"),
        ("hostname", ["x"], r"hostname: \['x'\] is no text"),
        ("startTime", "12:00", "startTime: '12:00' is no time"),
        ("iAmAliveTime", "2026-02-30T00:00:00Z", "iAmAliveTime: '2026-02-30T00:00:00Z' is no time"),
        ("suspectingSilos", "10.0.0.1:1@1", "suspectingSilos: '10.0.0.1:1@1' is no list"),
        ("suspectingSilos", [1], r"suspectingSilos: \[1\] is no list of texts"),
        ("suspectingSilos", ["10.0.0.1"], "suspectingSilos: '10.0.0.1' is no silo address"),
        ("suspectingSilos", ["10.0.0.1:1@1"], "suspectingTimes: has 0 items, but suspectingSilos has 1"),
        ("suspectingTimes", ["x"], "suspectingTimes: 'x' is no time"),
    ],
)
def test_what_cannot_be_read_is_told_by_object_and_field(field: str, value: object, told: str) -> None:
    row = load("silo-alive-update.json") | {field: value}
    with pytest.raises(MalformedRow, match=rf"^OrleansSilo shop/10\.244\.1\.17-11111-131723046: {told}") as error:
        entry_of(row)
    assert error.value.field == told.split(":")[0]
    assert isinstance(error.value, ValueError)


def test_statuses_are_read_in_any_case() -> None:
    row = load("silo-active.json")
    for status in SiloStatus:
        for text in (status.value, status.value.lower(), status.value.upper()):
            assert entry_of(row | {"status": text}).status is status


def test_a_time_without_timezone_is_refused_by_the_silos_name() -> None:
    entry = replace(entry_of(load("silo-active.json")), start_time=datetime(2026, 1, 1))
    with pytest.raises(ValueError, match=r"10\.244\.1\.17:11111@131723046: start_time .* has no timezone"):
        new_row(entry, "orders")
    with pytest.raises(ValueError, match="no timezone"):
        merged(load("silo-active.json"), entry)


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("status", "Active", "status 'Active' is no SiloStatus"),
        ("proxy_port", "30000", "proxy_port '30000' is no int"),
        ("proxy_port", True, "proxy_port True is no int"),
        ("proxy_port", 2**31, "proxy_port 2147483648 is no 32-bit integer"),
        ("host_name", None, "host_name None is no str"),
        ("silo_name", 3, "silo_name 3 is no str"),
        ("start_time", "2026-01-01", "start_time '2026-01-01' is no datetime"),
        ("suspect_times", None, "suspect_times None is no Sequence"),
        (
            "suspect_times",
            [("10.0.0.9:1@1", at("2026-01-01"))],
            "suspect_times .* is no pair of a SiloAddress and a da",
        ),
        ("suspect_times", [(SiloAddress("10.0.0.9", 1, 1),)], "suspect_times .* is no pair"),
        ("suspect_times", [7], "suspect_times 7 is no pair"),
    ],
)
def test_what_nobody_could_read_is_not_written(field: str, value: Any, told: str) -> None:
    """One row that cannot be read stops every .NET silo of the cluster."""
    row = load("silo-active.json")
    entry = replace(entry_of(row), **{field: value})
    told = rf"^entry of silo 10\.244\.1\.17:11111@131723046: {told}"
    with pytest.raises(ValueError, match=told):
        new_row(entry, "orders")
    with pytest.raises(ValueError, match=told):
        merged(row, entry)


def test_the_same_but_for_its_life() -> None:
    row = load("silo-active.json")
    alive = load("silo-alive-update.json")
    assert same_but_alive(row, alive)
    assert same_but_alive(row, {k: v for k, v in row.items() if k != "iAmAliveTime"})
    for change in ({"status": "Dead"}, {"zone": 1}, {"clusterId": "other"}, {"startTime": "2026-03-05T10:44:06Z"}):
        assert not same_but_alive(row, alive | change)


def test_the_last_sign_of_life_is_the_start_until_there_is_another() -> None:
    entry = MembershipEntry(SiloAddress("10.0.0.1", 1, 1), SiloStatus.ACTIVE, start_time=at("2026-03-05T10:00:00"))
    assert entry.last_alive == entry.start_time
    alive = at("2026-03-05T10:00:30")
    assert replace(entry, i_am_alive_time=alive).last_alive == alive
