"""The managers of a chaos: each is started again when it ends, as a Deployment does with its Pods."""

from __future__ import annotations

import threading
from typing import Any

from runtime.client import Client
from runtime.controller import Controller
from runtime.manager import LeaderElectionLost, Manager
from runtime.record import CorrelatorOptions, EventBroadcaster
from tests.support.chaos.garden import add_controller

USER_AGENT = "chaos-operator"
_OFF: dict[str, Any] = {"metrics_bind_address": "0", "health_probe_bind_address": "0"}
_ELECTION: dict[str, Any] = {
    "leader_election": True,
    "leader_election_id": "gardener",
    "leader_election_namespace": "default",
}
SHORT_LEASE: dict[str, float] = {"lease_duration": 2.0, "renew_deadline": 1.2, "retry_period": 0.1}


class Operator:
    """One replica, in a thread of its own.

    :param lease: options of the election between replicas; None: there is none.
    :param remembered: how many events, and objects of each, are remembered at most; None: as many as usual.
    :ivar manager: the present one.
    :ivar ends: what its managers ended with, other than being told to.
    """

    def __init__(
        self, url: str, number: int, lease: dict[str, float] | None = None, remembered: int | None = None
    ) -> None:
        self.ends: list[BaseException] = []
        self._url = url
        self._number = number
        self._lease = lease
        self._events = None if remembered is None else CorrelatorOptions(cache_size=remembered)
        self._over = threading.Event()
        self._stop_lock = threading.Lock()  # guards the two below
        self._stop = threading.Event()
        self.manager, self.controller = self._make()
        self._thread = threading.Thread(target=self._run, name=f"chaos-operator-{number}")

    def start(self) -> None:
        self._thread.start()

    def restart(self) -> None:
        """Let its manager end, as by SIGTERM; another follows. Returns at once."""
        with self._stop_lock:
            self._stop.set()

    def end(self, timeout: float = 60.0) -> None:
        self._over.set()
        self.restart()
        self._thread.join(timeout)
        assert not self._thread.is_alive(), f"operator {self._number} does not end"

    @property
    def leads(self) -> bool:
        return self.manager.elected.is_set() and self.controller.working

    @property
    def lost_leases(self) -> int:
        return sum(isinstance(error, LeaderElectionLost) for error in self.ends)

    @property
    def failures(self) -> list[BaseException]:
        """Ends that no fault of the server explains."""
        return [error for error in self.ends if not isinstance(error, LeaderElectionLost)]

    def _make(self) -> tuple[Manager, Controller]:
        client = Client(self._url, user_agent=f"{USER_AGENT}-{self._number}", timeout=2.0, connect_timeout=1.0)
        options = {} if self._lease is None else {**_ELECTION, **self._lease}
        events = EventBroadcaster(client, options=self._events)
        manager = Manager(client, graceful_shutdown_timeout=5.0, events=events, **_OFF, **options)
        return manager, add_controller(manager)

    def _run(self) -> None:
        while True:
            try:
                self.manager.run(self._stop)
            except BaseException as error:
                self.ends.append(error)
            finally:
                self.manager.client.close()
            with self._stop_lock:
                if self._over.is_set():
                    return
                self._stop = threading.Event()
                self.manager, self.controller = self._make()
