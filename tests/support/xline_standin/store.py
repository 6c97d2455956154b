"""What the members of one cluster agree on: a database that all of their processes use."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

# Seconds since it was last seen. Xline elects anew after 3 at most; of this one, which is told of every process that
# has ended, only those are late that a busy machine does not let run.
_ALIVE = 10.0
_WAIT = 30.0  # seconds for the database's lock
_BEHIND = 500  # log entries a learner may lack to be promoted
_CATCH_UP = 400  # log entries a member applies between two ticks
_TABLES = """
create table if not exists meta (name text primary key, value integer not null);
create table if not exists members (
    id text primary key, name text not null, peers text not null, clients text not null, learner integer not null,
    applied integer not null, seen real not null, pid integer not null);
create table if not exists removed (id text primary key);
create table if not exists kv (
    key blob primary key, value blob not null, created integer not null, modified integer not null,
    version integer not null);
"""


class Refusal(Exception):
    """A call that fails, with the name of its gRPC code."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True, slots=True)
class Member:
    id: int
    name: str
    peers: tuple[str, ...]
    clients: tuple[str, ...]
    learner: bool
    applied: int
    alive: bool


@dataclass(frozen=True, slots=True)
class Entry:
    key: bytes
    value: bytes
    created: int
    modified: int
    version: int


def hashed(*parts: str) -> int:
    return int.from_bytes(hashlib.blake2b("\0".join(parts).encode(), digest_size=8).digest(), "big")


def member_id(peers: Sequence[str]) -> int:
    """Of a member that a cluster is bootstrapped with."""
    return hashed(*sorted(peers))


class Store:
    """Each method is one transaction; from any thread and process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._transaction() as database:
            for statement in _TABLES.split(";"):
                database.execute(statement)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        database = sqlite3.connect(self.path, timeout=_WAIT, isolation_level=None)
        try:
            database.execute("begin immediate")
            try:
                yield database
            except BaseException:
                database.execute("rollback")
                raise
            database.execute("commit")
        finally:
            database.close()

    # -- life

    def bootstrap(self, members: Sequence[tuple[str, tuple[str, ...]]]) -> None:
        """If nobody has yet."""
        with self._transaction() as database:
            if _meta(database, "cluster") == 0:
                ids = {name: member_id(peers) for name, peers in members}
                for name, peers in members:
                    _insert(database, ids[name], name, peers, learner=False)
                _set(database, cluster=_signed(hashed(*map(hex, sorted(ids.values())))), index=1, revision=1)

    @property
    def established(self) -> bool:
        """Whether it has ever had a leader."""
        with self._transaction() as database:
            return _meta(database, "term") > 0

    def tick(self, own: int) -> bool:
        """A sign of life; elects this member if nobody leads and a majority lives. False: it was removed."""
        with self._transaction() as database:
            if database.execute("select 1 from removed where id = ?", (hex(own),)).fetchone():
                return False
            database.execute(
                "update members set seen = ?, pid = ? where id = ?", (time.monotonic(), os.getpid(), hex(own))
            )
            if not _majority(database):
                return True
            me = next((member for member in _members(database) if member.id == own), None)
            if _leader(database) == 0 and me is not None and not me.learner:
                _lead(database, own)
            index = _meta(database, "index")
            database.execute(
                "update members set applied = min(?, applied + ?) where id = ?", (index, _CATCH_UP, hex(own))
            )
            return True

    def leave(self, own: int) -> None:
        """It ends now; hands leadership over."""
        with self._transaction() as database:
            database.execute("update members set seen = 0 where id = ?", (hex(own),))
            _hand_over(database, own)

    # -- looking

    def look(self) -> tuple[int, int, int, int, int]:
        """Cluster, leader (0: none), term, index, revision."""
        with self._transaction() as database:
            leader = _leader(database) if _majority(database) else 0
            numbers = [_meta(database, name) for name in ("cluster", "term", "index", "revision")]
            return _unsigned(numbers[0]), leader, numbers[1], numbers[2], numbers[3]

    def members(self, *, linearizable: bool = False) -> list[Member]:
        with self._transaction() as database:
            if linearizable:
                _need_majority(database)
            return _members(database)

    def panics(self, own: int) -> bool:
        """Whether a call has driven this member into a bug of Xline's. Told once."""
        with self._transaction() as database:
            if _unsigned(_meta(database, "panic")) != own:
                return False
            _set(database, panic=0)
            return True

    # -- membership: neither guarded nor serialised, duplicates welcome

    def add(self, peers: Sequence[str], *, learner: bool) -> int:
        with self._transaction() as database:
            _need_majority(database)
            new = hashed(*sorted(peers), str(time.time_ns()))
            _insert(database, new, "", peers, learner=learner)
            _grow(database, "index")
            return new

    def remove(self, member: int) -> None:
        with self._transaction() as database:
            _need_majority(database)
            _known(database, member)
            _hand_over(database, member)
            database.execute("delete from members where id = ?", (hex(member),))
            database.execute("insert into removed values (?)", (hex(member),))
            _grow(database, "index")

    def promote(self, member: int) -> None:
        with self._transaction() as database:
            _need_majority(database)
            found = _known(database, member)
            if member == _leader(database):
                _set(database, panic=_signed(member))
                return
            if found.learner and (not found.alive or _meta(database, "index") - found.applied > _BEHIND):
                raise Refusal("FAILED_PRECONDITION", "Learner not caught up error")
            database.execute("update members set learner = 0 where id = ?", (hex(member),))
            _grow(database, "index")

    def publish(self, member: int, name: str, clients: Sequence[str]) -> None:
        with self._transaction() as database:
            _need_majority(database)
            database.execute(
                "update members set name = ?, clients = ? where id = ?", (name, json.dumps(list(clients)), hex(member))
            )
            _grow(database, "index")

    def move_leader(self, target: int) -> None:
        with self._transaction() as database:
            _need_majority(database)
            found = [member for member in _members(database) if member.id == target]
            if not found or found[0].learner or not found[0].alive:
                raise Refusal("FAILED_PRECONDITION", "Leader transfer error")
            if _leader(database) != target:
                _lead(database, target)

    # -- keys

    def put(self, entries: Sequence[tuple[bytes, bytes]]) -> int:
        """All at one revision, which is returned."""
        with self._transaction() as database:
            _need_majority(database)
            _grow(database, "index")
            revision = _grow(database, "revision")
            for key, value in entries:
                database.execute(
                    "insert into kv values (?, ?, ?, ?, 1) on conflict (key) do update set value = excluded.value, "
                    "modified = excluded.modified, version = version + 1",
                    (key, value, revision, revision),
                )
            return revision

    def range(self, key: bytes, end: bytes, *, local: bool = False) -> list[Entry]:
        """:param local: without asking the leader."""
        with self._transaction() as database:
            if not local:
                _need_majority(database)
            if not end:
                rows = database.execute("select * from kv where key = ?", (key,))
            elif end == b"\0":
                rows = database.execute("select * from kv where key >= ? order by key", (key,))
            else:
                rows = database.execute("select * from kv where key >= ? and key < ? order by key", (key, end))
            return [Entry(*row) for row in rows]


