"""The table's objects as Python: a row's fields to an entry and back, and the version row.

A row is shared with writers who know more fields than we do, or write the same value in other words. So an update
lays the entry over the object as it was read: unknown fields stay, and so does the text of each field whose value
has not changed.

Absent fields are read as .NET reads them: numbers as 0, texts as empty, times as :data:`~.times.MIN_TIME`, the
status as None, the lists of suspicions as empty. Only the address must be there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TypeVar

from crds import orleansclusterversion, orleanssilo
from crds.decoding import InvalidObject, describe
from membership.orleans.address import SiloAddress
from membership.orleans.entry import MembershipEntry, TableVersion
from membership.orleans.names import row_name, version_name
from membership.orleans.status import SiloStatus
from membership.orleans.times import (
    MIN_TIME,
    format_suspecting_time,
    format_time,
    parse_suspecting_time,
    parse_time,
)
from runtime.types import JSONMapping, JSONObject

T = TypeVar("T")

SILOS = orleanssilo.SILOS
VERSIONS = orleansclusterversion.CLUSTERVERSIONS

_INT32 = range(-(2**31), 2**31)
_PORTS = range(2**16)
# .NET reads them in any case, and writes them like this.
_STATUSES = {status.value.lower(): status for status in SiloStatus}


class MalformedRow(InvalidObject):
    """A row or version row that cannot be read: names the object and the field."""


def entry_of(row: JSONMapping) -> MembershipEntry:
    """What the object says, an entry of the caller's own.

    :raises MalformedRow: a field cannot be read.
    """
    return MembershipEntry(
        silo_address=_address(row),
        status=_read(row, "status", _status, SiloStatus.NONE),
        suspect_times=_suspicions(row),
        proxy_port=_integer(row, "proxyPort"),
        host_name=_read(row, "hostname", str, ""),
        silo_name=_read(row, "siloName", str, ""),
        start_time=_read(row, "startTime", parse_time, MIN_TIME),
        i_am_alive_time=_read(row, "iAmAliveTime", parse_time, MIN_TIME),
    )


def gateway_of(row: JSONMapping) -> SiloAddress | None:
    """Where clients reach the silo, with its generation; None if it is no gateway: not active, or without a proxy
    port. What else the object says is not looked at.

    :raises MalformedRow: a field cannot be read.
    """
    port = _integer(row, "proxyPort", _PORTS)
    if port == 0 or _read(row, "status", _status, SiloStatus.NONE) is not SiloStatus.ACTIVE:
        return None
    silo = _address(row)
    return SiloAddress(silo.address, port, silo.generation)


def new_row(entry: MembershipEntry, cluster_id: str) -> JSONObject:
    """The object of a row that does not exist yet.

    :raises ValueError: the entry cannot be written: a time has no timezone, or a field is of another type.
    """
    fields = _fields(entry)
    metadata = {"name": row_name(entry.silo_address)}
    head = {
        "apiVersion": SILOS.api_version,
        "kind": orleanssilo.RESOURCE.kind,
        "metadata": metadata,
        "clusterId": cluster_id,
    }
    return head | fields


def merged(row: JSONMapping, entry: MembershipEntry) -> JSONObject:
    """The object ``row`` with the values of ``entry``: what the entry does not know, and the text of what it does not
    change, is kept. ``row`` itself is left alone (but shares with the answer what is nested).

    :raises ValueError: as for :func:`new_row`.
    """
    changed = _fields(entry)
    for field, same in _SAME.items():
        try:
            if same(row, entry):
                changed.pop(field)
        except MalformedRow:
            continue  # what cannot be read is replaced
    _keep_suspicions(row, changed)
    return {**row, **changed}


def with_alive(row: JSONMapping, time: datetime) -> JSONObject:
    """The object with another ``iAmAliveTime``; its text stays if that is the time it had. As :func:`merged`, it
    leaves ``row`` alone.

    :raises ValueError: the time has no timezone.
    """
    try:
        if _read(row, "iAmAliveTime", parse_time, MIN_TIME) == time:
            return dict(row)
    except MalformedRow:
        pass  # what cannot be read is replaced
    return {**row, "iAmAliveTime": format_time(time)}


def same_but_alive(one: JSONMapping, other: JSONMapping) -> bool:
    """Whether the two say the same of the silo but for ``iAmAliveTime``: unknown fields count, metadata does not."""
    ignored = {"iAmAliveTime", "metadata", "apiVersion", "kind"}
    return {k: v for k, v in one.items() if k not in ignored} == {k: v for k, v in other.items() if k not in ignored}


def new_version(cluster_id: str, version: int = 0) -> JSONObject:
    """The object of a version row that does not exist yet."""
    return {
        "apiVersion": VERSIONS.api_version,
        "kind": orleansclusterversion.RESOURCE.kind,
        "metadata": {"name": version_name(cluster_id)},
        "clusterId": cluster_id,
        "clusterVersion": version,
    }


def version_of(obj: JSONMapping) -> TableVersion:
    """The table version that the object holds.

    :raises MalformedRow: it holds none that can be read.
    """
    metadata = obj.get("metadata") or {}
    return TableVersion(_integer(obj, "clusterVersion"), str(metadata.get("resourceVersion") or ""))


def _fields(entry: MembershipEntry) -> JSONObject:
    address = entry.silo_address
    try:
        _check(entry)
        return {
            "address": address.address,
            "port": address.port,
            "generation": address.generation,
            "hostname": entry.host_name,
            "status": entry.status.value,
            "proxyPort": entry.proxy_port,
            "siloName": entry.silo_name,
            "suspectingSilos": [str(silo) for silo, _ in entry.suspect_times],
            "suspectingTimes": [format_suspecting_time(time) for _, time in entry.suspect_times],
            "startTime": format_time(entry.start_time),
            "iAmAliveTime": format_time(entry.i_am_alive_time),
        }
    except ValueError as error:
        raise ValueError(f"entry of silo {address}: {error}") from None


_TYPES: dict[str, type] = {
    "silo_address": SiloAddress,
    "status": SiloStatus,
    "suspect_times": Sequence,
    "proxy_port": int,
    "host_name": str,
    "silo_name": str,
    "start_time": datetime,
    "i_am_alive_time": datetime,
}


def _check(entry: MembershipEntry) -> None:
    """What no reader, ours or .NET's, could read must not get into the table: one such row stops every .NET silo."""
    for field, kind in _TYPES.items():
        value = getattr(entry, field)
        if not isinstance(value, kind) or isinstance(value, bool):
            raise ValueError(f"{field} {value!r} is no {kind.__name__}")
        if isinstance(value, datetime) and value.tzinfo is None:
            raise ValueError(f"{field} {value!r} has no timezone")
    if entry.proxy_port not in _INT32:
        raise ValueError(f"proxy_port {entry.proxy_port} is no 32-bit integer")
    for vote in entry.suspect_times:
        if not _is_vote(vote):
            raise ValueError(f"suspect_times {vote!r} is no pair of a SiloAddress and a datetime")


