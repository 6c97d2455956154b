"""Probes and hooks: single attempts against real servers, and thresholds by a fake clock."""

from __future__ import annotations

import contextlib
import http.server
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures

import grpc
import pytest

from runtime.testing import FakeClock
from runtime.testing.nodes.probes import CheckFailed, Outcome, Prober, Target, check
from runtime.testing.nodes.process import Exit, Process, StartError
from runtime.testing.nodes.rewrite import Names, Rewriter
from runtime.testing.nodes.termination import HookRun, Termination, stop_signal
from tests.runtime.testing.nodes.nodes_support import wait_for

HOST = "127.0.0.1"
Execute = Callable[[list[str], float], Exit]


def target(execute: Execute | None = None, **ports: int) -> Target:
    names = Names(HOST, "ns", lambda *_: "", lambda *_: "", lambda *_: False)

    def run(words: object, timeout: float) -> Exit:
        assert execute is not None
        return execute(list(words), timeout)  # type: ignore[call-overload]

    return Target(HOST, ports, Rewriter(names, []), run)


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/hang":
            self.server.hung.wait(5)  # type: ignore[attr-defined]
        code = {"/ok": 200, "/moved": 302, "/header": 200 if self.headers["X-Test"] == "yes" else 400}.get(
            self.path, 500
        )
        self.send_response(code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def http_port() -> Iterator[int]:
    server = http.server.ThreadingHTTPServer((HOST, 0), Handler)
    server.hung = threading.Event()  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, name="http", kwargs={"poll_interval": 0.01})
    thread.start()
    yield server.server_port
    server.hung.set()  # type: ignore[attr-defined]
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("action", [{"path": "/ok"}, {"path": "ok"}, {"path": "/moved", "scheme": "HTTP"}])
def test_http_succeeds(http_port: int, action: dict[str, object]) -> None:
    check({"httpGet": {**action, "port": "web"}}, target(web=http_port), 2)
    check({"httpGet": {**action, "port": http_port, "host": "localhost"}}, target(), 2)


def test_http_headers(http_port: int) -> None:
    action = {"path": "/header", "port": http_port, "httpHeaders": [{"name": "X-Test", "value": "yes"}]}
    check({"httpGet": action}, target(), 2)


@pytest.mark.parametrize(
    ("action", "message"),
    [
        ({"path": "/no", "port": "web"}, "HTTP probe failed with statuscode: 500"),
        ({"path": "/hang", "port": "web"}, r"timed out after 0\.2s"),
        ({"path": "/ok", "port": "other"}, "couldn't find port 'other' in container"),
        ({"path": "/ok", "port": 1}, "Connection refused"),
        ({"path": "/ok", "port": "web", "scheme": "HTTPS"}, "SSL|timed out|EOF|reset|closed"),
    ],
)
def test_http_fails(http_port: int, action: dict[str, object], message: str) -> None:
    with pytest.raises(CheckFailed, match=message):
        check({"httpGet": action}, target(web=http_port), 0.2)


@pytest.mark.parametrize("answer", [b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 300, b"HTTP/1.1 200 OK\r\nX: " + b"x" * 300])
def test_an_answer_that_drips_ends_with_the_timeout(answer: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        stop = threading.Event()

        def drip() -> None:
            connection, _ = listener.accept()
            with connection, contextlib.suppress(OSError):
                connection.recv(4096)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for at in range(len(answer)):
                    connection.sendall(answer[at : at + 1])
                    if stop.wait(0.02 if at > 20 else 0):
                        return

        dripping = threading.Thread(target=drip, name="dripping")
        dripping.start()
        began = time.monotonic()
        try:
            with contextlib.suppress(CheckFailed):  # a complete header is an answer, whatever follows
                check({"httpGet": {"port": listener.getsockname()[1]}}, target(), 0.3)
            assert time.monotonic() - began < 5
        finally:
            stop.set()
            dripping.join()


def test_tcp() -> None:
    with socket.create_server((HOST, 0)) as listening:
        port = listening.getsockname()[1]
        check({"tcpSocket": {"port": port}}, target(), 1)
    with pytest.raises(CheckFailed, match="refused"):
        check({"tcpSocket": {"port": port}}, target(), 1)


def test_exec() -> None:
    def execute(words: list[str], timeout: float) -> Exit:
        if words == ["slow"]:
            raise TimeoutError("command 'slow' timed out after 1s")
        if words == ["none"]:
            raise StartError("no such command")
        return Exit(int(words[0]), 0, words[1])

    check({"exec": {"command": ["0", ""]}}, target(execute), 1)
    for command, message in (
        (["3", "because\n"], "^because$"),
        (["3", ""], "command '3' exited with 3"),
        (["slow"], "timed out"),
        (["none"], "no such command"),
    ):
        with pytest.raises(CheckFailed, match=message):
            check({"exec": {"command": command}}, target(execute), 1)


@pytest.fixture
def grpc_port() -> Iterator[int]:
    """A health service that serves "" and "good", not "bad", and does not know others."""

    def answer(request: bytes, context: grpc.ServicerContext) -> bytes:
        known = {b"": b"\x08\x01", b"\x0a\x04good": b"\x08\x01", b"\x0a\x03bad": b"\x08\x02"}
        if request not in known:
            context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
        return known[request]

    with futures.ThreadPoolExecutor(2) as pool:
        server = grpc.server(pool)
        methods = {"Check": grpc.unary_unary_rpc_method_handler(answer)}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("grpc.health.v1.Health", methods),))
        port = server.add_insecure_port(f"{HOST}:0")
        server.start()
        yield port
        server.stop(0).wait()


