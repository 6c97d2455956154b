"""The server's data directory: whether it holds data, who uses it, and how it is set aside.

Everything of the agent lies beside it, on the same volume::

    VOLUME/data/                          the server's
    VOLUME/agent/lock                     held by the agent that looks after this volume
    VOLUME/agent/marks.json               what the agent remembers of the data
    VOLUME/agent/*.json                   copies of what it read elsewhere
    VOLUME/removed-8e9e05c52164694d-...   data of a member that was removed from its cluster

A volume may be handed to another node while the old Pod still runs there, and files of a former life may lie on it;
so nothing here is believed without a look at the disk.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from datetime import UTC
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from membership.xline.files import DiskError, remove, sync_folder, write_atomically
from runtime.clock import SYSTEM, Clock
from runtime.logging import get_logger

if TYPE_CHECKING:
    from membership.xline.engines import EngineProfile

_log = get_logger(__name__)

_ASIDE = re.compile(r"removed-[0-9a-f]+-\d{8}T\d{6}Z(-\d+)?$")
_MARKS = "marks.json"
_PROBE_SIZE = 4096  # bytes: a full disk may still take fewer


class DataDirInUse(Exception):
    """Another agent looks after this volume."""


class Marks(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the agent remembers of the data beside it. Ids are the engine's; 0 and ``""`` mean none.

    :ivar member_id: who the server was when it last ran on this data.
    :ivar cluster_id: of which cluster.
    :ivar removed_id: a member of this data that was removed from its cluster: it must not start again.
    :ivar recovery_id: of the last recovery from a lost majority that was begun on this data.
    :ivar entering: its member is about to be added from here, or its server was allowed to begin here, and has not
        answered since. So what is listed of it is of no other volume, which this one was put in the place of; and what
        data there is, is of what was listed.
    :ivar ran: the cluster has had a leader, whatever has become of the data since: nobody may make it anew from here.
    :ivar home: namespace and name of the Pods whose server runs on this data, or is to begin here.
    """

    member_id: int = 0
    cluster_id: int = 0
    removed_id: int = 0
    recovery_id: str = ""
    entering: bool = False
    ran: bool = False
    home: str = ""


