"""How long a container that ended waits for its next start."""

from __future__ import annotations

from dataclasses import dataclass

_RESET_AFTER = 600.0  # seconds a container must have run for its failures to be forgotten


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """The first restart comes at once; then ``base`` seconds, doubling up to ``limit``.

    The kubelet's numbers are 10 s and 300 s; a laptop that watches its own cluster recover has a shorter base.
    """

    base: float = 1.0
    limit: float = 300.0


class Backoff:
    """The restarts of one container."""

    def __init__(self, policy: RestartPolicy) -> None:
        self._policy = policy
        self._failures = 0

    def ended(self, ran: float) -> float:
        """The container ended after ``ran`` seconds: seconds until its next start."""
        if ran >= _RESET_AFTER:
            self._failures = 0
        self._failures += 1
        if self._failures == 1:
            return 0.0
        return min(self._policy.base * 2.0 ** min(self._failures - 2, 60), self._policy.limit)