def test_grpc(grpc_port: int) -> None:
    check({"grpc": {"port": grpc_port}}, target(), 5)
    check({"grpc": {"port": grpc_port, "service": "good"}}, target(), 5)
    with pytest.raises(CheckFailed, match="NOT_SERVING"):
        check({"grpc": {"port": grpc_port, "service": "bad"}}, target(), 5)
    with pytest.raises(CheckFailed, match="NOT_FOUND"):
        check({"grpc": {"port": grpc_port, "service": "other"}}, target(), 5)
    with pytest.raises(CheckFailed, match="UNAVAILABLE"):
        check({"grpc": {"port": 1}}, target(), 5)


# -- repeated


class Probed:
    """A probe whose answers the test decides, run by a fake clock."""

    def __init__(self, kind: str, *, eager: bool = False, **probe: object) -> None:
        self.clock = FakeClock()
        self.healthy = False
        self.attempts = 0
        self.outcomes: list[Outcome] = []
        spec = {"exec": {"command": ["x"]}, **probe}
        self.prober = Prober(
            kind, spec, target(self._execute), self.clock, self.outcomes.append, name="probe", eager=eager
        )
        self.prober.start()

    def _execute(self, words: list[str], timeout: float) -> Exit:
        self.attempts += 1
        return Exit(0 if self.healthy else 1)

    def settle(self) -> None:
        self.clock.wait_for_waiters(1, timed=True)

    def advance(self, seconds: float) -> None:
        self.settle()
        self.clock.advance(seconds)
        self.settle()

    @property
    def verdicts(self) -> list[bool]:
        return [outcome.healthy for outcome in self.outcomes if outcome.healthy is not None]

    def close(self) -> None:
        self.prober.stop()
        self.prober.join()


