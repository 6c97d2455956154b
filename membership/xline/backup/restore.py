"""A member's data from a backup, before the member ever runs. In three steps, each in a container of its own, for the
middle one is the engine's own program: :func:`fetch`, ``etcdutl`` or ``xlineutl``, :func:`install`.

Everything happens in a folder beside the data directory, which is emptied first, until one rename puts it in place. So
it may be killed anywhere and begun anew.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from crds import decoding
from crds.meta import Record
from crds.xlinebackup import BackupRecord
from crds.xlinecluster import Engine
from membership.xline.backup import shelf
from membership.xline.backup.shelf import BackupUnusable
from membership.xline.backup.stores import Store, StoreError
from membership.xline.backup.take import Outcome
from membership.xline.files import DiskError, sync_folder, write_atomically

_FETCHED: Final = "fetched.json"


class RestoreFailed(Exception):
    """The data is not in place.

    :ivar reason: why, as one CamelCase word.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class _Marker(Record, frozen=True, kw_only=True):
    """Which restore has put data in place. Lies beside the data, as long as that is there.

    :ivar token: of the cluster it was done for.
    """

    token: str
    backup: BackupRecord


@dataclass(frozen=True, slots=True)
class Place:
    """Where a member's data goes.

    :ivar data_dir: of the server; a folder on the member's volume, below its mount point.
    """

    data_dir: Path

    @property
    def folder(self) -> Path:
        """Everything that is not in place yet."""
        return self.data_dir.parent / "restore"

    @property
    def snapshot(self) -> Path:
        """What the engine's program reads."""
        return self.folder / "snapshot.db"

    @property
    def restored(self) -> Path:
        """What the engine's program makes. It must not be there before."""
        return self.folder / "data"

    @property
    def marker(self) -> Path:
        return self.data_dir.parent / "restored.json"


def fetch(store: Store, prefix: str, name: str, engine: Engine, place: Place, token: str) -> Outcome:
    """Bring the snapshot of a backup to the volume.

    :param prefix: the folder of the store that the backup is below.
    :param name: its name, or ``latest``.
    :param token: of the cluster that it is for.
    :raises RestoreFailed: there is no such backup, it is damaged, of another engine, or cannot be brought here; or
        there is data in place that comes from elsewhere.
    """
    with _failures():
        _refuse_other_data(place, token)
        shutil.rmtree(place.folder, ignore_errors=True)
        place.folder.mkdir(parents=True)
        found = shelf.pick(store, prefix, name)
        if found.manifest.engine != engine:
            raise RestoreFailed(
                "OtherEngine", f"backup {found.manifest.name} is of {found.manifest.engine}, the cluster of {engine}"
            )
        with place.snapshot.open("wb") as file:
            for piece in shelf.read(store, found):
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        record = found.manifest.record()
        write_atomically(place.folder / _FETCHED, msgspec.json.encode(record))
    return Outcome(message=f"{record.name} of {record.time} is here", backup=record)


def install(place: Place, token: str) -> Outcome:
    """Put what the engine's program has made in place. Done again, it changes nothing.

    :raises RestoreFailed: there is nothing to put in place, or data that comes from elsewhere.
    """
    with _failures():
        done = _refuse_other_data(place, token)
        if done is not None:
            shutil.rmtree(place.folder, ignore_errors=True)
            return Outcome(message=f"{done.name} is in place already", backup=done)
        try:
            record = decoding.convert(msgspec.json.decode((place.folder / _FETCHED).read_bytes()), BackupRecord)
        except (FileNotFoundError, ValueError, msgspec.MsgspecError) as error:
            raise RestoreFailed("NotFetched", f"{place.folder}: no backup was fetched ({error})") from error
        if not _holds_something(place.restored):
            raise RestoreFailed("NothingRestored", f"{place.restored}: the engine's program has made nothing there")
        _sync_tree(place.restored)
        write_atomically(place.marker, msgspec.json.encode(_Marker(token=token, backup=record)))
        place.restored.rename(place.data_dir)
        sync_folder(place.data_dir.parent)
        shutil.rmtree(place.folder, ignore_errors=True)
    return Outcome(message=f"{record.name} of {record.time} is in place", backup=record)


def restored_for(place: Place, token: str) -> bool:
    """Whether the data in place is what a restore for the cluster of that token has put there."""
    try:
        return _holds_something(place.data_dir) and _mark(place, token) is not None
    except OSError:
        return False


def _mark(place: Place, token: str) -> _Marker | None:
    try:
        marker = decoding.convert(msgspec.json.decode(place.marker.read_bytes()), _Marker)
    except (FileNotFoundError, ValueError, msgspec.MsgspecError):
        return None
    return marker if marker.token == token else None


def _refuse_other_data(place: Place, token: str) -> BackupRecord | None:
    """What this very restore has put in place already; None if there is no data yet."""
    if not _holds_something(place.data_dir):
        return None
    marker = _mark(place, token)
    if marker is None:
        raise RestoreFailed(
            "FormerData", f"{place.data_dir} holds data of something else, which is not overwritten; delete its volume"
        )
    return marker.backup


def _holds_something(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())


def _sync_tree(root: Path) -> None:
    for folder, _, files in os.walk(root):
        for name in files:
            descriptor = os.open(Path(folder, name), os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        sync_folder(Path(folder))


@contextmanager
def _failures() -> Iterator[None]:
    try:
        yield
    except BackupUnusable as error:
        raise RestoreFailed("BackupUnusable", str(error)) from error
    except StoreError as error:
        raise RestoreFailed(f"Store{error.trouble}", str(error)) from error
    except DiskError as error:
        raise RestoreFailed("DiskFailed", str(error)) from error
    except OSError as error:
        raise RestoreFailed("DiskFailed", f"{error.filename or 'the volume'}: {error.strerror or error}") from error
