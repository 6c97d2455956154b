"""When a request is repeated, when it is not, and how it ends if no answer comes."""

from __future__ import annotations

import gzip
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from runtime import GVR
from runtime import client as c
from runtime.client import Client, ResourceClient
from runtime.client._http import MAX_RETRIES, parse_retry_after
from runtime.clock import SYSTEM
from runtime.testing import FakeClock

if TYPE_CHECKING:
    from tests.runtime.client.conftest import Handler, Kit, ScriptedServer, Seen


PODS = GVR("", "v1", "pods")


class PatientClock:
    """The system's, but waits pass at once and are noted."""

    def __init__(self) -> None:
        self.waits: list[float] = []
        self.offset = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self.offset

    def now(self) -> datetime:
        return SYSTEM.now()

    def wait(self, condition: threading.Condition, timeout: float | None = None) -> bool:
        raise AssertionError("the client waits on events only")

    def wait_event(self, event: threading.Event, timeout: float | None = None) -> bool:
        assert timeout is not None
        self.waits.append(timeout)
        self.offset += timeout
        return event.is_set()

    def sleep(self, seconds: float) -> None:
        raise AssertionError("a sleep cannot be interrupted")


@pytest.fixture
def clock() -> PatientClock:
    return PatientClock()


@pytest.fixture
def patient(scripted: ScriptedServer, clock: PatientClock) -> Iterator[Any]:
    with Client(scripted.url, clock=clock, timeout=60.0) as made:
        yield made.resource(PODS, "ns")


@pytest.mark.parametrize("code", [429, 503])
def test_retry_after_is_waited_for_and_the_request_repeated_for_reads_and_writes(
    scripted: ScriptedServer, patient: ResourceClient, clock: PatientClock, kit: type[Kit], code: Any
) -> None:
    busy = kit.failure(code, "TooManyRequests", headers={"Retry-After": "3"})
    scripted.then(busy, busy, kit.answer(kit.pod("a")), busy, kit.answer(kit.pod("b")))
    assert patient.get("a").name == "a"
    assert patient.create(kit.pod("b")).name == "b"
    assert clock.waits == [3, 3, 3]
    assert [r.method for r in scripted.requests] == ["GET"] * 3 + ["POST"] * 2
    assert scripted.requests[3].body == scripted.requests[4].body


def test_a_number_of_repeats_bounds_it(
    scripted: ScriptedServer, patient: ResourceClient, clock: PatientClock, kit: type[Kit]
) -> None:
    scripted.default = kit.failure(429, "TooManyRequests", headers={"Retry-After": "1"})
    with pytest.raises(c.TooManyRequests):
        patient.get("a")
    assert len(scripted.requests) == 1 + MAX_RETRIES


def test_a_wait_that_does_not_fit_in_the_timeout_is_not_begun(
    scripted: ScriptedServer, patient: ResourceClient, clock: PatientClock, kit: type[Kit]
) -> None:
    scripted.default = kit.failure(429, "TooManyRequests", headers={"Retry-After": "20"})
    with pytest.raises(c.TooManyRequests) as e:
        patient.get("a", timeout=10)
    assert e.value.retry_after == 20
    assert clock.waits == []
    with pytest.raises(c.TooManyRequests):
        patient.get("a")  # 60 s: two waits fit, a third does not
    assert clock.waits == [20, 20]


def test_without_retry_after_the_caller_decides(
    scripted: ScriptedServer, patient: ResourceClient, clock: PatientClock, kit: type[Kit]
) -> None:
    for code in (429, 503, 500):
        scripted.then(kit.failure(code, "Whatever"))
        with pytest.raises(c.ApiError):
            patient.get("a")
    assert clock.waits == []
    assert len(scripted.requests) == 3


def test_other_server_errors_are_repeated_for_reads_only(
    scripted: ScriptedServer, patient: ResourceClient, clock: PatientClock, kit: type[Kit]
) -> None:
    down = kit.failure(500, "ServerTimeout", headers={"Retry-After": "1"})
    scripted.then(down, kit.answer(kit.pod("a")), down)
    assert patient.get("a").name == "a"
    with pytest.raises(c.ServerTimeout) as e:
        patient.update(kit.pod("a"))
    assert e.value.ambiguous
    assert [r.method for r in scripted.requests] == ["GET", "GET", "PUT"]


