"""A server that refuses the collection: what the informer says of it, and how it is told that it may try again."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable

import pytest

from runtime.informer import SharedIndexInformer
from runtime.testing import FakeClock
from tests.runtime.informer.informer_support import Handler, Script, listing, obj, status, synced, until

Make = Callable[..., SharedIndexInformer]


class Never:
    """A back-off that only a hurry ends."""

    def next(self) -> float:
        return 1e6


@pytest.mark.parametrize(("code", "reason"), [(403, "Forbidden"), (404, "NotFound")])
def test_a_hurry_ends_the_wait_after_a_failure(script: Script, scripted: Make, code: int, reason: str) -> None:
    clock = FakeClock()
    script.then_list = status(code, reason)
    informer = scripted(clock=clock, backoff=Never, idle_timeout=None)
    for tries in (1, 2):
        until(lambda n=tries: len(script.asked_lists) == n)  # type: ignore[misc]
        clock.wait_for_waiters(timed=True)
        assert informer.refused == informer.sync_state.refused == code
        if tries == 2:
            script.lists.append(listing(10, obj("a", 1)))
        informer.hurry()
    synced(informer)
    until(lambda: informer.sync_state.connected)
    assert informer.refused == 0
    assert len(script.asked_lists) == 3


@pytest.mark.parametrize(("optional", "level"), [(True, "info"), (False, "warning")])
@pytest.mark.parametrize(("code", "reason"), [(403, "Forbidden"), (404, "NotFound")])
def test_what_may_be_missing_is_no_cause_for_a_warning(
    script: Script,
    scripted: Make,
    caplog: pytest.LogCaptureFixture,
    code: int,
    reason: str,
    optional: bool,
    level: str,
) -> None:
    clock = FakeClock()
    script.then_list = status(code, reason)
    with caplog.at_level("INFO", logger="runtime.informer"):
        scripted(clock=clock, backoff=Never, idle_timeout=None, optional=optional)
        clock.wait_for_waiters(timed=True)
    (record,) = (record for record in caplog.records if "list or watch failed" in record.getMessage())
    assert record.levelname.lower() == level


def test_a_hurry_while_nothing_fails_does_not_shorten_a_later_wait(script: Script, scripted: Make) -> None:
    clock = FakeClock()
    script.lists.append(listing(10, obj("a", 1)))
    informer = synced(scripted(clock=clock, backoff=Never, idle_timeout=None))
    until(lambda: informer.sync_state.connected)
    informer.hurry()
    for connection in script.connections:
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
    clock.wait_for_waiters(timed=True)  # it ended at once and empty, so a list is due after a wait
    assert not informer.sync_state.connected
    asked = len(script.asked)
    clock.advance(1e6 - 1)
    clock.wait_for_waiters(timed=True)
    assert len(script.asked) == asked


def test_a_stop_ends_the_wait_too(script: Script, scripted: Make) -> None:
    clock = FakeClock()
    script.then_list = status(403, "Forbidden")
    informer = scripted(clock=clock, backoff=Never, idle_timeout=None)
    clock.wait_for_waiters(timed=True)
    informer.stop()
    informer.join()


def test_what_says_nothing_of_the_resource_is_no_refusal(script: Script, scripted: Make) -> None:
    """A server that is down, or does not speak HTTP, says nothing."""

    def nonsense(handler: Handler) -> None:
        handler.wfile.write(b"nonsense\r\n\r\n")

    script.then_list = nonsense
    informer = scripted(backoff=Never)
    until(lambda: informer.sync_state.last_error)
    assert informer.refused == 0


def test_a_failure_that_lasts_is_logged_once_and_again_when_it_changes(
    script: Script, scripted: Make, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "runtime.informer")
    script.then_list = script.then_watch = status(403, "Forbidden")
    informer = scripted(watch_list=True)
    until(lambda: len(script.asked_lists) >= 5)
    script.then_list = status(500, "InternalError")
    until(lambda: "500" in (informer.sync_state.last_error or ""))
    tried = len(script.asked_lists)
    until(lambda: len(script.asked_lists) >= tried + 5)
    script.then_list = listing(10, obj("a", 1))
    synced(informer)
    messages = [record.getMessage() for record in caplog.records]
    assert len([text for text in messages if "list or watch failed" in text and "403" in text]) == 1
    assert len([text for text in messages if "list or watch failed" in text and "500" in text]) == 1
    assert len([text for text in messages if "no watch-list here" in text]) == 1


def test_a_failure_that_lasts_is_logged_again_after_ten_minutes(
    script: Script, scripted: Make, caplog: pytest.LogCaptureFixture
) -> None:
    class Minutes:
        def next(self) -> float:
            return 60.0

    clock = FakeClock()
    script.then_list = status(403, "Forbidden")
    scripted(clock=clock, backoff=Minutes, idle_timeout=None)
    for tries in range(1, 12):
        until(lambda n=tries: len(script.asked_lists) == n)  # type: ignore[misc]
        clock.wait_for_waiters(timed=True)
        told = [record for record in caplog.records if "list or watch failed" in record.getMessage()]
        assert len(told) == (1 if tries <= 10 else 2)
        clock.advance(60.0)
    assert told[1].fields["failing_for"] == 600.0  # type: ignore[attr-defined]