# -- inside a transaction


def _need_majority(database: sqlite3.Connection) -> None:
    if not _majority(database) or _leader(database) == 0:
        raise Refusal("DEADLINE_EXCEEDED", "request timeout, last error: RpcTransport")


def _majority(database: sqlite3.Connection) -> bool:
    voters = [member for member in _members(database) if not member.learner]
    return 2 * sum(voter.alive for voter in voters) > len(voters)


def _leader(database: sqlite3.Connection) -> int:
    """0: nobody, or one that lives no more."""
    leader = _unsigned(_meta(database, "leader"))
    return leader if any(m.id == leader and m.alive and not m.learner for m in _members(database)) else 0


def _lead(database: sqlite3.Connection, member: int) -> None:
    _grow(database, "term")
    _grow(database, "index")
    _set(database, leader=_signed(member))


def _hand_over(database: sqlite3.Connection, member: int) -> None:
    if _unsigned(_meta(database, "leader")) == member:
        heirs = [m for m in _members(database) if m.id != member and m.alive and not m.learner]
        if heirs:
            _lead(database, max(heirs, key=lambda heir: heir.applied).id)


def _known(database: sqlite3.Connection, member: int) -> Member:
    for found in _members(database):
        if found.id == member:
            return found
    raise Refusal("NOT_FOUND", "Node not found error")


def _members(database: sqlite3.Connection) -> list[Member]:
    now = time.monotonic()
    return [
        Member(
            id=int(number, 16),
            name=name,
            peers=tuple(json.loads(peers)),
            clients=tuple(json.loads(clients)),
            learner=bool(learner),
            applied=applied,
            alive=now - seen < _ALIVE and _runs(pid),
        )
        for number, name, peers, clients, learner, applied, seen, pid in database.execute("select * from members")
    ]


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


def _insert(database: sqlite3.Connection, member: int, name: str, peers: Sequence[str], *, learner: bool) -> None:
    try:
        database.execute(
            "insert into members values (?, ?, ?, '[]', ?, 0, 0, 0)",
            (hex(member), name, json.dumps(list(peers)), learner),
        )
    except sqlite3.IntegrityError:
        raise Refusal("ALREADY_EXISTS", "Node already exists error") from None


def _meta(database: sqlite3.Connection, name: str) -> int:
    row = database.execute("select value from meta where name = ?", (name,)).fetchone()
    return int(row[0]) if row else 0


def _set(database: sqlite3.Connection, **values: int) -> None:
    for name, value in values.items():
        database.execute(
            "insert into meta values (?, ?) on conflict (name) do update set value = excluded.value", (name, value)
        )


def _grow(database: sqlite3.Connection, name: str) -> int:
    value = _meta(database, name) + 1
    _set(database, **{name: value})
    return value


def _signed(number: int) -> int:
    """SQLite's integers have a sign."""
    return number - (1 << 64) if number >> 63 else number


def _unsigned(number: int) -> int:
    return number % (1 << 64)
