"""Running the part of a manager that only the leader may run."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from runtime.client import Client
from runtime.clock import Clock
from runtime.logging import get_logger
from runtime.record import EventRecorder

__all__ = ["Election", "ElectionConfig"]

_log = get_logger("runtime.manager")


@dataclass(frozen=True, slots=True)
class ElectionConfig:
    """:ivar lease_duration: seconds, like the two below; rules L1 and L3."""

    lease: str
    namespace: str
    lease_duration: float = 15.0
    renew_deadline: float = 10.0
    retry_period: float = 2.0


class Election:
    """The elector in its thread.

    :param lead: called in its own thread when we lead, with an event that is set when that ends; the lease is held
        until it returns.
    :param failed: called with the error if the election cannot go on.
    :raises ValueError: the durations do not fit (L1).
    """

    def __init__(
        self,
        client: Client,
        config: ElectionConfig,
        recorder: EventRecorder,
        clock: Clock,
        lead: Callable[[threading.Event], None],
        failed: Callable[[str, BaseException], None],
    ) -> None:
        # Most programs start without an election.
        from runtime.leaderelection import LeaderElector, LeaseLock, unique_identity

        self.config = config
        self.identity = unique_identity()  # L18
        self._failed = failed
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.elector = LeaderElector(
            LeaseLock(client, config.namespace, config.lease, self.identity),
            lease_duration=config.lease_duration,
            renew_deadline=config.renew_deadline,
            retry_period=config.retry_period,
            release_on_cancel=True,
            on_started_leading=lead,
            on_stopped_leading=lambda: None,
            on_new_leader=self._new_leader,
            recorder=recorder,
            clock=clock,
        )

    def start(self, after: Callable[[threading.Event], bool]) -> None:
        """Begin once ``after(stop)`` has returned True. Returns at once."""
        thread = threading.Thread(target=self._run, args=(after,), name="leader-election", daemon=True)
        thread.start()
        self._thread = thread  # not before: it may be that it cannot be started

    def stop(self, timeout: float | None) -> bool:
        """End the election and release the lease; waits at most ``timeout`` seconds."""
        self._stop.set()
        if self._thread is None:
            return True
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self, after: Callable[[threading.Event], bool]) -> None:
        try:
            if not after(self._stop):
                return
            self.elector.run(self._stop)
        except BaseException as error:
            self._failed("leader election", error)

    def _new_leader(self, identity: str) -> None:
        _log.info("leader seen", leader=identity, is_us=identity == self.identity)
