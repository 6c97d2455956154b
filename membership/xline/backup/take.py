"""One backup, from asking who the members are to throwing the oldest one away."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import msgspec

from crds.meta import Record
from crds.xlinebackup import BackupRecord
from crds.xlinecluster import Engine
from membership.xline.backup import shelf
from membership.xline.backup.manifest import CONTENT_SUFFIX, FORMAT, MANIFEST_SUFFIX, Manifest, folder, new_name
from membership.xline.backup.shelf import BackupUnusable, Shelved
from membership.xline.backup.snapshot import Received, SnapshotBroken
from membership.xline.backup.source import Connect, NoSource, Source, choose
from membership.xline.backup.stores import Store, StoreError
from membership.xline.errors import EngineError
from runtime.logging import get_logger

_IDLE: Final = 60.0  # seconds between two pieces of a snapshot
_PATIENCE: Final = 60.0  # seconds without a leader, or without an answer
_LOCK: Final = 3600.0  # seconds another backup of the cluster may take
_PAUSE: Final = 1.0

_log = get_logger("membership.xline.backup")


class BackupFailed(Exception):
    """No backup was taken.

    :ivar reason: why, as one CamelCase word.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Outcome(Record, frozen=True, kw_only=True):
    """How a backup, or a restore, went: the termination message of its container.

    :ivar reason: why it failed, as one CamelCase word; empty if it did not.
    :ivar backup: the backup that was taken or restored.
    :ivar warnings: what did not work but does no harm to the backup.
    """

    reason: str = ""
    message: str = ""
    time: str = ""
    backup: BackupRecord | None = None
    warnings: tuple[str, ...] = ()

    def encode(self) -> bytes:
        return msgspec.json.encode(self)


@dataclass(frozen=True, slots=True)
class Order:
    """What to back up, and how much to keep.

    :ivar endpoints: client URLs of the cluster to begin with.
    """

    engine: Engine
    namespace: str
    cluster: str
    cluster_uid: str
    endpoints: Sequence[str]
    keep: int
    keep_days: int | None = None

    @property
    def folder(self) -> str:
        return folder(self.namespace, self.cluster, self.cluster_uid)


def take(
    order: Order,
    store: Store,
    connect: Connect,
    *,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    patience: float = _PATIENCE,
) -> Outcome:
    """Take a backup, read it back, then throw away what is not to be kept.

    :param patience: seconds to wait for a member that can be backed up.
    :raises BackupFailed: there is no new backup. Whatever was written of it is no backup, and is removed now or by the
        next one.
    """
    try:
        with store.exclusive(order.folder, _LOCK):
            warnings = _tidied(lambda: shelf.sweep(store, order.folder, now()), "removing what was left over")
            source = _source(order, connect, patience)
            shelved = _write(order, source, store, connect, now)
            warnings += _tidied(lambda: _prune(order, store, now(), shelved.manifest.name), "removing old backups")
    except NoSource as error:
        raise BackupFailed("NoMember", str(error)) from error
    except (EngineError, SnapshotBroken) as error:
        raise BackupFailed("SnapshotFailed", str(error)) from error
    except BackupUnusable as error:
        raise BackupFailed("VerificationFailed", str(error)) from error
    except StoreError as error:
        raise BackupFailed(f"Store{error.trouble}", str(error)) from error
    record = shelved.manifest.record()
    text = f"{record.size} bytes of {record.member} at revision {record.revision} are in {store}"
    return Outcome(message=text, time=shelved.manifest.time, backup=record, warnings=warnings)


def _source(order: Order, connect: Connect, patience: float) -> Source:
    """Elections pass."""
    deadline = time.monotonic() + patience
    while True:
        try:
            return choose(order.endpoints, connect)
        except NoSource as error:
            if time.monotonic() >= deadline:
                raise
            _log.info("waiting for a member to back up", reason=str(error))
        time.sleep(_PAUSE)


def _write(order: Order, source: Source, store: Store, connect: Connect, now: Callable[[], datetime]) -> Shelved:
    began = now()
    name = new_name(began, source.revision)
    key = order.folder + name
    _log.info("taking a snapshot", member=source.member.name, revision=source.revision, backup=name)
    with connect(source.url) as client, closing(client.snapshot(idle_timeout=_IDLE)) as chunks:
        received = Received(order.engine, chunks)
        store.write(key + CONTENT_SUFFIX, received)
    manifest = Manifest(
        format=FORMAT,
        name=name,
        namespace=order.namespace,
        cluster=order.cluster,
        cluster_uid=order.cluster_uid,
        cluster_id=source.cluster_id,
        engine=order.engine,
        version=source.status.version,
        member=source.member.name,
        time=began.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),  # two in one second have an order, too
        revision=source.revision,
        size=received.size,
        sha256=received.sha256,
    )
    shelved = Shelved(key + MANIFEST_SUFFIX, manifest)
    try:
        shelf.verify(store, shelved)
    except BackupUnusable:
        _tidied(lambda: store.delete(shelved.content), "removing a damaged backup")
        raise
    store.write(shelved.key, [manifest.encode()])
    return shelved


def _prune(order: Order, store: Store, now: datetime, taken: str) -> None:
    backups = shelf.look(store, order.folder).backups
    for each in shelf.surplus(backups, order.keep, order.keep_days, now, taken):
        _log.info("throwing a backup away", backup=each.manifest.name)
        shelf.discard(store, each)


def _tidied(tidy: Callable[[], object], what: str) -> tuple[str, ...]:
    """Run it; a store that fails here has the next backup to fail, or this one's writing."""
    try:
        tidy()
    except StoreError as error:
        _log.warning("left for the next backup", what=what, error=str(error))
        return (f"{what}: {error}",)
    return ()
