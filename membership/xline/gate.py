"""The server as a container of its own: it starts once the agent has written its start file.

The kubelet starts the server's container when the agent's startup probe (``/start``) succeeds, and restarts it by
itself whenever the server ends. The agent has no hold on it but the start file, without which it ends at once: it can
keep the server from starting again, but cannot stop one that runs. That is done by whoever deletes the Pod; and a
server that has been removed from its cluster ends by itself.
"""

from __future__ import annotations

import socket
import threading
from pathlib import Path
from typing import Final

from membership.xline import startfile
from membership.xline.datadir import DataDir
from membership.xline.engines import EngineProfile
from membership.xline.model import Start
from runtime.client import Unstructured
from runtime.clock import SYSTEM, Clock
from runtime.logging import get_logger

_log = get_logger(__name__)

WELL: Final = 60.0  # seconds a server has to run until its earlier exits are forgotten
_CONNECT: Final = 0.5  # seconds; it is on this machine
_LOOK: Final = 0.2  # seconds between looks while waiting for the server's end


class Gate:
    """A server in a container of the same Pod. Safe for use from several threads.

    :param container: its name, by which the Pod's status tells of its restarts.
    :param host: where its ports are.
    """

    def __init__(
        self,
        folder: Path,
        launching: startfile.Launching,
        data: DataDir,
        *,
        container: str,
        host: str,
        clock: Clock | None = None,
    ) -> None:
        self._folder = folder
        self._launching = launching
        self._data = data
        self._container = container
        self._host = host
        self._clock = clock or SYSTEM
        self._lock = threading.Lock()  # guards everything below
        self._allowed = self._file.exists()  # we may be restarted while the server goes on
        self._restarts: int | None = None
        self._well_at = 0  # restarts when it was last well
        self._since = self._clock.monotonic()  # when the number of restarts last changed

    @property
    def _file(self) -> Path:
        return self._folder / startfile.file_name(self._launching.profile)

    @property
    def allowed(self) -> bool:
        """Whether it may start."""
        with self._lock:
            return self._allowed

    def allow(self, start: Start) -> None:
        """See :meth:`Server.allow`.

        :raises CannotStart: the engine has no such start.
        :raises DiskError: the start file cannot be written.
        """
        with self._lock:
            changed = startfile.write(self._folder, self._launching, start)
            self._allowed = True
        if changed:
            _log.info("the server may start", kind=start.kind, members=[name for name, _ in start.members])

    def forbid(self) -> None:
        """See :meth:`Server.forbid`.

        :raises DiskError: the start file cannot be removed.
        """
        with self._lock:
            startfile.remove(self._folder, self._launching.profile)
            was, self._allowed = self._allowed, False
        if was:
            _log.info("the server may not start any more")

    def stop(self, timeout: float) -> bool:
        """Forbid, and wait for it to be gone: it is not ours to end."""
        self.forbid()
        deadline = self._clock.monotonic() + timeout
        while self.running:
            left = deadline - self._clock.monotonic()
            if left <= 0:
                return False
            self._clock.sleep(min(left, _LOOK))
        return True

    @property
    def running(self) -> bool:
        """Whether one of its ports answers, or its data is open."""
        return self._data.in_use or serves(self._host, self._launching.profile)

    @property
    def exits(self) -> int:
        """How often its container was restarted since it last ran for :data:`WELL` seconds, by the Pod's status."""
        running = self.running
        with self._lock:
            if self._restarts is None:
                return 0
            if running and self._clock.monotonic() - self._since >= WELL:
                self._well_at = self._restarts
            return self._restarts - self._well_at

    def observe(self, pod: Unstructured) -> None:
        """Take from the Pod's status how often the container was restarted."""
        statuses = (pod.get("status") or {}).get("containerStatuses") or ()
        for status in statuses:
            if status.get("name") == self._container:
                restarts = int(status.get("restartCount") or 0)
                with self._lock:
                    if self._restarts is None:
                        self._well_at = restarts  # of a time that nobody looked at
                    if restarts != self._restarts:
                        self._restarts, self._since = restarts, self._clock.monotonic()

    def close(self) -> None:
        """Nothing: the server goes on without us."""


def serves(host: str, profile: EngineProfile) -> bool:
    """Whether a server accepts connections of clients or of other members there. Its metrics do not count: a server
    that was removed from its cluster may go on telling them."""
    for name, port in profile.ports.items():
        if name == "metrics":
            continue
        try:
            socket.create_connection((host, port), _CONNECT).close()
        except OSError:
            continue
        return True
    return False
