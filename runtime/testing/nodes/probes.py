"""Probes and lifecycle hooks: one attempt each, and the thread that repeats a probe."""

from __future__ import annotations

import http.client
import io
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from runtime.clock import Clock
from runtime.testing.nodes.process import Exit, StartError
from runtime.testing.nodes.rewrite import Rewriter
from runtime.types import JSONMapping

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_BODY = 10 * 1024  # bytes of an answer that are read
_FAST = 0.25  # seconds between attempts before a container has answered once
_FAST_EXEC = 1.0  # the same for exec probes, which cost a process each


class CheckFailed(Exception):
    """The check's answer is no; the message is for an event."""


@dataclass(frozen=True, slots=True)
class Target:
    """What is checked.

    :param address: the Pod's.
    :param ports: the container's named ports.
    :param execute: runs a command in the container; arguments: words and seconds; raises TimeoutError and StartError.
    """

    address: str
    ports: dict[str, int]
    rewriter: Rewriter
    execute: Callable[[Sequence[str], float], Exit]

    def port(self, port: int | str) -> int:
        """:raises CheckFailed: the container has no port of this name."""
        if isinstance(port, int) or port.isdigit():
            return int(port)
        if port not in self.ports:
            raise CheckFailed(f"couldn't find port {port!r} in container")
        return self.ports[port]


def check(handler: JSONMapping, target: Target, timeout: float) -> None:
    """One attempt of a probe or hook handler.

    :param timeout: seconds for all of it.
    :raises CheckFailed: it said no, could not be reached or took too long.
    """
    try:
        if "httpGet" in handler:
            _http_get(handler["httpGet"], target, timeout)
        elif "tcpSocket" in handler:
            action = handler["tcpSocket"]
            address = (target.rewriter.host(action.get("host") or ""), target.port(action["port"]))
            socket.create_connection(address, timeout).close()
        elif "exec" in handler:
            _execute(handler["exec"].get("command") or (), target, timeout)
        elif "grpc" in handler:
            _grpc(handler["grpc"], target, timeout)
    except TimeoutError as error:
        raise CheckFailed(str(error) if "exec" in handler else f"timed out after {timeout:g}s") from error
    except (OSError, http.client.HTTPException) as error:
        raise CheckFailed(str(error) or type(error).__name__) from error


def _http_get(action: JSONMapping, target: Target, timeout: float) -> None:
    host, port = target.rewriter.host(action.get("host") or ""), target.port(action["port"])
    deadline = time.monotonic() + timeout
    headers = {"User-Agent": "kube-probe/local", "Accept": "*/*", "Connection": "close"}
    headers.update({header["name"]: header["value"] for header in action.get("httpHeaders") or ()})
    connection: http.client.HTTPConnection
    if (action.get("scheme") or "HTTP").upper() == "HTTPS":
        context = ssl._create_unverified_context()  # noqa: S323  (as the kubelet's probes)
        connection = http.client.HTTPSConnection(host, port, timeout=timeout, context=context)
    else:
        connection = http.client.HTTPConnection(host, port, timeout=timeout)
    path = action.get("path") or "/"
    with closing(connection):
        # mypy knows the class attribute only; what counts is that it is called.
        connection.response_class = partial(_answer, deadline)  # type: ignore[assignment]
        connection.request("GET", path if path.startswith("/") else "/" + path, headers=headers)
        response = connection.getresponse()
        response.read(_BODY)
        if not 200 <= response.status < 400:
            raise CheckFailed(f"HTTP probe failed with statuscode: {response.status}")


def _answer(deadline: float, sock: socket.socket, *args: object, **options: object) -> http.client.HTTPResponse:
    response = http.client.HTTPResponse(sock, *args, **options)  # type: ignore[arg-type]
    response.fp.close()
    response.fp = io.BufferedReader(_InTime(sock, deadline))
    return response


class _InTime(io.RawIOBase):
    """Reads from a socket until the deadline, however small the pieces are in which it sends."""

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self._sock, self._deadline = sock, deadline
        self._raw = sock.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int | None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._sock.settimeout(left)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


