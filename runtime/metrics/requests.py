"""What a client counts of its requests to the API server (section 5.4: the names and buckets of client-go)."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Final

from runtime.metrics.values import Histogram, HistogramSnapshot

__all__ = ["NO_RESPONSE", "RequestDetails", "RequestStats"]

NO_RESPONSE: Final = "<error>"
"""The code of a request that was not answered, as client-go has it."""

_SECONDS: Final = (0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0)
_BYTES: Final = tuple(float(n) for n in (64, 256, 512, *(1024 * 4**power for power in range(8))))


class RequestStats:
    """The requests of one client. Thread-safe; counting one costs a lock and an addition.

    :param host: of the API server, with its port.
    :ivar details: what is measured only if asked for; None: nothing.
    """

    def __init__(self, host: str) -> None:
        self.host = host
        self.details: RequestDetails | None = None
        self._lock = threading.Lock()  # guards the two below
        self._counts: dict[tuple[str, str], int] = {}
        self._refused = 0

    def count(self, code: str, method: str) -> None:
        """One request was sent; repeats count each. ``code`` is the status, or ``NO_RESPONSE``."""
        with self._lock:
            self._counts[code, method] = self._counts.get((code, method), 0) + 1

    def refuse(self) -> None:
        """A write was not sent, or not to its end, because its fence was closed."""
        with self._lock:
            self._refused += 1

    @property
    def refused(self) -> int:
        """Writes that a fence refused."""
        with self._lock:
            return self._refused

    def counts(self) -> Mapping[tuple[str, str], int]:
        """(code, method) -> requests."""
        with self._lock:
            return dict(self._counts)


class RequestDetails:
    """Times and sizes of whole requests, watches and other streams left out, and repeats of any. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards the dicts; the histograms have their own
        self._seconds: dict[str, Histogram] = {}
        self._request_bytes: dict[str, Histogram] = {}
        self._response_bytes: dict[str, Histogram] = {}
        self._retries: dict[tuple[str, str], int] = {}

    def took(self, method: str, seconds: float) -> None:
        """One call, with its repeats and waits, failed or not."""
        self._of(self._seconds, method, _SECONDS).observe(seconds)

    def sent(self, method: str, size: int) -> None:
        """Bytes of a request's body."""
        self._of(self._request_bytes, method, _BYTES).observe(size)

    def received(self, method: str, size: int) -> None:
        """Bytes of an answer's body, decompressed."""
        self._of(self._response_bytes, method, _BYTES).observe(size)

    def retried(self, code: str, method: str) -> None:
        """A request is repeated after this answer to it."""
        with self._lock:
            self._retries[code, method] = self._retries.get((code, method), 0) + 1

    def seconds(self) -> Mapping[str, HistogramSnapshot]:
        return self._snapshots(self._seconds)

    def request_bytes(self) -> Mapping[str, HistogramSnapshot]:
        return self._snapshots(self._request_bytes)

    def response_bytes(self) -> Mapping[str, HistogramSnapshot]:
        return self._snapshots(self._response_bytes)

    def retries(self) -> Mapping[tuple[str, str], int]:
        with self._lock:
            return dict(self._retries)

    def _of(self, histograms: dict[str, Histogram], method: str, bounds: tuple[float, ...]) -> Histogram:
        with self._lock:
            found = histograms.get(method)
            if found is None:
                found = histograms[method] = Histogram(bounds)
            return found

    def _snapshots(self, histograms: dict[str, Histogram]) -> Mapping[str, HistogramSnapshot]:
        with self._lock:
            return {method: histogram.snapshot() for method, histogram in histograms.items()}
