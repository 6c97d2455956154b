"""A server that stands still, or goes down and comes up again, as a whole."""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from runtime.client import ConnectionFailed
from runtime.testing import FakeAPIServer, FakeClock
from runtime.testing.apiserver import listener
from runtime.types import GVR
from tests.runtime.testing.apiserver.apiserver_helpers import CONFIGMAPS, PODS, Http, Watching
from tests.support.waiting import eventually


class Asking:
    """A request in a thread of its own."""

    def __init__(self, server: FakeAPIServer, path: str = CONFIGMAPS, method: str = "GET", body: Any = None) -> None:
        self._api = Http(server)
        self.codes: list[int] = []  # 0 for no answer
        self._thread = threading.Thread(target=self._ask, args=(method, path, body))
        self._thread.start()

    def _ask(self, method: str, path: str, body: Any) -> None:
        try:
            self.codes.append(self._api(method, path, body).status)
        except (OSError, http.client.HTTPException):
            self.codes.append(0)

    def join(self) -> list[int]:
        self._thread.join(30)
        self._api.close()
        return self.codes


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def timed(clock: FakeClock) -> Iterator[FakeAPIServer]:
    with FakeAPIServer(clock=clock) as server:
        yield server


def test_a_paused_server_keeps_its_connections_and_answers_nobody(server: FakeAPIServer, api: Http) -> None:
    watching = Watching(server, f"{CONFIGMAPS}?watch=1")
    server.pause()
    server.store.create(
        ("", "configmaps"), "default", "a", {"metadata": {"name": "a", "namespace": "default", "uid": "1"}}
    )
    asking = [Asking(server) for _ in range(2)]
    eventually(lambda: server.connections == 3)
    assert [each.codes for each in asking] == [[], []]
    assert watching.events == []
    assert not watching.ended
    server.resume()
    assert [each.join() for each in asking] == [[200], [200]]
    assert watching.wait(1, 30)[0]["object"]["metadata"]["name"] == "a"
    watching.close()


def test_a_pause_for_some_seconds_ends_by_itself(timed: FakeAPIServer, clock: FakeClock) -> None:
    timed.pause(60)
    asking = Asking(timed)
    eventually(lambda: timed.connections == 1)
    clock.advance(59)
    assert asking.codes == []
    while not asking.codes:
        clock.advance(1)
    assert asking.join() == [200]


def test_a_paused_server_ends_no_watch_whose_time_is_over(timed: FakeAPIServer, clock: FakeClock) -> None:
    watching = Watching(timed, f"{CONFIGMAPS}?watch=1&resourceVersion=1&timeoutSeconds=60")
    timed.pause()

    def stands_still() -> bool:
        clock.advance(60)
        return any(name.startswith(f"apiserver-{timed.port}-") for name in clock.waiting_threads())

    eventually(stands_still)
    assert not watching.ended
    timed.resume()
    watching.wait_end(30)
    watching.close()


def test_a_later_pause_counts_instead(timed: FakeAPIServer, clock: FakeClock) -> None:
    timed.pause()
    asking = Asking(timed)
    eventually(lambda: any(name.startswith(f"apiserver-{timed.port}-") for name in clock.waiting_threads()))
    timed.pause(5)
    while not asking.codes:
        clock.advance(5)
    assert asking.join() == [200]


def test_a_request_may_pause_the_server_for_all(timed: FakeAPIServer, clock: FakeClock) -> None:
    fault = timed.faults.add(verb="create", pause=30, times=1)
    first = Asking(timed, method="POST", body={"metadata": {"name": "a"}})
    control = Http(timed)
    eventually(lambda: control.get("/_fake").body["paused"])
    assert fault.hits == 1
    second = Asking(timed)
    eventually(lambda: timed.connections == 3)
    control.close()
    assert (first.codes, second.codes) == ([], [])
    assert timed.store.get(("", "configmaps"), "default", "a") is None
    while not (first.codes and second.codes):
        clock.advance(10)
    assert (first.join(), second.join()) == ([201], [200])


def test_a_pause_that_is_over_is_over_whether_somebody_asked_or_not(timed: FakeAPIServer, clock: FakeClock) -> None:
    api = Http(timed)
    timed.pause(60)
    clock.advance(59)
    assert api.get("/_fake").body["paused"] is True
    clock.advance(1)
    assert api.get("/_fake").body["paused"] is False
    api.close()


def test_a_paused_server_can_be_stopped(server: FakeAPIServer) -> None:
    server.pause()
    asking = Asking(server)
    eventually(lambda: server.connections == 1)
    server.stop()
    asking.join()