@pytest.fixture
def probed() -> Iterator[Callable[..., Probed]]:
    made: list[Probed] = []

    def make(*args: object, **options: object) -> Probed:
        made.append(Probed(*args, **options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for each in made:
        each.close()


def test_liveness_fails_after_its_threshold(probed: Callable[..., Probed]) -> None:
    probe = probed("liveness", periodSeconds=10, failureThreshold=3, initialDelaySeconds=5)
    probe.settle()
    assert probe.attempts == 0
    probe.advance(5)
    probe.advance(10)
    assert probe.verdicts == []
    probe.advance(10)
    assert probe.attempts == 3
    assert probe.verdicts == [False]


def test_a_success_in_between_starts_the_count_again(probed: Callable[..., Probed]) -> None:
    probe = probed("liveness", periodSeconds=10, failureThreshold=2)
    probe.settle()
    probe.healthy = True
    probe.advance(10)
    probe.healthy = False
    probe.advance(10)
    assert probe.verdicts == []
    probe.advance(10)
    assert probe.verdicts == [False]


def test_readiness_needs_its_success_threshold_and_changes_both_ways(probed: Callable[..., Probed]) -> None:
    probe = probed("readiness", periodSeconds=5, failureThreshold=1, successThreshold=2)
    probe.settle()
    probe.healthy = True
    probe.advance(5)
    assert probe.verdicts == [False]
    probe.advance(5)
    assert probe.verdicts == [False, True]
    probe.healthy = False
    probe.advance(5)
    assert probe.verdicts == [False, True, False]


def test_before_the_first_success_it_asks_more_often_without_counting(probed: Callable[..., Probed]) -> None:
    probe = probed("startup", eager=True, periodSeconds=10, failureThreshold=1)
    for _ in range(5):
        probe.advance(1)
    assert probe.attempts == 6
    assert probe.outcomes == []
    probe.healthy = True
    probe.advance(1)
    assert probe.verdicts == [True]


def test_eager_failures_count_once_a_period(probed: Callable[..., Probed]) -> None:
    probe = probed("startup", eager=True, periodSeconds=10, failureThreshold=2)
    for _ in range(20):
        probe.advance(1)
    assert probe.verdicts == [False]
    assert len(probe.outcomes) == 3  # two failures and the verdict


# -- termination by a fake clock


class Ending:
    """A process that notes its signals, and its termination."""

    def __init__(self, grace: float, hook: dict[str, object] | None = None, execute: Execute | None = None) -> None:
        self.clock = FakeClock()
        self.sent: list[tuple[int, bool]] = []
        self.failures: list[str] = []
        process = Process("id", 77, lambda request: self.sent.append((request["signal"], request["all"])))
        self.termination = Termination(
            process,
            15,
            grace=grace,
            clock=self.clock,
            name="ending",
            hook=(hook, target(execute)) if hook else None,
            hook_failed=self.failures.append,
        )
        self.termination.start()

    def close(self) -> None:
        self.termination.process_ended()
        self.termination.join()


@pytest.fixture
def ending() -> Iterator[Callable[..., Ending]]:
    made: list[Ending] = []

    def make(*args: object, **options: object) -> Ending:
        made.append(Ending(*args, **options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for each in made:
        each.close()


def test_the_signal_waits_for_its_turn_and_the_kill_for_the_deadline(ending: Callable[..., Ending]) -> None:
    end = ending(30)
    end.clock.wait_for_waiters(1)
    assert end.sent == []
    end.termination.go()
    wait_for(lambda: end.sent == [(15, False)])
    end.clock.wait_for_waiters(1, timed=True)
    end.clock.advance(29)
    end.clock.wait_for_waiters(1, timed=True)
    assert end.sent == [(15, False)]
    end.clock.advance(1)
    wait_for(lambda: end.sent == [(15, False), (9, True)])


def test_a_turn_that_never_comes_ends_with_the_grace_period(ending: Callable[..., Ending]) -> None:
    end = ending(30)
    end.clock.wait_for_waiters(1, timed=True)
    end.clock.advance(30)
    wait_for(lambda: end.sent == [(15, False)])
    end.clock.wait_for_waiters(1, timed=True)
    end.clock.advance(2)  # the minimum between signal and kill
    wait_for(lambda: end.sent == [(15, False), (9, True)])


def test_no_grace_is_a_kill_at_once(ending: Callable[..., Ending]) -> None:
    end = ending(0, {"sleep": {"seconds": 5}})
    wait_for(lambda: end.sent == [(9, True)])


def test_a_shortened_grace_is_kept(ending: Callable[..., Ending]) -> None:
    end = ending(3000)
    end.termination.go()
    wait_for(lambda: end.sent == [(15, False)])
    end.termination.shorten(0)
    wait_for(lambda: end.sent == [(15, False), (9, True)])


def test_a_sleeping_hook_comes_first(ending: Callable[..., Ending]) -> None:
    end = ending(30, {"sleep": {"seconds": 5}})
    end.termination.go()
    end.clock.wait_for_waiters(2, timed=True)
    assert end.sent == []
    end.clock.advance(5)
    wait_for(lambda: end.sent == [(15, False)])
    assert end.failures == []


def test_a_failing_hook_is_told_and_does_not_stop_the_rest(ending: Callable[..., Ending]) -> None:
    end = ending(30, {"exec": {"command": ["x"]}}, lambda words, timeout: Exit(1, 0, "no"))
    end.termination.go()
    wait_for(lambda: end.sent == [(15, False)])
    assert end.failures == ["no"]


def test_a_cancelled_hook_tells_nobody() -> None:
    clock, told = FakeClock(), list[str | None]()
    hook = HookRun({"sleep": {"seconds": 5}}, target(), 30, clock, told.append, name="hook")
    hook.start()
    hook.cancel()
    hook.join()
    assert told == []


def test_stop_signals() -> None:
    assert stop_signal({}) == 15
    assert stop_signal({"lifecycle": {"stopSignal": "SIGINT"}}) == 2
    assert stop_signal({"lifecycle": {"stopSignal": "SIGNONE"}}) == 15
