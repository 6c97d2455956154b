"""The backups in a store: listed, read back, thrown away when there are enough newer ones."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from crds.xlinebackup import LATEST
from membership.xline.backup.manifest import (
    CONTENT_SUFFIX,
    MANIFEST_SUFFIX,
    Manifest,
    ManifestError,
    decode,
    is_name,
)
from membership.xline.backup.stores import Store, StoreError


class BackupUnusable(Exception):
    """A backup that is not there, or is not what its manifest says. Names it."""


@dataclass(frozen=True, slots=True)
class Shelved:
    """A backup in a store.

    :ivar key: of the manifest.
    """

    key: str
    manifest: Manifest

    @property
    def content(self) -> str:
        """Key of the snapshot."""
        return self.key.removesuffix(MANIFEST_SUFFIX) + CONTENT_SUFFIX


@dataclass(frozen=True, slots=True)
class Shelf:
    """What a store has below a folder.

    :ivar backups: the newest first.
    :ivar unreadable: keys of manifests that cannot be used, with the reason. Nobody throws these away.
    """

    backups: tuple[Shelved, ...]
    unreadable: dict[str, str]


def look(store: Store, prefix: str) -> Shelf:
    """All backups below ``prefix``.

    :raises StoreError: the store cannot be read.
    """
    found, unreadable = [], {}
    for stored in store.list(prefix):
        if not stored.key.endswith(MANIFEST_SUFFIX):
            continue
        try:
            manifest = decode(b"".join(store.read(stored.key)))
            if stored.key.rpartition("/")[2] != manifest.name + MANIFEST_SUFFIX:
                raise ManifestError(f"it is the manifest of {manifest.name}")
        except ManifestError as error:
            unreadable[stored.key] = str(error)
        except StoreError as error:
            if error.trouble != "Missing":  # thrown away meanwhile
                raise
        else:
            found.append(Shelved(stored.key, manifest))
    found.sort(key=lambda each: (each.manifest.taken, each.manifest.revision, each.manifest.name), reverse=True)
    return Shelf(tuple(found), unreadable)


def pick(store: Store, prefix: str, name: str) -> Shelved:
    """The backup of that name, or the newest for ``latest``.

    :raises BackupUnusable: there is none, or the newest cannot be read: who wants the latest must not get an older one.
    :raises StoreError: the store cannot be read.
    """
    shelf = look(store, prefix)
    for each in shelf.backups:
        if name == LATEST:
            _refuse_unreadable_later(store, shelf, each.manifest.name)
        if name in (LATEST, each.manifest.name):
            return each
    for key, problem in shelf.unreadable.items():
        if key.endswith(f"/{name}{MANIFEST_SUFFIX}"):
            raise BackupUnusable(f"backup {name} in {store}, {key}: {problem}")
    names = ", ".join(each.manifest.name for each in shelf.backups[:5]) or "none"
    raise BackupUnusable(f"there is no backup {name} in {store} below {prefix}; those there: {names}")


def _refuse_unreadable_later(store: Store, shelf: Shelf, newest: str) -> None:
    """Names begin with their time."""
    for key, problem in shelf.unreadable.items():
        name = key.rpartition("/")[2].removesuffix(MANIFEST_SUFFIX)
        if is_name(name) and name > newest:
            raise BackupUnusable(
                f"backup {name} in {store} is later than {newest}, the latest that can be read: {problem}"
            )


def read(store: Store, shelved: Shelved) -> Iterator[bytes]:
    """The snapshot, piece by piece.

    :raises BackupUnusable: after the last piece, if it is not what the manifest says.
    :raises StoreError: the store cannot be read; ``Missing`` comes as BackupUnusable, too.
    """
    manifest, digest, size = shelved.manifest, hashlib.sha256(), 0
    try:
        for piece in store.read(shelved.content):
            digest.update(piece)
            size += len(piece)
            yield piece
    except StoreError as error:
        if error.trouble == "Missing":
            raise BackupUnusable(f"backup {manifest.name}: its content is gone ({error})") from error
        raise
    if size != manifest.size:
        raise BackupUnusable(f"backup {manifest.name}: {shelved.content} has {size} bytes, and had {manifest.size}")
    if digest.hexdigest() != manifest.sha256:
        raise BackupUnusable(f"backup {manifest.name}: {shelved.content} was changed or damaged: its SHA-256 is wrong")


def verify(store: Store, shelved: Shelved) -> None:
    """Read all of it back.

    :raises BackupUnusable, StoreError: as :func:`read`.
    """
    for _ in read(store, shelved):
        pass


def surplus(backups: tuple[Shelved, ...], keep: int, keep_days: int | None, now: datetime, taken: str) -> list[Shelved]:
    """Those to throw away, the oldest first: what is beyond ``keep``, or older than ``keep_days``; never the newest,
    nor the one that was just taken, which need not look newer than one of a clock that was fast.

    :param backups: the newest first, as :func:`look` has them.
    :param taken: name of the latter.
    """
    oldest = None if keep_days is None else now - timedelta(days=keep_days)
    gone = [
        each
        for index, each in enumerate(backups)
        if index
        and each.manifest.name != taken
        and (index >= keep or (oldest is not None and each.manifest.taken < oldest))
    ]
    return gone[::-1]


def discard(store: Store, shelved: Shelved) -> None:
    """Throw a backup away: its manifest first, so that it is none any more if we are stopped in between."""
    store.delete(shelved.key)
    store.delete(shelved.content)


def sweep(store: Store, prefix: str, now: datetime) -> list[str]:
    """Remove content without manifest that nobody writes any more. Returns its keys.

    :param prefix: the folder of one cluster's uid, which is held exclusively where the store can.
    """
    stored = {each.key: each for each in store.list(prefix)}
    removed = []
    for key, each in stored.items():
        whole = key.removesuffix(CONTENT_SUFFIX) + MANIFEST_SUFFIX in stored
        if not key.endswith(CONTENT_SUFFIX) or whole:
            continue
        if (now - each.modified).total_seconds() >= store.abandoned_after:
            store.delete(key)
            removed.append(key)
    return removed
