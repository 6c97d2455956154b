"""The membership table on Kubernetes."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import datetime
from functools import partial

from crds.decoding import describe
from membership.orleans import rows
from membership.orleans.address import SiloAddress
from membership.orleans.calls import Calls, Place
from membership.orleans.commit import GRACE, commit, count, settle
from membership.orleans.entry import MembershipEntry, MembershipTableData, TableVersion
from membership.orleans.etags import Etags
from membership.orleans.journal import (
    Pending,
    Row,
    RowState,
    VersionRow,
    before_of,
    check_cluster,
    is_leaving,
    later,
    state_of,
)
from membership.orleans.names import row_name
from membership.orleans.status import SiloStatus
from membership.orleans.told import Told
from runtime.client import AlreadyExists, Client, ClientError, Conflict, NotFound
from runtime.client.errors import Answer, Target
from runtime.clock import Clock
from runtime.logging import get_logger
from runtime.types import JSONObject

_log = get_logger(__name__)

DEFAULT_TIMEOUT = 10.0


class KubeMembershipTable:
    """One Orleans cluster's membership table: a version object and a silo object for each row, shared with .NET silos.

    Any number of threads may share one; making one makes no call. The etag of a row is its resourceVersion, that of the
    table version the version object's. Verbs, in the group ``orleans.dot.net``: get, list, create, update and delete on
    ``silos``; get, create, update and delete on ``clusterversions``. Who only reads needs get and list on ``silos`` and
    get on ``clusterversions``.

    **Both or neither.** Kubernetes writes one object at a time, and a change is two: the row, and the version. Both
    are announced first, in an annotation of the version object (:mod:`membership.orleans.journal`), so that a change
    whose writer dies is finished by whoever sees it. The calls of ``insert_row`` and ``update_row``, and what is there
    if the writer dies before the next:

    1. Reads the version object and the row, and compares both etags.
    2. Writes the change into the version object, if that is as it was read. Of several writers one succeeds, the others
       return False. *From here on the change takes place.* A reader of ours waits for ``GRACE`` seconds
       and then does the rest; if it may not write, it still shows the table as before the change. A .NET silo sees the
       table as it was.
    3. Writes the row, if that is as it was read but for its sign of life. A .NET silo sees the new row with the old
       version; silos ignore what comes with a version they know, and those that did not know it yet see the row early.
       (The other order, that of the .NET provider, makes them miss the row instead, until the version grows again.)
       If the server refuses the row (rights, quota, admission), the change is taken back, and the error raised.
    4. Writes version + 1 into the version object, and what became of the change in place of the change.

    All writes name the resourceVersion they were decided on, so each takes effect once whoever makes it. A call without
    an answer is followed by a look: ids tell one's own changes from others.

    **Beside .NET silos**, which neither look at what is announced nor keep annotations of what they write:

    - Between 2 and 4 one writes the version object. Nothing of it is lost: ours comes after it, with one version more,
      if its row is written, and is given up (False) if not. If our writer dies just then, the next reader of ours finds
      a row whose version nobody has counted, and counts it; unless .NET silos have written twice by then, and the
      version that shows the row to other .NET silos is the next one.
    - Between 2 and 3 one writes the row: we give up the change, and return False.
    - Its own changes remain what they are: version first, then the row, and nothing makes up for the row if it dies or
      fails between. The same version may therefore be read with other rows later.
    - What cannot be known raises :class:`OutcomeUnknown`: never a guess.

    **What is left open.** An insert has no resourceVersion to name: one that was announced, and stood still before its
    third step until others had finished it *and* somebody had deleted the row (or the table), writes the row once more,
    sees that, and deletes it; if it dies between these two calls the row stays, in the state in which it was announced.
    If so much has been changed meanwhile that its outcome is forgotten, it raises :class:`OutcomeUnknown`, too; but one
    that was written by whoever found it half done stays then: it may be the row that its writer goes on from. And if a
    .NET silo has dropped the outcome, the insert takes place anew, with a version of its own.

    **Signs of life** change the row's etag, but not the version. A table knows the etags that it has given out last,
    and takes them as long as nothing else has changed: an update is neither late for a sign of life, nor does it undo
    one.

    :param namespace: None: that of the client's configuration.
    :param timeout: seconds for one operation, in which calls that fail are repeated where that may help. Operations
        that delete have it for each object.
    :param clock: the time to wait in; None: the client's.
    :raises ValueError: the cluster id is empty or cannot be written.
    """

    def __init__(
        self,
        client: Client,
        cluster_id: str,
        namespace: str | None = None,
        *,
        timeout: float = DEFAULT_TIMEOUT,
        clock: Clock | None = None,
    ) -> None:
        if not timeout > 0:
            raise ValueError(f"timeout must be above 0 seconds, not {timeout!r}")
        self._place = Place(client, namespace or client.namespace, cluster_id, clock or client.clock)
        self._timeout = timeout
        self._etags = Etags()
        self._told = Told()  # of malformed rows

    def __repr__(self) -> str:
        return f"<{self._place}>"

    @property
    def cluster_id(self) -> str:
        return self._place.cluster_id

    @property
    def namespace(self) -> str:
        return self._place.namespace

    # ---- the table as a whole

    def initialize_membership_table(self, try_init_table_version: bool = True) -> None:
        """Create the version row, with version 0, unless it is there.

        :param try_init_table_version: False: do nothing; another silo does it.
        :raises MalformedRow: an object of that name is there, and is not the version row of this cluster.
        """
        if not try_init_table_version:
            return
        calls = self._calls()
        while calls.version() is None:
            try:
                calls.create_version(rows.new_version(self.cluster_id))
                return
            except AlreadyExists:
                calls.step_aside()
            except ClientError as error:
                calls.patience(error)

    def delete_membership_table_entries(self, cluster_id: str) -> None:
        """Delete the table of a cluster: first the version row, so that nobody can write any more, then all rows.

        After an error or a crash part of it may be left; call it again. A table that is made anew meanwhile goes, too.
        What has finalizers is left to those who have to remove them.

        :param cluster_id: of which cluster; need not be this table's.
        """
        place = self._place
        if cluster_id != place.cluster_id:
            place = Place(place.client, place.namespace, cluster_id, place.clock)
        calls = Calls(place, self._timeout)
        while True:
            version = calls.version_body()
            if version is not None and not is_leaving(version):
                check_cluster(version, cluster_id)
                _delete(calls, partial(calls.delete_version, version))
                continue
            found = [row for row in calls.rows() if not is_leaving(row.body)]
            if not found:
                return
            for row in found:
                if _delete(calls, partial(calls.delete_row, row)):
                    calls.renew()

    def cleanup_defunct_silo_entries(self, before: datetime, *, only_dead: bool = False) -> None:
        """Delete the rows of silos that are not active and gave their last sign of life before then. The version stays.

        A silo that has said nothing for a week while it was joining or stopping is as defunct as a dead one: so do
        Orleans' own tables. (The .NET provider on Kubernetes removes the dead only.) What cannot be read is left alone.

        :param before: with a timezone.
        :param only_dead: leave all others alone: for a date that is not long ago.
        """
        if before.tzinfo is None:
            raise ValueError(f"{before!r} has no timezone")

        def defunct(row: Row) -> bool:
            try:
                entry = rows.entry_of(row.body)
            except rows.MalformedRow:
                return False
            gone = entry.status is SiloStatus.DEAD or (not only_dead and entry.status is not SiloStatus.ACTIVE)
            return gone and entry.last_alive < before

        calls = self._calls()
        for row in [row for row in calls.rows() if defunct(row)]:
            if self._remove(calls, row, defunct):
                calls.renew()

    def delete_row(self, address: SiloAddress, etag: str) -> bool:
        """Delete a row as it was read; the version stays. For those who keep the table clean.

        :returns: False if it is gone, or has changed since.
        """
        calls = self._calls()
        row = self._row(calls, address)
        return row is not None and self._remove(calls, row, lambda found: found.etag == etag)

    # ---- reading

    def read_all(self) -> MembershipTableData:
        """The whole table as it was at one moment of the call.

        Without a version row the version is 0 and its etag ``""``. Rows that cannot be read are in ``malformed``.

        :raises MalformedRow: the version row cannot be read.
        :raises TableBusy: others changed the table all the time.
        """
        found, version = self._read(Calls.rows)
        members: list[tuple[MembershipEntry, str]] = []
        malformed: list[tuple[str, str]] = []
        for row in found:
            try:
                members.append((_entry(row), row.etag))
            except rows.MalformedRow as error:
                malformed.append((row.name, str(error)))
        for problem in self._told.news([problem for _, problem in malformed]):
            _log.warning("a row of the membership table cannot be read", table=str(self._place), error=problem)
        return MembershipTableData(members, version, malformed)

    def read_row(self, address: SiloAddress) -> MembershipTableData:
        """The row of that silo, if there is one, and the version, as they were at one moment of the call.

        :raises MalformedRow: the row or the version row cannot be read.
        :raises TableBusy: others changed the table all the time.
        """

        def look(calls: Calls) -> list[Row]:
            row = self._row(calls, address)
            return [] if row is None else [row]

        found, version = self._read(look)
        return MembershipTableData([(_entry(row), row.etag) for row in found], version)

    def _read(self, look: Callable[[Calls], list[Row]]) -> tuple[list[Row], TableVersion]:
        """Rows as ``look`` finds them between two looks at the version object that find it the same."""
        calls = self._calls()
        while True:
            version = self._settled(calls)
            found = look(calls)
            again = calls.version()
            if version is None and again is None:
                self._etags.give(found)
                return found, TableVersion(0, "")
            if version is None or again is None or version.etag != again.etag:
                calls.step_aside()
                continue
            uncounted = next((row for row in found if version.missing(row)), None)
            if uncounted is None or not self._counted(uncounted):
                shown = _as_of(version, found)
                self._etags.give(shown)
                return shown, version.table_version

    def _settled(self, calls: Calls) -> VersionRow | None:
        """The version object, without a pending change if we can help it."""
        version = calls.version()
        if version is None or version.pending is None:
            return version
        try:
            return settle(self._helping(), version)
        except ClientError as error:
            _log.debug(
                "another's change of the membership table stays half done", table=str(self._place), error=str(error)
            )
            return calls.version()

    def _counted(self, row: Row) -> bool:
        """Give a version to a change that lost it; False if we cannot."""
        change = row.change
        assert change is not None
        try:
            count(self._helping(), change, row.uid)
        except ClientError as error:
            _log.debug("a row waits for its version", table=str(self._place), error=str(error))
            return False
        return True

    # ---- changing rows

    def insert_row(self, entry: MembershipEntry, version: TableVersion) -> bool:
        """Add a row and advance the version, both or neither.

        :param version: :meth:`~TableVersion.next` of the one that was read.
        :returns: False if the table has changed since, or has a row of that silo: read, and decide again. Also, and
            with a warning in the log, if another cluster of the namespace has a row of that silo: objects of the same
            name cannot be told apart.
        :raises ValueError: the entry cannot be written: a time has no timezone, or a field is of another type.
        :raises ClientError: the server failed or refuses. The change took place or it did not, or it was begun: then
            others finish it.
        :raises OutcomeUnknown: see there.
        """
        new = _fields(rows.new_row(entry, self.cluster_id))

        def after(row: Row | None) -> JSONObject | None:
            if row is not None and row.cluster_id != self.cluster_id:
                where = {"table": str(self._place), "name": row.name, "cluster": row.cluster_id}
                _log.warning("a row cannot be inserted: another cluster's has its name", **where)
            return new if row is None else None

        return self._change(entry.silo_address, version, after)

    def update_row(self, entry: MembershipEntry, etag: str, version: TableVersion) -> bool:
        """Replace a row and advance the version, both or neither.

        What the entry does not know of the object (further fields, labels, annotations) stays, and so does a sign of
        life that came after the row was read and is later than the entry's.

        :param etag: of the row as it was read. It may have given signs of life since, if it was read by this table.
        :param version: :meth:`~TableVersion.next` of the one that was read.
        :returns: False if the table or the row has changed since, or the row is gone: read, and decide again.
        :raises ValueError: as for :meth:`insert_row`, as are
        :raises ClientError:
        :raises OutcomeUnknown:
        """

        def after(row: Row | None) -> JSONObject | None:
            if row is None or row.cluster_id != self.cluster_id or not self._etags.fits(etag, row):
                return None
            fields = _fields(rows.merged(row.body, entry))
            if row.etag != etag and later(_alive(row), fields["iAmAliveTime"]):
                fields["iAmAliveTime"] = _alive(row)
            return fields

        return self._change(entry.silo_address, version, after)

    def _change(
        self, address: SiloAddress, wanted: TableVersion, after: Callable[[Row | None], JSONObject | None]
    ) -> bool:
        """:param after: the row's fields; None if the row that is there is not the one to change."""
        calls = self._calls()
        version = calls.version()
        if version is None or (version.etag, version.version + 1) != (wanted.etag, wanted.version):
            return False
        if version.pending is not None:
            settle(calls, version)
            return False
        name = row_name(address)
        row = calls.row(name)
        fields = after(row)
        if fields is None:
            return False
        before = None if row is None else before_of(row)
        return commit(calls, version, row, Pending(secrets.token_hex(8), name, wanted.version, before, fields))

    def update_i_am_alive(self, entry: MembershipEntry) -> None:
        """Set ``iAmAliveTime`` of the row to that of the entry, of which nothing else counts. The version stays.

        A row that another has written meanwhile is read again, so nothing of theirs is lost; nor is a later sign of
        life that has come meanwhile.

        :raises NotFound: there is no such row; it is not made again.
        :raises ValueError: the time has no timezone.
        """
        calls = self._calls()
        begun: Row | None = None
        while True:
            row = self._row(calls, entry.silo_address)
            if row is None:
                raise self._no_row(entry.silo_address)
            begun = begun or row
            body = rows.with_alive(row.body, entry.i_am_alive_time)
            if body == row.body or (_alive(row) != _alive(begun) and later(_alive(row), body["iAmAliveTime"])):
                return
            try:
                calls.put_row(body)
                return
            except Conflict:
                calls.step_aside()
            except NotFound:
                raise self._no_row(entry.silo_address) from None
            except ClientError as error:
                calls.patience(error)

    # ---- parts

    def _calls(self) -> Calls:
        return Calls(self._place, self._timeout)

    def _helping(self) -> Calls:
        """Calls for what others have left: our own operation is to have time left after it."""
        return Calls(self._place, max(self._timeout / 3, 2 * GRACE))

    def _row(self, calls: Calls, address: SiloAddress) -> Row | None:
        row = calls.row(row_name(address))
        return row if row is not None and row.cluster_id == self.cluster_id else None

    def _no_row(self, address: SiloAddress) -> NotFound:
        target = Target("get", f"{rows.SILOS} {self.namespace}/{row_name(address)}")
        return NotFound(target, Answer(404, "NotFound", f"no row of silo {address} in the {self._place}"))

    def _remove(self, calls: Calls, row: Row | None, wanted: Callable[[Row], bool]) -> bool:
        """Delete a row as long as it is as wanted; False if it is gone or otherwise."""
        doubtful = False
        while row is not None and wanted(row):
            # Read after the row: without a pending change what the row says is in the table, not only to come.
            version = calls.version()
            if version is not None and version.pending is not None and version.pending.row == row.name:
                settle(calls, version)
            else:
                try:
                    calls.delete_row(row)
                    return True
                except (Conflict, NotFound):
                    calls.step_aside()
                except ClientError as error:
                    doubtful |= error.ambiguous
                    calls.patience(error)
            row = calls.row(row.name)
        return row is None and doubtful


