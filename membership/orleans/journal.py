"""What the objects of a table remember of changes: the one that is under way, and what became of the last ones.

The version object carries two annotations, each row of ours one; all begin with :data:`PREFIX`:

``pending`` (version object)
    the change that is under way: its id, the row and what that was before, what it will be, the version it leads to.
``outcomes`` (version object)
    what became of the last :data:`REMEMBERED` changes, and since which version nobody has dropped the annotation.
``change`` (row)
    the change that wrote the row last: its id, the version it leads to, the uid of the version object.

A .NET silo that writes the version object drops the annotations there; when it writes a row, those of the row (but for
the sign of life, which keeps them). Everything here reckons with that. Pure functions: no calls.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

from crds.decoding import describe
from membership.orleans import rows
from membership.orleans.entry import TableVersion
from membership.orleans.times import parse_time
from runtime.types import JSONObject

T = TypeVar("T")

PREFIX = "membership.orleans.dot.net/"
PENDING = f"{PREFIX}pending"
OUTCOMES = f"{PREFIX}outcomes"
CHANGE = f"{PREFIX}change"

REMEMBERED = 64
"""Outcomes that are kept, 60 bytes each. A writer needs its own until it has looked: so many others would have to come
between. (16 did, when twenty wrote as fast as they could and one of them was told to wait for a second.)"""


class Change(msgspec.Struct, frozen=True):
    """Names one change.

    :ivar version: the table version it leads to.
    :ivar table: uid of the version object: a table that was deleted and made again is another one.
    """

    id: str
    version: int
    table: str


class Before(msgspec.Struct, frozen=True):
    """A row as the writer of a change found it.

    :ivar change: id of the change that had written it; ``""`` if that was no writer of ours.
    :ivar fields: all of it but the metadata.
    """

    uid: str
    etag: str
    change: str
    fields: dict[str, Any]


class Pending(msgspec.Struct, frozen=True):
    """A change that will take place, whoever finishes it.

    :ivar row: name of the object.
    :ivar version: the table version it leads to.
    :ivar before: None if the row is inserted.
    :ivar after: the row's fields, without metadata.
    """

    id: str
    row: str
    version: int
    before: Before | None
    after: dict[str, Any]


class Outcome(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of a change.

    :ivar row: uid of the row that was inserted, if one was.
    :ivar refused: its writer gave it up, and said so by an error: who had begun to write the row in its place may yet
        do so, and then it takes place after all.
    """

    id: str
    version: int
    applied: bool
    row: str = ""
    refused: bool = False


class Outcomes(msgspec.Struct, frozen=True):
    """What became of the last changes.

    :ivar since: version of the table when the annotation was made: changes that lead to later ones are in here, unless
        they are
    :ivar forgotten: or older: the latest of which the outcome was dropped for its age.
    """

    since: int
    forgotten: int = 0
    decided: tuple[Outcome, ...] = ()

    def of(self, change_id: str) -> Outcome | None:
        """The last one, if there are several."""
        return next((outcome for outcome in reversed(self.decided) if outcome.id == change_id), None)

    def unbroken(self, version: int) -> bool:
        """Whether nobody has dropped the annotation since a change that leads to this version was begun."""
        return self.since < version

    def complete(self, version: int) -> bool:
        """Whether every change that leads to this version, and that came so far, is in here."""
        return self.since < version and self.forgotten < version

    def with_outcome(self, outcome: Outcome) -> Outcomes:
        decided = (*self.decided, outcome)
        dropped = decided[:-REMEMBERED]
        forgotten = max([self.forgotten, *(old.version for old in dropped)])
        return Outcomes(self.since, forgotten, decided[-REMEMBERED:])


class RowState(enum.Enum):
    """How a row stands to a pending change."""

    WRITTEN = "written"
    READY = "ready"  # as it was when the change was begun, but perhaps for a later sign of life
    FOREIGN = "foreign"  # somebody who does not look at pending changes has written or deleted it


