"""Bringing one change of a row to its end: by its writer, or by whoever finds it half done."""

from __future__ import annotations

from membership.orleans.calls import Calls
from membership.orleans.errors import OutcomeUnknown
from membership.orleans.journal import (
    Change,
    Pending,
    Row,
    RowState,
    VersionRow,
    state_of,
    written,
)
from runtime.client import AlreadyExists, ApiError, ClientError, Conflict, Invalid, NotFound

GRACE = 0.3
"""Seconds that others leave the writer of a pending change, from when they see it, before they finish it.

A writer that looks again within this time knows that nobody has begun to write its row in its place. Hence no option:
all who share a table have to keep to it."""

_LOOK_EVERY = 0.02


def commit(calls: Calls, version: VersionRow, row: Row | None, pending: Pending) -> bool:
    """Make a change that is decided on ``version`` and ``row``, where ``row`` was read after ``version``.

    :returns: whether the change is in the table. False: it is not, and never will be.
    :raises OutcomeUnknown: that cannot be known.
    :raises ClientError: the API server did not let it. If the change was begun, others will finish it.
    """
    change = _Change(calls, pending, version.uid, mine=True)
    begun = change.begin(version)
    return begun if isinstance(begun, bool) else change.drive(begun, row)


def settle(calls: Calls, version: VersionRow) -> VersionRow | None:
    """The version object without a pending change: ended by its writer, or after :data:`GRACE` by us.

    :returns: with a pending change after all if others began one after the other all the time; None if it is gone.
    :raises ClientError: we may not finish it, or the server fails.
    """
    first = version.pending
    if first is None:
        return version
    waited_until = calls.clock.monotonic() + GRACE
    seen: VersionRow | None = version
    while calls.clock.monotonic() < waited_until:
        calls.clock.sleep(_LOOK_EVERY)
        seen = calls.version()
        if seen is None or seen.pending is None:
            return seen
    if seen is None or not seen.is_pending(first.id) or seen.uid != version.uid:
        return seen
    finish(calls, seen, first)
    return calls.version()


def finish(calls: Calls, version: VersionRow, pending: Pending) -> None:
    """End somebody else's change that is pending in ``version``, and has been for :data:`GRACE`."""
    change = _Change(calls, pending, version.uid, mine=False)
    row = calls.row(pending.row)
    change.drive(calls.version(), row)


def count(calls: Calls, change: Change, row: str) -> bool:
    """Give a version to a change whose row was written, and which was dropped from the version object, or given up,
    meanwhile.

    :param row: uid of the row.
    :returns: False if the table has been deleted.
    """
    while True:
        version = calls.version()
        if version is None or version.uid != change.table:
            return False
        outcome = version.outcome_of(change.id)
        if outcome is not None and not outcome.refused:
            return True
        if version.pending is not None:
            settle(calls, version)
            continue
        try:
            calls.put_version(version.counting(change, row))
            return True
        except (Conflict, NotFound):
            calls.step_aside()
        except ClientError as error:
            calls.patience(error)