def _as_of(version: VersionRow, found: list[Row]) -> list[Row]:
    """The rows without what a pending change, which nobody let us finish, has written already."""
    pending = version.pending
    if pending is None:
        return found
    shown = []
    for row in found:
        if row.name != pending.row or state_of(row, pending) is not RowState.WRITTEN:
            shown.append(row)
        elif pending.before is not None:
            metadata = {**row.body["metadata"], "resourceVersion": pending.before.etag}
            alive = {"iAmAliveTime": row.body["iAmAliveTime"]} if "iAmAliveTime" in row.body else {}
            shown.append(Row({**pending.before.fields, **alive, "metadata": metadata}))
    return shown


def _entry(row: Row) -> MembershipEntry:
    """:raises MalformedRow: it cannot be read, or is the row of another silo than its name says."""
    entry = rows.entry_of(row.body)
    name = row_name(entry.silo_address)
    if name != row.name:
        raise rows.MalformedRow(describe(row.body), "metadata.name", f"the row of silo {entry.silo_address} is {name}")
    return entry


def _fields(body: JSONObject) -> JSONObject:
    return Row(body).fields


def _alive(row: Row) -> object:
    return row.body.get("iAmAliveTime")


def _delete(calls: Calls, delete: Callable[[], None]) -> bool:
    """Delete what may be gone already, or another by now: who calls this looks again."""
    try:
        delete()
    except (Conflict, NotFound):
        calls.step_aside()
    except ClientError as error:
        calls.patience(error)
    else:
        return True
    return False