def _execute(command: Sequence[str], target: Target, timeout: float) -> None:
    try:
        ended = target.execute(command, timeout)
    except StartError as error:
        raise CheckFailed(str(error)) from error
    if ended.code != 0:
        raise CheckFailed(ended.output.strip() or f"command {command[0]!r} exited with {ended.code}")


def _grpc(action: JSONMapping, target: Target, timeout: float) -> None:
    import grpc  # here: most Pods have no such probe, and it is slow to load

    service = (action.get("service") or "").encode()
    request = b"\x0a" + _varint(len(service)) + service if service else b""
    address = f"{target.address}:{target.port(action['port'])}"
    with grpc.insecure_channel(address) as channel:
        call = channel.unary_unary("/grpc.health.v1.Health/Check", lambda message: message, lambda message: message)
        try:
            answer = call(request, timeout=timeout)
        except grpc.RpcError as error:
            # What a call raises is a Call too, which the type does not say.
            code = getattr(error, "code", lambda: "no answer")()
            raise CheckFailed(f"grpc health check of {address} failed: {code}") from error
    if answer[:2] != b"\x08\x01":  # HealthCheckResponse.status == SERVING
        raise CheckFailed(f"service unhealthy (responded with {_serving_status(answer)!r})")


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def _serving_status(answer: bytes) -> str:
    names = {0: "UNKNOWN", 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}
    return names.get(answer[1] if answer[:1] == b"\x08" and len(answer) > 1 else 0, "UNKNOWN")


@dataclass(frozen=True, slots=True)
class Outcome:
    """A probe's verdict after its thresholds, or a failed attempt (``healthy`` is None) worth an event."""

    kind: str
    healthy: bool | None
    message: str = ""


class Prober:
    """Repeats one probe of one running container in a thread of its own, until stopped.

    Reports every failed attempt that counts, and each change of the verdict. Before the first success of a startup or
    readiness probe there are extra attempts between the periods, whose failures do not count: a server that is up
    after 300 ms is ready then, not at the next full period.

    :param report: called from the thread, must not block.
    """

    def __init__(
        self,
        kind: str,
        probe: JSONMapping,
        target: Target,
        clock: Clock,
        report: Callable[[Outcome], None],
        *,
        name: str,
        eager: bool = True,
    ) -> None:
        self.kind = kind
        self._probe = probe
        self._target = target
        self._clock = clock
        self._report = report
        self._period = float(probe.get("periodSeconds") or 10)
        self._timeout = float(probe.get("timeoutSeconds") or 1)
        self._eager = eager and kind in ("startup", "readiness")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """No more reports once :meth:`join` has returned."""
        self._stop.set()

    def join(self) -> None:
        self._thread.join()

    def _run(self) -> None:
        clock, failures, successes = self._clock, 0, 0
        verdict: bool | None = True if self.kind == "liveness" else None
        if clock.wait_event(self._stop, float(self._probe.get("initialDelaySeconds") or 0)):
            return
        # Nobody expects an answer at once, so a failure then counts only where there are no extra attempts.
        due = clock.monotonic() + (self._period if self._eager else 0.0)
        while not self._stop.is_set():
            error = self._attempt()
            counts = clock.monotonic() >= due
            if counts:
                due = clock.monotonic() + self._period
            if self._stop.is_set():
                return
            if error is None:
                failures, successes = 0, successes + 1
                if successes >= int(self._probe.get("successThreshold") or 1) and verdict is not True:
                    verdict = True
                    self._report(Outcome(self.kind, True))
                due = clock.monotonic() + self._period
            elif counts:
                failures, successes = failures + 1, 0
                self._report(Outcome(self.kind, None, error))
                if failures >= int(self._probe.get("failureThreshold") or 3) and verdict is not False:
                    verdict = False
                    self._report(Outcome(self.kind, False, error))
            self._pause(due, fast=self._eager and verdict is None)

    def _attempt(self) -> str | None:
        try:
            check(self._probe, self._target, self._timeout)
        except CheckFailed as error:
            return str(error)
        return None

    def _pause(self, due: float, *, fast: bool) -> None:
        pause = due - self._clock.monotonic()
        if fast:
            pause = min(pause, _FAST_EXEC if "exec" in self._probe else _FAST)
        self._clock.wait_event(self._stop, max(pause, 0.01))