def test_a_server_that_is_down_refuses_and_comes_up_with_its_data_on_its_port(server: FakeAPIServer, api: Http) -> None:
    api.made(CONFIGMAPS, "a")
    version = api.get(CONFIGMAPS).body["metadata"]["resourceVersion"]
    watching = Watching(server, f"{CONFIGMAPS}?watch=1&resourceVersion={version}")
    port = server.port
    server.go_down()
    server.go_down()
    watching.wait_end(30)
    watching.close()
    api.close()
    with pytest.raises(ConnectionRefusedError):
        api.get(CONFIGMAPS)
    api.close()
    server.come_up()
    server.come_up()
    assert server.port == port
    assert api.get(f"{CONFIGMAPS}/a").status == 200
    assert api.get(CONFIGMAPS).body["metadata"]["resourceVersion"] == version


def test_a_new_process_has_forgotten_its_watch_cache_but_not_what_is_stored(server: FakeAPIServer, api: Http) -> None:
    api.made(CONFIGMAPS, "a")
    before = server.store.version
    api.made(CONFIGMAPS, "b")
    now = server.store.version
    server.restart()
    api.close()
    old = Watching(server, f"{CONFIGMAPS}?watch=1&resourceVersion={before}")
    assert [(e["type"], e["object"]["code"], e["object"]["reason"]) for e in old.wait_end(30)] == [
        ("ERROR", 410, "Expired")
    ]
    listed = api.get(f"{CONFIGMAPS}?resourceVersion={before}&resourceVersionMatch=Exact").body["items"]
    assert [item["metadata"]["name"] for item in listed] == ["a"]
    current = Watching(server, f"{CONFIGMAPS}?watch=1&resourceVersion={now}")
    api.made(CONFIGMAPS, "c")
    assert [name for _, name in (current.wait(1, 30), current.brief)[1]] == ["c"]
    for each in (old, current):
        each.close()


@pytest.mark.parametrize(("more", "exists"), [({}, False), ({"drop": "after"}, True), ({"reset": "before"}, False)])
def test_a_request_may_restart_the_server_before_or_after_its_effect(
    server: FakeAPIServer, api: Http, more: dict[str, Any], exists: bool
) -> None:
    server.faults.add(verb="create", restart=True, times=1, **more)
    with pytest.raises((OSError, http.client.HTTPException)):
        api.post(CONFIGMAPS, {"metadata": {"name": "a"}})
    api.close()

    def status() -> int:
        try:
            return api.get(f"{CONFIGMAPS}/a").status
        except (OSError, http.client.HTTPException):  # still down
            api.close()
            return 0

    # Its restart may come a moment after its connection has ended.
    eventually(lambda: _restarts(api) == 1)
    assert eventually(status) == (200 if exists else 404)


def _restarts(api: Http) -> int:
    try:
        return int(api.get("/_fake").body["restarts"])
    except (OSError, http.client.HTTPException):
        api.close()
        return 0


def test_requests_die_with_the_process_that_had_not_served_them(timed: FakeAPIServer, clock: FakeClock) -> None:
    fault = timed.faults.add(verb="create", delay=60, times=1)
    asking = Asking(timed, method="POST", body={"metadata": {"name": "a"}})
    eventually(lambda: fault.hits == 1)
    clock.wait_for_waiters(1, timed=True, timeout=30)
    timed.restart()
    assert asking.join() == [0]

    def died() -> bool:
        clock.advance(60)
        return len(timed.requests) == 1

    eventually(died)
    assert timed.requests[0].code == 0
    assert timed.store.get(("", "configmaps"), "default", "a") is None


def test_a_request_of_before_pauses_no_new_process(timed: FakeAPIServer, clock: FakeClock) -> None:
    fault = timed.faults.add(verb="list", resource="pods", delay=60, pause=1e9, times=1)
    asking = Asking(timed, PODS)
    eventually(lambda: fault.hits == 1)
    clock.wait_for_waiters(1, timed=True, timeout=30)
    timed.restart()
    assert asking.join() == [0]

    def died() -> bool:
        clock.advance(60)
        return len(timed.requests) == 1

    eventually(died)
    assert Asking(timed).join() == [200]


def test_a_request_that_stalls_dies_with_its_process(server: FakeAPIServer) -> None:
    fault = server.faults.add(verb="list", stall=True)
    asking = Asking(server)
    eventually(lambda: fault.hits == 1)
    server.restart()
    assert asking.join() == [0]
    eventually(lambda: server.connections == 0)
    assert [entry.code for entry in server.requests] == [0]