def _is_vote(vote: object) -> bool:
    if not isinstance(vote, Sequence) or len(vote) != 2:
        return False
    return isinstance(vote[0], SiloAddress) and isinstance(vote[1], datetime)


# Whether a field of the object has the entry's value already.
_SAME: dict[str, Callable[[JSONMapping, MembershipEntry], bool]] = {
    "address": lambda row, entry: _address(row).address == entry.silo_address.address,
    "port": lambda row, entry: _integer(row, "port", _PORTS) == entry.silo_address.port,
    "generation": lambda row, entry: _integer(row, "generation") == entry.silo_address.generation,
    "hostname": lambda row, entry: _read(row, "hostname", str, "") == entry.host_name,
    "status": lambda row, entry: _read(row, "status", _status, SiloStatus.NONE) is entry.status,
    "proxyPort": lambda row, entry: _integer(row, "proxyPort") == entry.proxy_port,
    "siloName": lambda row, entry: _read(row, "siloName", str, "") == entry.silo_name,
    "startTime": lambda row, entry: _read(row, "startTime", parse_time, MIN_TIME) == entry.start_time,
    "iAmAliveTime": lambda row, entry: _read(row, "iAmAliveTime", parse_time, MIN_TIME) == entry.i_am_alive_time,
}


def _keep_suspicions(row: JSONMapping, changed: JSONObject) -> None:
    """Give the suspicions that were there already the text they had, and leave both lists alone if none changed."""
    try:
        silos, times = _texts(row, "suspectingSilos"), _texts(row, "suspectingTimes")
        known = {
            (str(SiloAddress.parse(silo)), format_suspecting_time(parse_suspecting_time(time))): (silo, time)
            for silo, time in zip(silos, times, strict=True)
        }
    except ValueError:
        return
    wanted = list(zip(changed["suspectingSilos"], changed["suspectingTimes"], strict=True))
    texts = [known.get(pair, pair) for pair in wanted]
    if texts == list(zip(silos, times, strict=True)):
        del changed["suspectingSilos"], changed["suspectingTimes"]
    else:
        changed["suspectingSilos"] = [silo for silo, _ in texts]
        changed["suspectingTimes"] = [time for _, time in texts]


def _address(row: JSONMapping) -> SiloAddress:
    port, generation = _integer(row, "port", _PORTS), _integer(row, "generation")
    address = _read(row, "address", lambda text: SiloAddress(text, port, generation), None)
    if address is None:
        raise MalformedRow(describe(row), "address", "is missing")
    return address


def _suspicions(row: JSONMapping) -> list[tuple[SiloAddress, datetime]]:
    silos = _parsed(row, "suspectingSilos", SiloAddress.parse)
    times = _parsed(row, "suspectingTimes", parse_suspecting_time)
    if len(silos) != len(times):
        problem = f"has {len(times)} items, but suspectingSilos has {len(silos)}: each silo needs its time"
        raise MalformedRow(describe(row), "suspectingTimes", problem)
    return list(zip(silos, times, strict=True))


def _parsed(row: JSONMapping, field: str, parse: Callable[[str], T]) -> list[T]:
    try:
        return [parse(text) for text in _texts(row, field)]
    except MalformedRow:
        raise
    except ValueError as error:
        raise MalformedRow(describe(row), field, str(error)) from None


def _texts(row: JSONMapping, field: str) -> list[str]:
    value = row.get(field)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise MalformedRow(describe(row), field, f"{value!r} is no list of texts")
    return value


def _integer(row: JSONMapping, field: str, allowed: range = _INT32) -> int:
    value = row.get(field)
    if value is None:
        return 0
    if type(value) is not int or value not in allowed:
        problem = f"{value!r} is no integer from {allowed.start} to {allowed.stop - 1}"
        raise MalformedRow(describe(row), field, problem)
    return value


def _read(row: JSONMapping, field: str, parse: Callable[[str], T], absent: T) -> T:
    value = row.get(field)
    if value is None:
        return absent
    try:
        if not isinstance(value, str):
            raise ValueError(f"{value!r} is no text")
        return parse(value)
    except ValueError as error:
        raise MalformedRow(describe(row), field, str(error)) from None


def _status(text: str) -> SiloStatus:
    status = _STATUSES.get(text.lower())
    if status is None:
        raise ValueError(f"{text!r} is none of {', '.join(status.value for status in SiloStatus)}")
    return status