class _Change:
    """One change, and what we know of it.

    :ivar _mine: we have begun it, and answer for what became of it.
    :ivar _put: the row as we have written it, if the server said so.
    :ivar _in_doubt: a write of the row has had no answer, and may yet take effect.
    :ivar _first: what we have written was written before anybody else could begin to.
    """

    def __init__(self, calls: Calls, pending: Pending, table: str, mine: bool) -> None:
        self._calls = calls
        self._pending = pending
        self._table = table
        self._mine = mine
        self._put: Row | None = None
        self._in_doubt = False
        self._first = False
        self._began = calls.clock.monotonic()

    # ---- beginning

    def begin(self, version: VersionRow) -> VersionRow | bool:
        """Write the change into the version object.

        :returns: the version object with the change pending; or how it ended: False if it never began.
        """
        calls, doubtful = self._calls, False
        while True:
            try:
                return calls.put_version(version.proposing(self._pending))
            except (Conflict, NotFound):
                if not doubtful:
                    return False
            except ClientError as error:
                if _refused(error) and not doubtful:
                    raise
                doubtful = True
                calls.patience(error)
            now = calls.version()
            if now is None or now.uid != self._table:
                return False
            if now.is_pending(self._pending.id):
                return now
            if now.etag != version.etag:
                return self._done_by_others(now)

    # ---- the rest

    def drive(self, version: VersionRow | None, row: Row | None) -> bool:
        """Bring the change to its end.

        :param row: read before ``version`` was, or before our change was begun in it: if the change was still pending
            then, nobody had done with it, and the row's etag makes sure that nobody has since.
        """
        calls, pending = self._calls, self._pending
        while True:
            if version is None or version.uid != self._table:
                return self._table_is_gone()
            if not version.is_pending(pending.id):
                return self._done_by_others(version)
            try:
                match state_of(row, pending):
                    case RowState.READY:
                        row = self._put = self._write_row(row)
                        if row is None:
                            return False
                        continue
                    case RowState.WRITTEN:
                        assert row is not None
                        calls.put_version(version.deciding(pending, row.uid))
                        return True
                    case RowState.FOREIGN:
                        calls.put_version(version.deciding(pending, None))
                        return False
            except (Conflict, AlreadyExists, NotFound):
                calls.step_aside()
            except ClientError as error:
                calls.patience(error)
            row = calls.row(pending.row)
            version = calls.version()

    def _write_row(self, row: Row | None) -> Row | None:
        """:returns: None if it can never be written so, and the change was given up, which was another's."""
        body = written(row, self._pending, self._table)
        try:
            done = self._calls.create_row(body) if row is None else self._calls.put_row(body)
            self._first = self._alone()
            return done
        except ClientError as error:
            self._in_doubt |= error.ambiguous
            hopeless = isinstance(error, Invalid) or (self._mine and _refused(error))
            if self._in_doubt or not hopeless:
                raise
            self._give_up()
            if self._mine:
                raise
            return None

    def _give_up(self) -> None:
        """The row can never be written so: without this the table could not be changed any more."""
        calls, pending = self._calls, self._pending
        while True:
            row = calls.row(pending.row)
            now = calls.version()
            if now is None or not now.is_pending(pending.id) or state_of(row, pending) is RowState.WRITTEN:
                return  # another was let: then the change takes place
            try:
                calls.put_version(now.deciding(pending, None, refused=self._mine))
                return
            except (Conflict, NotFound):
                calls.step_aside()
            except ClientError as error:
                calls.patience(error)

    def _done_by_others(self, version: VersionRow) -> bool:
        outcome = version.outcome_of(self._pending.id)
        if outcome is None:
            return self._without_trace(version)
        if outcome.refused and self._put is not None:
            return count(self._calls, self._named, self._put.uid)
        if self._pending.before is None and self._put is not None and outcome.row != self._put.uid:
            # Others had done with it, and the row was deleted, before we wrote it.
            self._delete(self._put.uid)
        return outcome.applied

    def _without_trace(self, version: VersionRow) -> bool:
        """The change is not pending, and nobody says what became of it: the row tells, or nobody does."""
        row = self._calls.row(self._pending.row)
        mine = row is not None and state_of(row, self._pending) is RowState.WRITTEN
        uid = row.uid if row is not None and mine else self._put.uid if self._put is not None else None
        unbroken = version.outcomes is not None and version.outcomes.unbroken(self._pending.version)
        if uid is not None:
            if not unbroken:
                return count(self._calls, self._named, uid) or self._table_is_gone()
            # Whoever keeps a journal removes a change only when he counts it: then only its outcome is forgotten.
            # Its writer may have been told that the change is made, and go on from it: he alone takes it back.
            if not self._mine or not self._may_be_late():
                return True
            self._delete(uid)
        known = version.outcomes is not None and version.outcomes.complete(self._pending.version)
        if known or not self._mine:
            return False
        if self._alone() and not unbroken:
            return False
        raise OutcomeUnknown(
            f"{self._calls.place}: change of row {self._pending.row} to version {self._pending.version}: "
            "others wrote the version object meanwhile, and nothing tells any more whether it took place"
        )

    def _may_be_late(self) -> bool:
        """Whether the row that is there was inserted by us, perhaps after others had inserted and deleted it."""
        ours = self._put is not None or self._in_doubt
        return self._pending.before is None and ours and not self._first

    def _alone(self) -> bool:
        """Whether nobody else can have begun to write the row of our change, nor can we without knowing."""
        return self._mine and not self._in_doubt and self._calls.clock.monotonic() - self._began < GRACE

    def _table_is_gone(self) -> bool:
        """Whoever deleted the table has deleted its rows, but perhaps before ours was inserted."""
        if self._pending.before is None:
            row = self._calls.row(self._pending.row)
            if row is not None and row.change == self._named:
                self._delete(row.uid)
        return False

    def _delete(self, uid: str) -> None:
        """Delete a row that we have inserted, and that must not be there, unless another change took it over."""
        calls = self._calls
        while True:
            row = calls.row(self._pending.row)
            if row is None or row.uid != uid or row.change != self._named:
                return
            try:
                calls.delete_row(row)
                return
            except (Conflict, NotFound):
                calls.step_aside()
            except ClientError as error:
                calls.patience(error)

    @property
    def _named(self) -> Change:
        return Change(self._pending.id, self._pending.version, self._table)


def _refused(error: ClientError) -> bool:
    """The server has answered that it will not, and the call took no effect."""
    return (
        isinstance(error, ApiError)
        and not error.retryable
        and not isinstance(error, Conflict | AlreadyExists | NotFound)
    )