@dataclass(frozen=True, slots=True)
class Stored:
    """An object, as read."""

    body: JSONObject

    @property
    def name(self) -> str:
        return _metadata(self.body, "name")

    @property
    def uid(self) -> str:
        return _metadata(self.body, "uid")

    @property
    def etag(self) -> str:
        return _metadata(self.body, "resourceVersion")


@dataclass(frozen=True, slots=True)
class Row(Stored):
    """One object of a row, as read."""

    @property
    def cluster_id(self) -> str:
        cluster_id = self.body.get("clusterId")
        return cluster_id if isinstance(cluster_id, str) else ""

    @property
    def change(self) -> Change | None:
        """The change that wrote it last; None if that was no writer of ours."""
        text = _annotations(self.body).get(CHANGE)
        try:
            return None if text is None else _read_change(text)
        except msgspec.DecodeError:
            return None

    @property
    def fields(self) -> JSONObject:
        return {key: value for key, value in self.body.items() if key != "metadata"}


@dataclass(frozen=True, slots=True)
class VersionRow(Stored):
    """The version object, as read.

    :ivar outcomes: None if whoever wrote it last keeps no journal, or nobody has changed a row yet.
    """

    version: int
    pending: Pending | None
    outcomes: Outcomes | None

    @property
    def table_version(self) -> TableVersion:
        return TableVersion(self.version, self.etag)

    def outcome_of(self, change_id: str) -> Outcome | None:
        return self.outcomes.of(change_id) if self.outcomes else None

    def is_pending(self, change_id: str) -> bool:
        return self.pending is not None and self.pending.id == change_id

    def proposing(self, pending: Pending) -> JSONObject:
        """The object with a change begun."""
        outcomes = self.outcomes or Outcomes(since=self.version)
        return self._written(self.version, {PENDING: _text(pending), OUTCOMES: _text(outcomes)})

    def deciding(self, pending: Pending, row: str | None, *, refused: bool = False) -> JSONObject:
        """The object with its pending change done.

        :param row: uid of the row that was written; None if the change does not take place.
        :param refused: see :class:`Outcome`.
        """
        inserted = row if row is not None and pending.before is None else ""
        outcome = Outcome(pending.id, pending.version, row is not None, inserted, refused)
        return self._decided(outcome, self.version if row is None else pending.version)

    def counting(self, change: Change, row: str) -> JSONObject:
        """The object with a version for a change whose row was written, and which somebody dropped meanwhile."""
        return self._decided(Outcome(change.id, change.version, True, row), max(self.version + 1, change.version))

    def missing(self, row: Row) -> bool:
        """Whether the row was written by a change that has no version yet: a silo that keeps no journal wrote the
        version object between, or the writer of the change gave it up, and who wrote the row has not come to see it,
        or has died."""
        change = row.change
        if change is None or change.table != self.uid or self.is_pending(change.id):
            return False
        outcome = self.outcome_of(change.id)
        if outcome is not None:
            return outcome.refused
        unbroken = self.outcomes is not None and self.outcomes.unbroken(change.version)
        return change.version >= self.version and not unbroken

    def _decided(self, outcome: Outcome, version: int) -> JSONObject:
        outcomes = self.outcomes or Outcomes(since=self.version)
        return self._written(version, {PENDING: None, OUTCOMES: _text(outcomes.with_outcome(outcome))})

    def _written(self, version: int, annotations: dict[str, str | None]) -> JSONObject:
        return {**annotated(self.body, annotations), "clusterVersion": version}


def version_row(body: JSONObject, cluster_id: str) -> VersionRow:
    """The version object of a cluster.

    :raises MalformedRow: it is another cluster's, or a part cannot be read.
    """
    check_cluster(body, cluster_id)
    return VersionRow(
        body,
        rows.version_of(body).version,
        _journal(body, PENDING, _read_pending),
        _journal(body, OUTCOMES, _read_outcomes),
    )