def test_who_stands_still_says_nothing_more_when_he_goes_down(timed: FakeAPIServer, clock: FakeClock) -> None:
    watching = Watching(timed, f"{CONFIGMAPS}?watch=1&resourceVersion=1")
    timed.pause()
    timed.store.create(
        ("", "configmaps"), "default", "a", {"metadata": {"name": "a", "namespace": "default", "uid": "1"}}
    )
    eventually(lambda: any(name.startswith(f"apiserver-{timed.port}-") for name in clock.waiting_threads()))
    timed.go_down()
    assert watching.wait_end(30) == []
    watching.close()
    timed.come_up()
    assert Asking(timed).join() == [200], "and the new process does not stand still"


def test_a_restart_brings_up_nobody_who_went_down_after_it(timed: FakeAPIServer, clock: FakeClock) -> None:
    thread = threading.Thread(target=timed.restart, args=(30,), name="restarting")
    thread.start()
    eventually(lambda: "restarting" in clock.waiting_threads())
    timed.come_up()
    timed.go_down()
    while thread.is_alive():
        clock.advance(30)
        thread.join(0.02)
    api = Http(timed)
    with pytest.raises(ConnectionRefusedError):
        api.get("/version")
    api.close()
    timed.come_up()
    assert Asking(timed, "/version").join() == [200]


def test_the_time_that_a_restart_takes_is_of_the_servers_clock(timed: FakeAPIServer, clock: FakeClock) -> None:
    thread = threading.Thread(target=timed.restart, args=(30,))
    thread.start()
    api = Http(timed)

    def refused() -> bool:
        try:
            return api.get("/version").status == 0
        except ConnectionRefusedError:
            return True
        except (OSError, http.client.HTTPException):
            return False
        finally:
            api.close()

    eventually(refused)
    while thread.is_alive():
        clock.advance(15)
        thread.join(0.02)
    assert api.get("/version").status == 200
    api.close()


@pytest.mark.parametrize("how", ["thread", "fault", "down"])
def test_a_server_that_is_away_can_be_stopped(how: str) -> None:
    with FakeAPIServer() as server:
        if how == "down":
            server.go_down()
        elif how == "fault":
            fault = server.faults.add(restart=3600)
            asking = Asking(server)
            eventually(lambda: fault.hits == 1)
            asking.join()
        else:
            thread = threading.Thread(target=server.restart, args=(3600,))
            thread.start()
            eventually(lambda: server.connections == 0)
    if how == "thread":
        thread.join(30)
        assert not thread.is_alive()
    server.come_up()
    assert server.connections == 0


def test_a_server_that_was_stopped_stays_so() -> None:
    with FakeAPIServer() as server:
        pass
    server.go_down()
    server.come_up()
    server.restart()
    with socket.socket() as other:
        other.bind(("127.0.0.1", server.port))


def test_a_restart_ends_a_pause(server: FakeAPIServer) -> None:
    server.pause()
    asking = Asking(server)
    eventually(lambda: server.connections == 1)
    server.restart()
    assert asking.join() == [0]
    assert Asking(server).join() == [200]


def test_https_is_struck_and_restarted_as_well() -> None:
    with FakeAPIServer(tls=True, bookmark_interval=0.05) as server, server.client() as client:
        maps = client.resource(GVR("", "v1", "configmaps"), "default")
        maps.create({"metadata": {"name": "a"}})
        server.faults.add(verb="get", reset="before", times=1)
        assert maps.get("a").name == "a", "a read is repeated"
        assert [entry.code for entry in server.requests][-2:] == [0, 200]
        cut = server.faults.add(verb="get", truncate=True, times=1)
        assert maps.get("a").name == "a"
        assert cut.hits == 1
        server.faults.add(verb="watch", at=1, reset="before")
        with maps.watch(resource_version=maps.list().resource_version) as watch:
            maps.create({"metadata": {"name": "b"}})
            with pytest.raises(ConnectionFailed):
                next(event for event in watch if event.type != "BOOKMARK")
        server.restart()
        assert len(maps.list()) == 2


def test_who_is_cut_off_over_tls_does_not_go_on_in_plain_text() -> None:
    ours, theirs = socket.socketpair()
    with ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).wrap_socket(
        ours, server_side=True, do_handshake_on_connect=False
    ) as encrypted:
        listener._shutdown(encrypted)
        with pytest.raises(ssl.SSLError):
            encrypted.do_handshake()
        assert theirs.recv(1) == b"", "it is cut off"
    theirs.close()
