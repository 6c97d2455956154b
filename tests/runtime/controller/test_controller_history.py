"""The latest runs of each object, within bounds."""

from __future__ import annotations

import threading

import pytest

from runtime.controller.history import OBJECTS, RUNS, History, Run
from runtime.types import Request, TerminalError


def request(number: int) -> Request:
    return Request("default", f"object-{number}")


def failed(started: float, error: BaseException | None = None) -> Run:
    return Run.failed(started, 0.5, "error", error or ValueError("no"), "id")


def test_the_last_runs_of_an_object_are_kept_the_oldest_first() -> None:
    history = History()
    for number in range(RUNS + 3):
        history.add(request(1), Run(number, 0.1, "success"))
    assert [run.started for run in history.runs(request(1))] == list(range(3, RUNS + 3))
    assert history.runs(request(2)) == []
    assert len(history) == 1


def test_what_fails_is_not_forgotten_because_others_are_busy() -> None:
    history = History()
    history.add(request(0), failed(0))
    for number in range(1, 2 * OBJECTS):
        history.add(request(number), Run(number, 0.1, "success"))
    assert history.runs(request(0))
    assert not history.runs(request(1))
    assert len(history) == OBJECTS + 1
    assert history.latest()[0] == request(2 * OBJECTS - 1)
    assert history.latest()[-1] == request(0)


def test_of_what_fails_only_so_many_are_kept_those_that_ran_last() -> None:
    history = History()
    for number in range(OBJECTS):
        history.add(request(number), failed(number))
    history.add(request(0), failed(OBJECTS))
    history.add(request(OBJECTS), failed(OBJECTS + 1))
    assert len(history) == OBJECTS
    assert history.runs(request(0))
    assert not history.runs(request(1))


def test_an_object_fails_since_the_first_run_that_none_has_mended() -> None:
    history = History()
    assert history.failing_since(request(1)) is None
    for number in range(RUNS + 5):
        history.add(request(1), failed(100.0 + number))
    assert history.failing_since(request(1)) == 100.0  # which is not among the runs any more
    history.add(request(1), Run(200, 0.1, "requeue_after"))
    assert history.failing_since(request(1)) is None
    history.add(request(1), failed(300))
    assert history.failing_since(request(1)) == 300.0
    assert len(history) == 1


def test_an_error_that_repeats_is_one_text() -> None:
    history = History()
    for number in range(3):
        history.add(
            request(1), failed(number, ValueError("x" * number + "y" * (10 - number) if number < 1 else "same"))
        )
    _, first, second = (run.error for run in history.runs(request(1)))
    assert first == "ValueError: same"
    assert first is second


@pytest.mark.parametrize(
    ("error", "result", "text"),
    [
        (ValueError("no"), "error", "ValueError: no"),
        (TerminalError("never"), "terminal_error", "TerminalError: never"),
        (ValueError("x" * 5000), "error", "ValueError: " + "x" * 988 + "..."),
    ],
)
def test_how_a_run_failed(error: Exception, result: str, text: str) -> None:
    run = failed(0, error)
    assert (run.result, run.error) == (result, text)


def test_a_run_that_the_shutdown_cancelled_is_no_terminal_one() -> None:
    assert Run.failed(0, 0, "cancelled", TerminalError("x"), "id").result == "cancelled"


def test_durations_are_told_once_and_of_many_the_latest() -> None:
    history = History()
    for number in range(1200):
        history.add(request(number % 3), Run(0, number, "success"))
    assert list(history.take_durations()) == list(range(200, 1200))
    assert list(history.take_durations()) == []


def test_threads_lose_nothing() -> None:
    history = History()

    def run(thread: int) -> None:
        for number in range(200):
            which = request(thread)
            history.add(which, failed(number) if number % 3 else Run(number, 0.1, "success"))
            history.latest()

    threads = [threading.Thread(target=run, args=(number,), name=f"history-{number}") for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(history) == 4
    assert len(list(history.take_durations())) == 800
    assert all([run.started for run in history.runs(request(n))] == list(range(190, 200)) for n in range(4))