def check_cluster(body: JSONObject, cluster_id: str) -> None:
    """:raises MalformedRow: the object is not the version object of this cluster."""
    said = body.get("clusterId")
    if said != cluster_id:
        problem = f"is {said!r}, but the name stands for the cluster {cluster_id!r}"
        raise rows.MalformedRow(describe(body), "clusterId", problem)


def is_leaving(body: JSONObject) -> bool:
    """Whether the object is being deleted, and waits for somebody's finalizer."""
    return bool(_metadata(body, "deletionTimestamp"))


def pending_of(body: JSONObject) -> Pending | None:
    """The change that is under way in the table of this version object.

    :raises MalformedRow: there is one, and it cannot be read: nobody can finish it.
    """
    return _journal(body, PENDING, _read_pending)


def before_of(row: Row) -> Before:
    """What a change of this row begins with."""
    change = row.change
    return Before(row.uid, row.etag, change.id if change else "", row.fields)


def state_of(row: Row | None, pending: Pending) -> RowState:
    """How the row stands to the change that is pending."""
    if row is None:
        return RowState.READY if pending.before is None else RowState.FOREIGN
    change = row.change
    if change is not None and change.id == pending.id:
        return RowState.WRITTEN
    old = pending.before
    if (
        old is not None
        and (row.uid, change.id if change else "") == (old.uid, old.change)
        and rows.same_but_alive(row.fields, old.fields)
    ):
        return RowState.READY
    return RowState.FOREIGN


def written(row: Row | None, pending: Pending, table: str) -> JSONObject:
    """The object of a row that is ready, as the pending change writes it.

    A sign of life which came after the change was begun is kept if it is later than the change's own.
    """
    change = _text(Change(pending.id, pending.version, table))
    if row is None or pending.before is None:
        return {**pending.after, "metadata": {"name": pending.row, "annotations": {CHANGE: change}}}
    fields = dict(pending.after)
    alive = row.body.get("iAmAliveTime")
    if alive != pending.before.fields.get("iAmAliveTime") and later(alive, fields.get("iAmAliveTime")):
        fields["iAmAliveTime"] = alive
    return {**fields, "metadata": annotated(row.body, {CHANGE: change})["metadata"]}


def annotated(body: JSONObject, annotations: dict[str, str | None]) -> JSONObject:
    """The object with these annotations, or without those that are None; the others, and the rest, as they are."""
    kept = {key: value for key, value in _annotations(body).items() if key not in annotations}
    added = {key: value for key, value in annotations.items() if value is not None}
    return {**body, "metadata": {**(body.get("metadata") or {}), "annotations": kept | added}}


def later(one: object, other: object) -> bool:
    """Whether a time as rows hold it is later than another; what is no time is not."""
    try:
        return parse_time(str(one)) > parse_time(str(other))
    except ValueError:
        return False


def _journal(body: JSONObject, annotation: str, read: Callable[[str], T]) -> T | None:
    text = _annotations(body).get(annotation)
    if text is None:
        return None
    try:
        return read(text)
    except msgspec.DecodeError as error:
        field = f"metadata.annotations[{annotation}]"
        problem = f"{error}. If the writer of the change is gone, remove the annotation: the change is lost then"
        raise rows.MalformedRow(describe(body), field, problem) from None


def _annotations(body: JSONObject) -> dict[str, str]:
    metadata = body.get("metadata") or {}
    return metadata.get("annotations") or {}


def _metadata(body: JSONObject, key: str) -> str:
    metadata = body.get("metadata") or {}
    return str(metadata.get(key) or "")


def _text(value: msgspec.Struct) -> str:
    return msgspec.json.encode(value).decode()


_read_change = msgspec.json.Decoder(Change).decode
_read_pending = msgspec.json.Decoder(Pending).decode
_read_outcomes = msgspec.json.Decoder(Outcomes).decode