def test_a_version_that_is_yet_to_come_is_not_asked_for_again(
    scripted: ScriptedServer, patient: ResourceClient, clock: PatientClock, kit: type[Kit]
) -> None:
    """The real server waits three seconds before each such answer; restored from a backup, it might never say other."""
    cause = {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
    scripted.default = kit.failure(504, "Timeout", headers={"Retry-After": "1"}, causes=[cause], retryAfterSeconds=1)
    with pytest.raises(c.ServerTimeout) as e:
        patient.list(resource_version="9")
    assert e.value.version_too_large
    assert e.value.retryable
    with pytest.raises(c.ServerTimeout):
        patient.watch_raw(resource_version="9", send_initial_events=True)
    assert clock.waits == []
    assert len(scripted.requests) == 2


def test_a_wait_for_retry_after_ends_when_the_caller_stops(scripted: ScriptedServer, kit: type[Kit]) -> None:
    clock, stop = FakeClock(), threading.Event()
    refused = threading.Event()

    def busy(handler: Handler, seen: Seen) -> None:
        kit.failure(429, "TooManyRequests", headers={"Retry-After": "20"})(handler, seen)
        refused.set()

    scripted.then(busy)
    with Client(scripted.url, clock=clock, timeout=60) as client, ThreadPoolExecutor(1) as pool:
        call = pool.submit(client.bound(stop).resource(PODS, "ns").get, "a")
        assert refused.wait(10)
        stop.set()
        assert isinstance(call.exception(10), c.Cancelled)
    assert len(scripted.requests) == 1


@pytest.mark.parametrize(
    ("header", "seconds"),
    [(None, None), ("5", 5.0), ("0.5", 0.5), ("-1", 0.0), ("soon", None), ("nan", None), ("inf", None), ("", None)],
)
def test_retry_after_as_a_number(header: Any, seconds: Any) -> None:
    assert parse_retry_after(header, SYSTEM) == seconds


def test_retry_after_as_a_date() -> None:
    assert parse_retry_after("Wed, 21 Oct 2015 07:28:00 GMT", SYSTEM) == 0
    far = parse_retry_after("Wed, 21 Oct 2099 07:28:00 GMT", SYSTEM)
    assert far is not None
    assert far > 1e9
    for year, zone in (("99999999999", "GMT"), ("2099", "+9999999999999999999"), ("2099", "+9999")):
        assert parse_retry_after(f"Wed, 21 Oct {year} 07:28:00 {zone}", SYSTEM) is None


def test_a_read_is_repeated_once_when_the_connection_was_dropped(
    scripted: ScriptedServer, client: Client, kit: type[Kit]
) -> None:
    scripted.then(kit.answer(kit.pod("a")), kit.drop, kit.answer(kit.pod("a")), kit.drop, kit.drop, kit.drop)
    pods = client.resource(PODS, "ns")
    pods.get("a")
    assert pods.get("a").name == "a"
    with pytest.raises(c.ConnectionFailed) as e:
        pods.get("a")
    assert e.value.retryable
    assert len(scripted.requests) == 5


def test_a_write_is_never_repeated_after_it_left(scripted: ScriptedServer, client: Client, kit: type[Kit]) -> None:
    pods = client.resource(PODS, "ns")
    scripted.default = kit.drop
    writes: list[Callable[[], object]] = [
        lambda: pods.create(kit.pod("a")),
        lambda: pods.update(kit.pod("a")),
        lambda: pods.patch("a", {}),
        lambda: pods.apply(kit.pod("a"), field_manager="t"),
        lambda: pods.delete("a"),
        lambda: pods.delete_collection(),
    ]
    for write in writes:
        with pytest.raises(c.ConnectionFailed) as e:
            write()
        assert e.value.ambiguous
        assert e.value.sent
    assert len(scripted.requests) == len(writes)


def test_a_body_that_is_cut_off_is_no_answer(scripted: ScriptedServer, client: Client, kit: type[Kit]) -> None:
    def cut(handler: Handler, seen: Seen) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        handler.wfile.write(b'{"metadata":')
        handler.drop()

    scripted.then(cut, kit.answer(kit.pod("a")), cut)
    pods = client.resource(PODS, "ns")
    assert pods.get("a").name == "a"
    with pytest.raises(c.ConnectionFailed) as e:
        pods.create(kit.pod("a"))
    assert e.value.ambiguous


def test_a_server_that_never_answers_ends_in_a_timeout(scripted: ScriptedServer, client: Client) -> None:
    scripted.default = scripted.hang
    begun = time.monotonic()
    with pytest.raises(c.RequestTimeout, match=r"get pods.v1 ns/a") as e:
        client.resource(PODS, "ns").get("a", timeout=0.2)
    assert time.monotonic() - begun < 5
    assert e.value.retryable
    assert e.value.ambiguous
    assert len(scripted.requests) == 1


def test_an_answer_that_trickles_ends_in_a_timeout(scripted: ScriptedServer, client: Client) -> None:
    def trickle(handler: Handler, seen: Seen) -> None:
        handler.begin_chunks()
        while not scripted.ended.wait(0.02):
            try:
                handler.chunk(b" ")
            except OSError:
                return

    scripted.default = trickle
    with pytest.raises(c.RequestTimeout):
        client.resource(PODS, "ns").get("a", timeout=0.3)


def test_nobody_listens_there() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    with Client(f"http://127.0.0.1:{port}") as client, pytest.raises(c.ConnectionFailed) as e:
        client.resource(PODS, "ns").create({"metadata": {"name": "a"}})
    assert not e.value.sent
    assert not e.value.ambiguous
    assert e.value.retryable
    assert f"127.0.0.1:{port}" in str(e.value)


def test_a_bound_client_obeys_stop_and_deadline_before_sending(
    scripted: ScriptedServer, client: Client, kit: type[Kit]
) -> None:
    scripted.default = kit.answer(kit.pod("a"))
    stop = threading.Event()
    now = client.clock.monotonic()
    bound = client.bound(stop, now + 60)
    assert bound.resource(PODS, "ns").get("a").name == "a"
    stop.set()
    with pytest.raises(c.Cancelled, match=r"get pods.v1 ns/a"):
        bound.resource(PODS, "ns").get("a")
    for late in (client.bound(deadline=now - 1), client.bound(deadline=now - 1).bound(deadline=now + 60)):
        with pytest.raises(c.DeadlineExceeded):
            late.resource(PODS, "ns").get("a")
        with pytest.raises(c.DeadlineExceeded):
            late.resource(PODS, "ns").watch()
    assert client.resource(PODS, "ns").get("a").name == "a"
    assert len(scripted.requests) == 2


@pytest.mark.parametrize("which", ["outer", "inner"])
def test_a_client_bound_twice_obeys_both_events(
    scripted: ScriptedServer, client: Client, kit: type[Kit], which: str
) -> None:
    events = {"outer": threading.Event(), "inner": threading.Event()}
    bound = client.bound(events["outer"]).bound(events["inner"]).bound()
    scripted.default = kit.failure(503, "ServiceUnavailable", headers={"Retry-After": "20"})
    timer = threading.Timer(0.2, events[which].set)
    timer.start()
    with pytest.raises(c.Cancelled, match="stopped while waiting"):
        bound.resource(PODS, "ns").get("a")
    timer.join()
    with pytest.raises(c.Cancelled, match="not sent"):
        bound.resource(PODS, "ns").get("a")


@pytest.mark.parametrize("which", ["outer", "inner"])
def test_either_interrupt_cuts_a_call_in_flight(scripted: ScriptedServer, client: Client, which: str) -> None:
    events = {"outer": c.Interrupt(), "inner": c.Interrupt()}
    scripted.default = scripted.hang
    timer = threading.Timer(0.2, events[which].set)
    timer.start()
    with pytest.raises(c.Cancelled, match="cut off"):
        client.bound(events["outer"]).bound(events["inner"]).resource(PODS, "ns").get("a", timeout=20)
    timer.join()


def test_what_is_left_until_the_deadline_is_the_timeout(scripted: ScriptedServer, client: Client) -> None:
    scripted.default = scripted.hang
    with pytest.raises(c.RequestTimeout):
        client.bound(deadline=client.clock.monotonic() + 0.2).resource(PODS, "ns").get("a", timeout=60)


def test_a_closed_client_sends_nothing(scripted: ScriptedServer, kit: type[Kit]) -> None:
    client = Client(scripted.url)
    derived = client.bound(threading.Event())
    client.close()
    for one in (client, derived):
        with pytest.raises(c.Cancelled):
            one.resource(PODS, "ns").get("a")
    assert scripted.requests == []


def test_observers_hear_of_writes_that_succeeded(scripted: ScriptedServer, client: Client, kit: type[Kit]) -> None:
    heard: list[c.Write] = []
    pods = client.observed(heard.append).bound(threading.Event()).resource(PODS, "ns")
    a = kit.pod("a", resourceVersion="7")
    scripted.then(
        kit.answer(a), kit.answer(a), kit.failure(409, "Conflict"), kit.answer(a), kit.answer({"kind": "Scale", **a}),
        kit.answer({"kind": "Status", "apiVersion": "v1", "status": "Success"}), kit.answer(a), kit.answer(a),
        kit.answer({"kind": "Status", "apiVersion": "v1"}),
    )  # fmt: skip
    pods.get("a")
    pods.create(a)
    with pytest.raises(c.Conflict):
        pods.update(a)
    pods.update(a, dry_run=True)
    pods.update_scale("a", 3)
    assert pods.delete("a") is None
    still_there = pods.delete("a")
    pods.update_status(a)
    pods.delete_collection()
    assert [(w.verb, w.subresource, w.name, w.object and w.object.resource_version) for w in heard] == [
        ("create", "", "a", "7"),
        ("patch", "scale", "a", None),
        ("delete", "", "a", None),
        ("delete", "", "a", "7"),
        ("update", "status", "a", "7"),
        ("deletecollection", "", "", None),
    ]
    assert still_there == heard[3].object
    assert heard[0].gvr == PODS
    assert heard[0].namespace == "ns"


def test_observers_hear_of_versions_and_uids(scripted: ScriptedServer, client: Client, kit: type[Kit]) -> None:
    heard: list[c.Write] = []
    pods = client.observed(heard.append).resource(PODS, "ns")
    a = kit.pod("a", resourceVersion="7", uid="u-a")
    done = {"kind": "Status", "apiVersion": "v1", "status": "Success"}
    scale = {"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": {"name": "a", "resourceVersion": "8"}}
    scripted.then(
        kit.answer(scale),
        kit.answer({**done, "code": 201}), kit.answer({**done, "details": {"uid": "u-a"}}), kit.answer(done),
        kit.answer(a),
    )  # fmt: skip
    pods.update_scale("a", 3)
    pods.create({"kind": "Eviction", "metadata": {"name": "a"}}, name="a", subresource="eviction")
    pods.delete("a")
    pods.delete("a", uid="asked-for")
    pods.delete("a")
    assert [(w.name, w.namespace, w.object is None, w.resource_version, w.uid) for w in heard] == [
        ("a", "ns", True, "8", ""),
        ("a", "ns", True, "", ""),
        ("a", "ns", True, "", "u-a"),
        ("a", "ns", True, "", "asked-for"),
        ("a", "ns", False, "7", "u-a"),
    ]
    assert [w.failure for w in heard] == [None] * 5


def test_observers_hear_of_writes_whose_answer_was_lost(
    scripted: ScriptedServer, client: Client, kit: type[Kit]
) -> None:
    heard: list[c.Write] = []
    observed = client.observed(heard.append)
    pods = observed.resource(PODS, "ns")
    a = kit.pod("a")
    calls: list[Callable[..., Any]] = [
        lambda **o: pods.create(a, **o),
        lambda **o: observed.resource(PODS).patch("a", {}, **o),
        lambda **o: pods.delete("a", **o),
        lambda **o: pods.delete_collection(**o),
    ]
    for call in calls:
        for status in (500, 409, 500):
            scripted.then(kit.failure(status, "InternalError" if status == 500 else "Conflict"))
        with pytest.raises(c.InternalError) as lost:
            call()
        with pytest.raises(c.Conflict):
            call()
        with pytest.raises(c.InternalError):
            call(dry_run=True)
        assert heard[-1].failure is lost.value
    assert [(w.verb, w.name, w.namespace) for w in heard] == [
        ("create", "a", "ns"),
        ("patch", "a", ""),
        ("delete", "a", "ns"),
        ("deletecollection", "", "ns"),
    ]
    scripted.then(kit.failure(500, "InternalError"))
    with pytest.raises(c.InternalError):
        observed.unobserved().resource(PODS, "ns").create(a)
    assert len(heard) == 4


def test_compressed_answers_are_read(scripted: ScriptedServer, client: Client) -> None:
    body = orjson.dumps({"kind": "PodList", "apiVersion": "v1", "items": [{"metadata": {"name": "a"}}] * 100})
    scripted.then(lambda h, seen: h.reply(200, gzip.compress(body), {"Content-Encoding": "gzip"}))
    assert len(client.resource(PODS).list()) == 100
    assert scripted.requests[0].headers["accept-encoding"] == "gzip"


@pytest.mark.parametrize(
    ("cut", "says"), [(lambda body: body[:-12], "cut off"), (lambda body: b"{}" + body, "not gzip")]
)
def test_a_compressed_answer_that_is_cut_or_none_has_failed(
    scripted: ScriptedServer, client: Client, cut: Any, says: Any
) -> None:
    body = cut(gzip.compress(orjson.dumps({"kind": "PodList", "items": [{"metadata": {"name": "a"}}] * 100})))
    scripted.default = lambda h, seen: h.reply(200, body, {"Content-Encoding": "gzip"})
    with pytest.raises(c.ConnectionFailed, match=says):
        client.resource(PODS).list()
    assert len(scripted.requests) == 2, "a read whose connection broke is repeated once"


def test_headers_and_token_are_sent(scripted: ScriptedServer, kit: type[Kit]) -> None:
    scripted.default = kit.answer(b"ok")
    with Client(scripted.url + "/", token="secret", user_agent="me/1") as client:
        assert client.request("GET", "/healthz", query={"verbose": "1"}).body == b"ok"
        client.request("POST", "/x?a=b", query={"c": "d e"}, body={"k": 1}, headers={"Accept": "text/plain"})
    first, second = scripted.requests
    assert first.path == "/healthz?verbose=1"
    assert first.headers["authorization"] == "Bearer secret"
    assert first.headers["user-agent"] == "me/1"
    assert second.path == "/x?a=b&c=d+e"
    assert second.json == {"k": 1}
    assert second.headers["accept"] == "text/plain"
    assert second.headers["content-type"] == "application/json"


def test_redirects_are_not_followed_with_credentials(scripted: ScriptedServer, kit: type[Kit]) -> None:
    scripted.then(kit.answer(b"{}", 302, {"Location": "http://127.0.0.1:1/"}))
    with Client(scripted.url, token="secret") as client:
        assert client.request("GET", "/").status == 302


def test_many_threads_share_a_client_and_its_connections(
    scripted: ScriptedServer, client: Client, kit: type[Kit]
) -> None:
    def echo(handler: Handler, seen: Seen) -> None:
        kit.answer(kit.pod(seen.path.rsplit("/", 1)[1]))(handler, seen)

    scripted.default = echo
    pods = client.resource(PODS, "ns")
    with ThreadPoolExecutor(8) as pool:
        names = [f"p{i}" for i in range(200)]
        assert [p.name for p in pool.map(pods.get, names)] == names
    assert len(scripted.connections) <= 8


@pytest.mark.parametrize("url", ["", "127.0.0.1:8080", "ftp://x", "http://"])
def test_a_url_that_is_none_is_refused(url: Any) -> None:
    with pytest.raises(c.ConfigError, match=r"https://127.0.0.1:6443"):
        Client(url)


def test_a_client_by_url_does_not_import_the_official_client(scripted: ScriptedServer, kit: type[Kit]) -> None:
    scripted.default = kit.answer(kit.pod("a"))
    program = (
        "import sys; from runtime.client import Client, load_client; from runtime import GVR;"
        f"c = Client({scripted.url!r}); print(c.resource(GVR('', 'v1', 'pods'), 'ns').get('a').name);"
        "assert 'kubernetes' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.returncode) == ("a\n", 0), done.stderr


def test_a_write_does_not_go_out_on_a_connection_the_server_has_left(
    scripted: ScriptedServer, client: Client, kit: type[Kit]
) -> None:
    left = threading.Event()

    def answer_and_leave(handler: Handler, seen: Seen) -> None:
        kit.answer(kit.pod("a"))(handler, seen)
        handler.drop()
        left.set()

    pods = client.resource(PODS, "ns")
    for _ in range(10):
        left.clear()
        scripted.then(answer_and_leave, kit.answer(kit.pod("b")))
        pods.get("a")
        assert left.wait(10)
        assert pods.create(kit.pod("b")).name == "b"
