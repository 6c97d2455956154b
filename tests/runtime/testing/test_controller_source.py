"""FakeControllerSource by itself: what it shows to lists and watches, and its faults (T5)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from runtime import GVR
from runtime.client import ApiError, ConnectionFailed, Expired, IdleTimeout, ServerTimeout, TooManyRequests
from runtime.informer import SharedIndexInformer, WatchStream
from runtime.testing import FakeClock, FakeControllerSource, SourceRequest
from tests.support.waiting import eventually

DOCS = Path(__file__).resolve().parents[3] / "docs"


def thing(name: str, **body: Any) -> dict[str, Any]:
    return {"metadata": {"namespace": "ns", "name": name}, **body}


def watching(
    source: FakeControllerSource, version: str, *, initial: bool = False, idle_timeout: float | None = None
) -> Iterator[list[bytes]]:
    return iter(
        source.watch(
            resource_version=version, timeout_seconds=300, send_initial_events=initial, idle_timeout=idle_timeout
        )
    )


def told(lines: list[bytes]) -> list[tuple[str, str, str]]:
    events = [orjson.loads(line) for line in lines]
    return [(e["type"], e["object"]["metadata"].get("name", ""), e["object"]["metadata"]["resourceVersion"])
            for e in events]  # fmt: skip


def listed(source: FakeControllerSource, version: str = "", limit: int = 0) -> list[tuple[list[str], str]]:
    """The pages of a list: names and version."""
    pages: list[tuple[list[str], str]] = []
    token = ""
    while not pages or token:
        page = source.list_page(resource_version=version, limit=limit, continue_token=token)
        pages.append(([obj.name for obj in page.objects], page.resource_version))
        token = page.continue_token
    return pages


def test_every_change_has_the_next_version_and_is_told() -> None:
    """T5, and against T2: a deletion has a version, too."""
    source = FakeControllerSource([thing("a")])
    lines = watching(source, source.resource_version)
    assert source.modify(thing("a", data={"x": "1"})).resource_version == "3"
    assert source.add(thing("b")).resource_version == "4"
    assert source.delete("ns/a").resource_version == "5"
    assert told(next(lines)) == [("MODIFIED", "a", "3"), ("ADDED", "b", "4"), ("DELETED", "a", "5")]
    assert listed(source) == [(["b"], "5")]
    assert source.resource_version == "5"


def test_a_watch_replays_what_came_after_its_version() -> None:
    """T3: nothing between a list and its watch is lost, deletions included."""
    source = FakeControllerSource([thing("a"), thing("b")])
    source.delete("ns/a")
    source.add(thing("a"))
    assert told(next(watching(source, "3"))) == [("DELETED", "a", "4"), ("ADDED", "a", "5")]
    assert told(next(watching(source, ""))) == [("ADDED", "a", "5"), ("ADDED", "b", "3")]


def test_a_lost_event_reaches_no_open_watch() -> None:
    source = FakeControllerSource([thing("a"), thing("b")])
    lines = watching(source, "3")
    source.add_drop_watch(thing("c"))
    source.modify_drop_watch(thing("a"))
    source.delete_drop_watch("ns/b")
    source.bookmark()
    assert told(next(lines)) == [("BOOKMARK", "", "6")]
    assert listed(source) == [(["a", "c"], "6")]
    assert [entry[1] for entry in told(next(watching(source, "3")))] == ["c", "a", "b"]


@pytest.mark.parametrize("at_start", [True, False])
def test_a_forgotten_version_is_answered_410(at_start: bool) -> None:
    """T5: after a reset whatever was shown before is too old; the present version is not."""
    source = FakeControllerSource([thing("a")], expire_at_start=at_start)
    seen = source.resource_version
    before = watching(source, seen)
    source.reset_watch()
    with pytest.raises(StopIteration):
        next(before)
    if at_start:
        with pytest.raises(Expired):
            watching(source, seen)
    else:
        (line,) = next(watching(source, seen))
        assert orjson.loads(line)["object"]["code"] == 410
    source.add(thing("b"))
    assert told(next(watching(source, "3"))) == [("ADDED", "b", "4")]


def test_pages_show_one_moment_until_history_is_forgotten() -> None:
    source = FakeControllerSource([thing(name) for name in "abcde"])
    first = source.list_page(resource_version="", limit=2, continue_token="")
    source.delete("ns/c")
    second = source.list_page(resource_version="", limit=2, continue_token=first.continue_token)
    assert [obj.name for obj in second.objects] == ["c", "d"]
    assert second.resource_version == first.resource_version == "6"
    source.reset_watch()
    with pytest.raises(Expired):
        source.list_page(resource_version="", limit=2, continue_token=second.continue_token)


def test_a_watch_cache_answers_version_0_whole() -> None:
    cached, uncached = (FakeControllerSource([thing(n) for n in "abc"], watch_cache=on) for on in (True, False))
    assert [len(names) for names, _ in listed(cached, "0", 2)] == [3]
    assert [len(names) for names, _ in listed(uncached, "0", 2)] == [2, 1]
    assert [len(names) for names, _ in listed(cached, "", 2)] == [2, 1]


def test_the_initial_state_as_a_stream() -> None:
    source = FakeControllerSource([thing("b"), thing("a")])
    lines = next(watching(source, "", initial=True))
    assert told(lines) == [("ADDED", "a", "3"), ("ADDED", "b", "2"), ("BOOKMARK", "", "3")]
    assert orjson.loads(lines[-1])["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
    source.ends_initial_events = False
    stream = watching(source, "", initial=True)
    source.delete("ns/a")
    source.bookmark(initial_events_end="true")
    assert [entry[0] for entry in told(next(stream))] == ["ADDED", "ADDED", "DELETED", "BOOKMARK"]
    with pytest.raises(ApiError, match="sendInitialEvents"):
        watching(FakeControllerSource(watch_list=False), "", initial=True)


def test_a_version_from_the_future_is_refused_after_a_restore() -> None:
    """R7: what a client saw between backup and restore never happened."""
    source = FakeControllerSource([thing("a")])
    backup = source.backup()
    source.delete("ns/a")
    lines = watching(source, "3")
    source.restore(backup)
    with pytest.raises(ConnectionFailed):
        next(lines)
    assert listed(source) == [(["a"], "2")]
    for ask in (lambda: watching(source, "3"), lambda: listed(source, "3")):
        with pytest.raises(ServerTimeout) as raised:
            ask()
        assert [cause.reason for cause in raised.value.causes] == ["ResourceVersionTooLarge"]


def test_a_real_server_is_silent_until_it_reaches_a_version_from_the_future() -> None:
    source = FakeControllerSource([thing("a")], refuse_future=False)
    lines = watching(source, "4")
    source.bookmark(3)
    source.add(thing("b"))
    source.bookmark()
    source.add(thing("c"))
    assert told(next(lines)) == [("BOOKMARK", "", "4"), ("ADDED", "c", "5")]


def test_a_stalled_watch_says_nothing_until_it_is_given_up_or_resumed() -> None:
    clock = FakeClock()
    source = FakeControllerSource(clock=clock)
    first, second = watching(source, "1", idle_timeout=30), watching(source, "1")
    source.stall()
    source.add(thing("a"))
    source.drop_watches()
    raised: list[type[Exception]] = []

    def read() -> None:
        try:
            next(first)
        except Exception as error:
            raised.append(type(error))

    reader = threading.Thread(target=read)
    reader.start()
    clock.wait_for_waiters(1, timed=True)
    clock.advance(30)
    reader.join()
    assert raised == [IdleTimeout]
    source.resume()
    assert told(next(second)) == [("ADDED", "a", "2")]
    assert next(second, None) is None
    assert told(next(watching(source, "1"))) == [("ADDED", "a", "2")], "a new connection works"


def test_the_server_ends_a_watch_after_its_time() -> None:
    clock = FakeClock()
    lines = watching(FakeControllerSource(clock=clock), "1")
    clock.advance(300)
    assert next(lines, None) is None


def test_failures_strike_as_often_as_asked_for_and_are_logged() -> None:
    source = FakeControllerSource()
    source.fail("list", status=429, reason="TooManyRequests", retry_after=7, times=2)
    source.fail("watch", error=ConnectionFailed("refused", sent=False), match=lambda ask: ask.send_initial_events)
    for _ in range(2):
        with pytest.raises(TooManyRequests) as raised:
            listed(source)
        assert raised.value.retry_after == 7
    assert listed(source) == [([], "1")]
    watching(source, "1")
    with pytest.raises(ConnectionFailed):
        watching(source, "", initial=True)
    assert [ask.verb for ask in source.requests] == ["list"] * 3 + ["watch"] * 2
    assert source.asked("watch")[1] == SourceRequest("watch", timeout_seconds=300, send_initial_events=True)
    source.fail(times=None)
    source.heal()
    listed(source)


def test_an_error_event_ends_the_watch_and_any_line_may_be_sent() -> None:
    source = FakeControllerSource()
    lines = watching(source, "1")
    source.send_line(b"nonsense")
    source.send_error(500, "InternalError", "etcd is away", retry_after=2)
    nonsense, error = next(lines)
    assert nonsense == b"nonsense"
    status = orjson.loads(error)["object"]
    assert (status["code"], status["message"], status["details"]) == (500, "etcd is away", {"retryAfterSeconds": 2})
    assert next(lines, None) is None


def test_a_hook_sees_each_request_first_and_may_change_the_content() -> None:
    source = FakeControllerSource()
    source.on_request = lambda ask: source.add(thing("a")) if ask.verb == "list" else None
    assert listed(source) == [(["a"], "2")]


def test_a_get_answers_one_object() -> None:
    source = FakeControllerSource([thing("a", data={"x": "1"})])
    found = source.fetch("ns", "a")
    assert found is not None
    assert found.to_dict() == source.objects["ns/a"].to_dict()
    assert source.fetch("ns", "b") is None


def test_an_exact_version_is_the_present_one_or_gone() -> None:
    source = FakeControllerSource([thing("a"), thing("b")])

    def at(version: str) -> list[str]:
        page = source.list_page(resource_version=version, limit=0, continue_token="", resource_version_match="Exact")
        return [obj.name for obj in page.objects]

    assert at("3") == ["a", "b"]
    with pytest.raises(Expired):
        at("2")


def test_mistakes_of_a_script_are_refused() -> None:
    source = FakeControllerSource([thing("a")])
    wrong: list[Callable[[], object]] = [
        lambda: source.add(thing("a")),
        lambda: source.modify(thing("b")),
        lambda: source.delete("ns/b"),
        lambda: source.modify({"metadata": {"namespace": "ns", "name": "a", "uid": "other"}}),
        lambda: source.add({"kind": "Secret", **thing("c")}),
        lambda: source.add({"metadata": {"namespace": "ns"}}),
        lambda: source.bookmark(1),
    ]
    for mistake in wrong:
        with pytest.raises(ValueError, match=r"."):
            mistake()
    assert listed(source) == [(["a"], "2")]


def test_a_closed_watch_ends_for_the_thread_that_reads_it() -> None:
    source = FakeControllerSource()
    stream: WatchStream = source.watch(resource_version="1", timeout_seconds=0, send_initial_events=False)
    ended = threading.Thread(target=lambda: list(stream))
    ended.start()
    eventually(lambda: source.caught_up)
    assert source.watches == 1
    stream.close()
    stream.close()
    ended.join()
    assert source.watches == 0


def test_an_informer_follows_it() -> None:
    source = FakeControllerSource([thing("a")])
    informer = SharedIndexInformer(source, GVR("", "v1", "configmaps"))
    informer.start()
    source.modify(thing("a", data={"colour": "red"}))
    source.wait_until_caught_up()
    assert {obj.key: obj.to_dict() for obj in informer.indexer.list()} == {
        key: obj.to_dict() for key, obj in source.objects.items()
    }
    informer.stop()
    informer.join()
    assert source.watches == 0
    with pytest.raises(TimeoutError, match="0 watches open"):
        source.wait_until_caught_up(0.01)
    again = SharedIndexInformer(source, GVR("", "v1", "configmaps"))
    again.start()
    assert again.wait_until(source.resource_version, timeout=15), "a source outlives its readers"
    again.stop()
    again.join()


def test_the_examples_of_the_guide_run() -> None:
    guide = (DOCS / "testing.md").read_text()
    examples = [block.split("```")[0] for block in guide.split("```python\n")[1:]]
    assert examples
    for example in examples:
        exec(compile(example, "docs/testing.md", "exec"), {"__name__": "example"})