class DataDir:
    """One member's data. Safe for use from several threads.

    :param path: of the data directory; a folder below the mount point of the volume.
    :param profile: of the server whose data it is.
    :param clock: names what is set aside.
    :param consensus: the folder below ``path`` by which it is told that there is data; None: the profile's.
    """

    def __init__(
        self,
        path: Path,
        profile: EngineProfile,
        clock: Clock | None = None,
        *,
        consensus: Path | None = None,
    ) -> None:
        self.path = path
        default = path / profile.identity
        self._identity = default if consensus is None else consensus / default.name
        self.volume = path.parent
        self.own = self.volume / "agent"
        self._profile = profile
        self._clock = clock or SYSTEM
        self._lock = threading.Lock()  # guards _marks, and the file of it
        self._marks: Marks | None = None

    # ---- who uses it

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Look after this volume, as the only agent. The lock ends with the process, however that ends.

        :raises DataDirInUse: another one does.
        :raises DiskError: the volume cannot be written to.
        """
        path = self.own / "lock"
        try:
            self.own.mkdir(exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise DiskError(path, error) from error
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise DataDirInUse(f"{self.volume} is in use by another agent, which has locked {path}") from None
            self._sweep()
            yield
        finally:
            os.close(descriptor)

    def _sweep(self) -> None:
        """Remove what agents that were killed have half written."""
        for path in self.own.glob(".*"):
            with contextlib.suppress(OSError):
                path.unlink()

    @property
    def in_use(self) -> bool:
        """Whether a server has this data open: it holds locks there while it lives, whosever child it is."""
        return any(map(_is_locked, self._server_locks()))

    def _server_locks(self) -> list[Path]:
        databases = self.path.glob("member/snap/db") if self._profile.key == "etcd" else self.path.glob("**/LOCK")
        return list(databases)

    # ---- what is in it

    @property
    def has_data(self) -> bool:
        """Whether the server would go on with an identity that it finds here.

        :raises DiskError: nobody can tell, because the volume cannot be read.
        """
        try:
            with os.scandir(self._identity.parent) as entries:
                return any(fnmatchcase(entry.name, self._identity.name) for entry in entries)
        except FileNotFoundError as error:
            if self.volume.is_dir():
                return False
            raise DiskError(self.volume, error) from error
        except OSError as error:
            raise DiskError(self._identity.parent, error) from error

    def check(self) -> None:
        """Write a little, as the server would have to.

        :raises DiskError: it is not possible.
        """
        self.write_copy("probe", b"\0" * _PROBE_SIZE)
        remove(self.own / "probe")

    # ---- what is remembered of it

    @property
    def marks(self) -> Marks:
        """What was remembered last; nothing of what cannot be read.

        :raises DiskError: the volume cannot be read.
        """
        with self._lock:
            return self._read_marks()

    def mark(
        self,
        *,
        member_id: int | None = None,
        cluster_id: int | None = None,
        removed_id: int | None = None,
        recovery_id: str | None = None,
        entering: bool | None = None,
        ran: bool | None = None,
        home: str | None = None,
    ) -> Marks:
        """Remember what is given, on the disk when this returns, and keep the rest.

        :raises DiskError: it was not written.
        """
        with self._lock:
            old = self._read_marks()
            new = Marks(
                member_id=old.member_id if member_id is None else member_id,
                cluster_id=old.cluster_id if cluster_id is None else cluster_id,
                removed_id=old.removed_id if removed_id is None else removed_id,
                recovery_id=old.recovery_id if recovery_id is None else recovery_id,
                entering=old.entering if entering is None else entering,
                ran=old.ran if ran is None else ran,
                home=old.home if home is None else home,
            )
            if new != old:
                self.write_copy(_MARKS, msgspec.json.encode(new))
                self._marks = new
            return new

    def _read_marks(self) -> Marks:
        if self._marks is None:
            content = self.read_copy(_MARKS)
            try:
                self._marks = Marks() if content is None else _marks_of(content)
            except msgspec.DecodeError as error:
                # Written atomically, so it was a person or the disk. Nothing is done on the word of marks alone.
                _log.warning("marks are unreadable and forgotten", file=str(self.own / _MARKS), error=str(error))
                self._marks = Marks()
        return self._marks

    def read_copy(self, name: str) -> bytes | None:
        """A file that was written by :meth:`write_copy`; None: there is none.

        :raises DiskError: it cannot be read.
        """
        path = self.own / name
        try:
            return path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise DiskError(path, error) from error

    def write_copy(self, name: str, content: bytes) -> None:
        """Keep a small file beside the data.

        :raises DiskError: it was not written.
        """
        try:
            self.own.mkdir(exist_ok=True)  # but not the volume itself
        except OSError as error:
            raise DiskError(self.own, error) from error
        write_atomically(self.own / name, content)

    # ---- away with it

    def move_aside(self, member_id: int) -> Path | None:
        """Set the data aside; the server must not run. Whoever is killed meanwhile calls it again.

        What was remembered of the data is forgotten before it is moved: data without marks is judged anew, but marks
        without data would condemn the next data.

        :param member_id: of the removed member, which names the folder.
        :returns: where it is now; None: there was nothing.
        :raises DataDirInUse: a server has it open.
        :raises DiskError: it cannot be moved.
        """
        if self.in_use:
            raise DataDirInUse(f"{self.path} is in use by a server")
        self.mark(member_id=0, cluster_id=0, removed_id=0, recovery_id="")
        return self._rename(member_id)

    def set_remnants_aside(self) -> Path | None:
        """Set aside what is left of data whose log is gone; the server must not run.

        A server would begin a log of its own and go on with the old database, which leaves out what it believes to have
        already: it would differ from the others for ever, and nobody would notice (etcd 3.5 does).

        :returns: where it is now; None: there was nothing.
        :raises DataDirInUse: a server has it open.
        :raises DiskError: it cannot be moved, or read.
        """
        if self.has_data or not any(found.is_file() for found in self.path.rglob("*")):
            return None
        if self.in_use:
            raise DataDirInUse(f"{self.path} is in use by a server")
        return self._rename(0)

    def _rename(self, member_id: int) -> Path | None:
        base = f"removed-{member_id:x}-{self._clock.now().astimezone(UTC):%Y%m%dT%H%M%SZ}"
        try:
            if not self.path.exists():
                self.volume.stat()
                return None
            for name in (base, *(f"{base}-{number}" for number in range(1, 1000))):
                if not (self.volume / name).exists():
                    break
            aside = self.volume / name
            os.rename(self.path, aside)
            sync_folder(self.volume)
        except OSError as error:
            raise DiskError(self.path, error) from error
        _log.info("data was set aside", data=str(self.path), aside=str(aside))
        return aside

    def aside(self) -> list[Path]:
        """What was set aside, oldest first.

        :raises DiskError: the volume cannot be read.
        """
        try:
            found = [path for path in self.volume.iterdir() if _ASIDE.fullmatch(path.name)]
            return sorted(found, key=lambda path: path.stat().st_mtime)
        except OSError as error:
            raise DiskError(self.volume, error) from error

    def purge(self, keep: int) -> list[Path]:
        """Delete what was set aside, but the newest ``keep``; returns what is gone.

        :raises DiskError: it cannot be deleted.
        """
        found = self.aside()
        gone = []
        for path in found[: max(0, len(found) - keep)]:
            try:
                shutil.rmtree(path)
            except OSError as error:
                raise DiskError(path, error) from error
            gone.append(path)
        return gone


_marks_of: Callable[[bytes], Marks] = msgspec.json.Decoder(Marks).decode


def _is_locked(path: Path) -> bool:
    """Whether another process holds a lock on the file, of either kind that Linux has.

    The file is locked by us for a moment, if nobody else does. A server that starts at that moment waits for it.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        for lock in (fcntl.flock, fcntl.lockf):
            try:
                lock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno in (errno.EAGAIN, errno.EACCES):
                    return True
            else:
                lock(descriptor, fcntl.LOCK_UN)
        return False
    finally:
        os.close(descriptor)
