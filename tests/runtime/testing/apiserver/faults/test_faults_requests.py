"""What faults do to requests, seen by a client that hides nothing."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.testing import FakeAPIServer, FakeClock
from tests.runtime.testing.apiserver.apiserver_helpers import CONFIGMAPS, Http
from tests.support.waiting import eventually

GONE = (http.client.RemoteDisconnected, ConnectionResetError)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def timed(clock: FakeClock) -> Iterator[FakeAPIServer]:
    """A server whose time only the test moves."""
    with FakeAPIServer(clock=clock) as server:
        yield server


def test_who_asks_is_known_to_faults(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.csv"
    tokens.write_text("t1,alice,1,dev\nt2,bob,2\n")
    with FakeAPIServer(token_auth_file=tokens) as server:
        api = Http(server)

        def get(token: str) -> int:
            return api("GET", f"{CONFIGMAPS}/none", headers={"Authorization": f"Bearer {token}"}).status

        fault = server.faults.add(user="alice", status=503)
        assert [get("t1"), get("t2")] == [503, 404]
        assert [entry.fault for entry in server.requests] == [fault.id, ""]
        server.faults.clear()
        server.faults.add(lambda asked: "dev" in asked.groups, status=502)
        assert [get("t1"), get("t2"), get("wrong")] == [502, 404, 401]
        server.faults.clear()
        server.faults.add(user="", status=500)
        assert [get("t1"), get("wrong")] == [404, 500], "those who are not recognized have no name"
        api.close()


def test_a_predicate_that_fails_is_told(server: FakeAPIServer, api: Http, caplog: pytest.LogCaptureFixture) -> None:
    server.faults.add(lambda asked: asked.query["limit"] == "5", status=503)
    assert api.get(f"{CONFIGMAPS}?limit=5").status == 503
    answer = api.get(CONFIGMAPS)
    assert (answer.status, answer.body["reason"]) == (500, "InternalError")
    assert "the predicate of a fault failed: KeyError: 'limit'" in answer.body["message"]
    assert "Traceback" in caplog.text


def test_a_retry_after_comes_as_header_and_detail(server: FakeAPIServer, api: Http) -> None:
    server.faults.add(status=503, retry_after=7, reason="ServiceUnavailable", message="busy", times=1)
    answer = api.get(CONFIGMAPS)
    assert (answer.status, answer.headers["retry-after"]) == (503, ["7"])
    assert answer.body["details"] == {"retryAfterSeconds": 7}
    assert (answer.body["reason"], answer.body["message"]) == ("ServiceUnavailable", "busy")


@pytest.mark.parametrize(("when", "status"), [("before", 404), ("after", 200)])
@pytest.mark.parametrize("how", ["drop", "reset"])
def test_connections_that_are_closed_or_reset(
    server: FakeAPIServer, api: Http, how: str, when: str, status: int
) -> None:
    server.faults.load({"verb": "create", how: when, "times": 1})
    expected: type[BaseException] = ConnectionResetError
    if how == "drop":
        expected = http.client.RemoteDisconnected
    with pytest.raises(expected) as raised:
        api.post(CONFIGMAPS, {"metadata": {"name": "a"}})
    if how == "reset":
        assert raised.type is ConnectionResetError, "an orderly close is no reset"
    api.close()
    assert api.get(f"{CONFIGMAPS}/a").status == status
    assert [entry.code for entry in server.requests] == [0, status]


def test_an_answer_that_is_cut_says_how_long_it_should_have_been(server: FakeAPIServer, api: Http) -> None:
    api.made(CONFIGMAPS, "a", data={"k": "v" * 1000})
    server.faults.add(verb="get", truncate=True, times=1)
    with pytest.raises(http.client.IncompleteRead) as raised:
        api.get(f"{CONFIGMAPS}/a")
    assert 0 < len(raised.value.partial) < 1000
    api.close()
    assert api.get(f"{CONFIGMAPS}/a").status == 200


def test_an_answer_without_a_body_is_cut_in_its_head(server: FakeAPIServer) -> None:
    server.faults.add(path="/healthz", truncate=True)
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as sock:
        sock.sendall(b"HEAD /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        data = b""
        while part := sock.recv(4096):
            data += part
    assert data.startswith(b"HTTP/1.1 200")
    assert b"\r\n\r\n" not in data


def test_a_delay_is_of_the_servers_clock(timed: FakeAPIServer, clock: FakeClock) -> None:
    fault = timed.faults.add(verb="get", delay=3600)
    api, codes = Http(timed), list[int]()
    thread = threading.Thread(target=lambda: codes.append(api.get(f"{CONFIGMAPS}/a").status))
    thread.start()
    eventually(lambda: fault.hits == 1)
    clock.wait_for_waiters(1, timed=True, timeout=30)
    assert codes == []
    while thread.is_alive():  # others may wait in this clock, too
        clock.advance(1800)
        thread.join(0.01)
    assert codes == [404]
    api.close()


@pytest.mark.parametrize("end", ["remove", "clear", "replace"])
def test_a_request_that_stalls_is_answered_once_the_fault_is_gone(server: FakeAPIServer, end: str) -> None:
    fault = server.faults.add(verb="get", stall=True)
    api, codes = Http(server), list[int]()
    thread = threading.Thread(target=lambda: codes.append(api.get(f"{CONFIGMAPS}/a").status))
    thread.start()
    eventually(lambda: fault.hits == 1)
    assert codes == []
    if end == "remove":
        server.faults.remove(fault)
    elif end == "clear":
        server.faults.clear()
    else:
        server.faults.replace([{"verb": "get", "status": 503}])
    thread.join(30)
    assert codes == [404]
    api.close()


def test_a_stall_for_some_seconds_ends_by_itself(timed: FakeAPIServer, clock: FakeClock) -> None:
    fault = timed.faults.add(verb="get", stall=60)
    api, codes = Http(timed), list[int]()
    thread = threading.Thread(target=lambda: codes.append(api.get(f"{CONFIGMAPS}/a").status))
    thread.start()
    eventually(lambda: fault.hits == 1)
    while thread.is_alive():
        clock.advance(30)
        thread.join(0.05)
    assert codes == [404]
    assert len(timed.faults) == 1
    api.close()


@pytest.mark.parametrize("fault", [{"stall": True}, {"delay": 3600}, {"delay": 3600, "pause": 3600}])
def test_a_server_that_stops_waits_for_nothing(fault: dict[str, object]) -> None:
    with FakeAPIServer(faults=[{"verb": "get", **fault}]) as server:
        api = Http(server)

        def ask() -> None:
            with pytest.raises((OSError, http.client.HTTPException)):
                api.get(f"{CONFIGMAPS}/a")

        thread = threading.Thread(target=ask)
        thread.start()
        eventually(lambda: [each.hits for each in server.faults] == [1])
        server.stop()
    thread.join(30)
    assert not thread.is_alive()
    api.close()


# -- compaction


def test_a_compaction_between_two_pages_expires_the_second(server: FakeAPIServer, api: Http) -> None:
    for name in "abc":
        api.made(CONFIGMAPS, name)
    server.faults.add(verb="list", compact=True, query={"continue": "?*"}, times=1)
    first = api.get(f"{CONFIGMAPS}?limit=2").body
    second = api.get(f"{CONFIGMAPS}?limit=2&continue={first['metadata']['continue']}")
    assert (second.status, second.body["reason"]) == (410, "Expired")
    rest = api.get(f"{CONFIGMAPS}?limit=2&continue={second.body['metadata']['continue']}")
    assert [item["metadata"]["name"] for item in rest.body["items"]] == ["c"]


# -- a replica that lags behind


def names(api: Http, query: str) -> list[str]:
    answer = api.get(f"{CONFIGMAPS}?{query}")
    assert answer.status == 200, answer
    return [item["metadata"]["name"] for item in answer.body["items"]]


def test_a_replica_shows_what_was_when_the_fault_was_made(server: FakeAPIServer, api: Http) -> None:
    api.made(CONFIGMAPS, "a")
    then = server.store.version
    api.made(CONFIGMAPS, "b")
    fault = server.faults.add(stale=True)
    now = server.store.version
    api.delete(f"{CONFIGMAPS}/b")
    api.made(CONFIGMAPS, "c")
    assert names(api, "resourceVersion=0") == ["a", "b"]
    assert names(api, f"resourceVersion={then}&resourceVersionMatch=NotOlderThan") == ["a", "b"]
    assert api.get(f"{CONFIGMAPS}?resourceVersion=0").body["metadata"]["resourceVersion"] == str(now)
    assert api.get(f"{CONFIGMAPS}/b?resourceVersion=0").status == 200
    assert api.get(f"{CONFIGMAPS}/c?resourceVersion=0").status == 404
    assert fault.hits == 5
    # What it must not answer from what it happens to have.
    newest = server.store.version
    assert names(api, "") == ["a", "c"]
    assert names(api, "limit=5") == ["a", "c"]
    assert names(api, f"resourceVersion={newest}&limit=5") == ["a", "c"]
    assert names(api, f"resourceVersion={newest}&resourceVersionMatch=Exact") == ["a", "c"]
    assert api.get(f"{CONFIGMAPS}/b").status == 404
    assert fault.hits == 5
    # And what it does not know yet.
    behind = api.get(f"{CONFIGMAPS}?resourceVersion={newest}")
    assert behind.status == 504
    assert behind.body["details"]["causes"][0]["reason"] == "ResourceVersionTooLarge"
    server.faults.clear()
    assert names(api, "resourceVersion=0") == ["a", "c"]


def test_a_replica_lags_so_many_changes_behind_but_not_before_what_is_remembered(
    server: FakeAPIServer, api: Http
) -> None:
    for name in "abcd":
        api.made(CONFIGMAPS, name)
    server.faults.add(stale=1, times=1)
    server.faults.add(stale=3, times=1)
    server.faults.add(stale=1000, times=1)
    assert names(api, "resourceVersion=0") == ["a", "b", "c"]
    assert names(api, "resourceVersion=0") == ["a"]
    assert names(api, "resourceVersion=0") == []
    server.compact()
    server.faults.add(stale=1000)
    assert names(api, "resourceVersion=0") == ["a", "b", "c", "d"]


# -- a clock that is wrong


def test_a_wrong_clock_shows_in_what_it_stamps(timed: FakeAPIServer, clock: FakeClock) -> None:
    api = Http(timed)
    now = clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")
    timed.faults.add(verb="create", skew=-3600, times=1)
    skewed = api.post(CONFIGMAPS, {"metadata": {"name": "a"}})
    assert skewed.body["metadata"]["creationTimestamp"] == "2029-12-31T23:00:00Z"
    assert skewed.headers["date"] == ["Mon, 31 Dec 2029 23:00:00 GMT"]
    assert api.made(CONFIGMAPS, "b")["metadata"]["creationTimestamp"] == now
    timed.skew = 86400
    assert timed.skew == 86400
    later = api.post(CONFIGMAPS, {"metadata": {"name": "c"}})
    assert later.body["metadata"]["creationTimestamp"] == "2030-01-02T00:00:00Z"
    assert later.headers["date"] == ["Wed, 02 Jan 2030 00:00:00 GMT"]
    timed.faults.add(skew=3600)
    both = api.made(CONFIGMAPS, "d")
    assert both["metadata"]["creationTimestamp"] == "2030-01-02T01:00:00Z"
    assert clock.monotonic() == 0, "time is measured as before"
    timed.faults.clear()
    timed.faults.add(status=503, skew=3600, times=1)
    timed.faults.add(status=503)
    dates = [api.get(CONFIGMAPS).headers["date"] for _ in range(2)]
    assert dates == [["Wed, 02 Jan 2030 01:00:00 GMT"], ["Wed, 02 Jan 2030 00:00:00 GMT"]], "errors have a date, too"
    with pytest.raises(ValueError, match="a skew is from -946080000 to 946080000 seconds"):
        timed.skew = 1e12
    timed.skew = -946080000
    timed.faults.replace([{"skew": -946080000}])
    assert api.get(CONFIGMAPS).headers["date"] == ["Fri, 16 Jan 1970 00:00:00 GMT"]
    api.close()


def test_the_same_seed_strikes_the_same_requests_however_threads_interleave() -> None:
    def codes() -> dict[str, list[int]]:
        """By client."""
        with FakeAPIServer(seed=5, faults=[{"probability": 0.3, "status": 503}]) as server:

            def ask(agent: str) -> None:
                api = Http(server)
                for number in range(40):
                    api("GET", f"{CONFIGMAPS}/c{number % 3}", headers={"User-Agent": agent})
                api.close()

            threads = [threading.Thread(target=ask, args=(f"agent-{number}",)) for number in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            found: dict[str, list[int]] = {}
            for entry in server.requests:
                found.setdefault(entry.user_agent, []).append(entry.code)
            return found

    first = codes()
    assert len({tuple(each) for each in first.values()}) == 4, "each client has its own luck"
    assert codes() == first
