"""Failures on demand: what a client must survive. Where client-go's fake has reactors, this has rules (T1)."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

Match = Callable[["Asked"], bool]


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as faults see it. Empty texts where the request names none."""

    verb: str
    group: str
    resource: str
    namespace: str
    name: str
    subresource: str
    path: str
    user_agent: str


@dataclass(eq=False)
class Fault:
    """One rule. ``hits`` counts the requests it has struck."""

    match: Match
    status: int | None = None
    reason: str = ""
    message: str = ""
    retry_after: int | None = None
    drop: Literal["before", "after"] | None = None
    delay: float = 0.0
    times: int | None = None
    hits: int = field(default=0, init=False)

    def is_used_up(self) -> bool:
        return self.times is not None and self.hits >= self.times


class Faults:
    """The rules of one server; thread-safe. The first rule that matches strikes.

    Example: the next two status updates take effect, but their answer is lost::

        server.faults.add(verb="update", subresource="status", drop="after", times=2)
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rules: list[Fault] = []

    def add(
        self,
        match: Match | None = None,
        *,
        verb: str | None = None,
        resource: str | None = None,
        namespace: str | None = None,
        name: str | None = None,
        subresource: str | None = None,
        status: int | None = None,
        reason: str = "",
        message: str = "",
        retry_after: int | None = None,
        drop: Literal["before", "after"] | None = None,
        delay: float = 0.0,
        times: int | None = None,
    ) -> Fault:
        """Strike requests that fit all that is given (``subresource=""``: only the object itself).

        :param status: answer this error instead of serving the request.
        :param retry_after: seconds, as the Retry-After header of that error.
        :param drop: close the connection, before the request has taken effect or after it, without an answer.
        :param delay: seconds, in the server's clock, to wait before anything else; ends when the server stops.
        :param times: how many requests; None for all until :meth:`remove` or :meth:`clear`.
        """
        wanted = {
            "verb": verb,
            "resource": resource,
            "namespace": namespace,
            "name": name,
            "subresource": subresource,
        }
        given = {key: value for key, value in wanted.items() if value is not None}

        def fits(asked: Asked) -> bool:
            return all(getattr(asked, key) == value for key, value in given.items()) and (match is None or match(asked))

        fault = Fault(fits, status, reason, message, retry_after, drop, delay, times)
        with self._lock:
            self._rules.append(fault)
        return fault

    def remove(self, fault: Fault) -> None:
        with self._lock:
            if fault in self._rules:
                self._rules.remove(fault)

    def clear(self) -> None:
        with self._lock:
            self._rules.clear()

    def strike(self, asked: Asked) -> Fault | None:
        """The rule for this request, counted as a hit; None for a request that is served as usual."""
        if not self._rules:
            return None
        with self._lock:
            rules = [*self._rules]
        for fault in rules:
            # Without the lock: a test may ask the server something to decide.
            if fault.is_used_up() or not fault.match(asked):
                continue
            with self._lock:
                if fault in self._rules and not fault.is_used_up():
                    fault.hits += 1
                    return fault
        return None
