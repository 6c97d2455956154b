"""Checks: what they may do, and what is told of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from runtime.manager import Manager, health
from runtime.manager.health import CheckResult, HealthChecks, NamedCheck, render
from runtime.testing import FakeAPIServer, FakeClock
from tests.support.managers import CONFIGMAPS, ON, configmap, eventually, http, running


class Hanging:
    """A check that hangs until it is let go; counts how often it was begun."""

    def __init__(self) -> None:
        self.begun = 0
        self.go_on = threading.Event()

    def __call__(self) -> None:
        self.begun += 1
        self.go_on.wait(60)


@pytest.fixture
def hanging() -> Iterator[Hanging]:
    check = Hanging()
    yield check
    check.go_on.set()
    eventually(lambda: not [each for each in threading.enumerate() if each.name.startswith("health-check-")])


def test_a_check_needs_a_name_of_its_own() -> None:
    checks = HealthChecks()
    checks.add(NamedCheck("a", lambda: True))
    for name in ("a", "ping", "", "x/y"):
        with pytest.raises(ValueError, match="health check"):
            checks.add(NamedCheck(name, lambda: True))


def test_a_check_needs_time() -> None:
    with pytest.raises(ValueError, match="above 0"):
        NamedCheck("a", lambda: True, 0)


def test_a_check_that_hangs_fails_and_is_not_begun_again(hanging: Hanging, caplog: pytest.LogCaptureFixture) -> None:
    checks = HealthChecks()
    checks.add(NamedCheck("database", hanging, timeout=0.2))
    checks.add(NamedCheck("other", lambda: "fine"))
    for _ in range(3):
        status, text = render("healthz", checks.run(), verbose=False)
        assert status == 500
        assert text == (
            "[+]ping ok\n[-]database failed: did not answer in 0.2 s\n[+]other ok\n    fine\nhealthz check failed\n"
        )
    assert hanging.begun == 1
    assert caplog.text.count("health check does not answer") == 1  # not for each probe
    hanging.go_on.set()
    eventually(lambda: render("healthz", checks.run(), verbose=False) == (200, "ok") and hanging.begun > 1)


def test_who_asks_while_a_check_hangs_is_told_at_once(hanging: Hanging, monkeypatch: pytest.MonkeyPatch) -> None:
    check = NamedCheck("database", hanging, timeout=600)  # longer than a test may take
    wait = check.begin()
    monkeypatch.setattr(health, "_now", lambda: time.monotonic() + 601)
    assert wait() == check.begin()() == CheckResult("did not answer in 600 s")
    assert hanging.begun == 1


def test_checks_run_at_the_same_time() -> None:
    together = threading.Barrier(3)
    checks = HealthChecks()
    for name in "abc":
        checks.add(NamedCheck(name, lambda: together.wait(30) >= 0))
    assert all(result is not None and result.failure is None for result in checks.run().values())


def test_two_who_ask_share_a_run(hanging: Hanging) -> None:
    check = NamedCheck("database", hanging, timeout=30)
    first, second = check.begin(), check.begin()
    hanging.go_on.set()
    assert first() == second()
    assert hanging.begun == 1


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_check_that_ends_its_thread_fails(error: BaseException) -> None:
    def check() -> None:
        raise error

    assert NamedCheck("a", check, 30).begin()().failure is not None


def test_what_is_left_out_is_told() -> None:
    checks = HealthChecks()
    checks.add(NamedCheck("disk", lambda: False))
    asked = ["disk", "nonsense", "more"]
    results = checks.run(exclude=asked)
    assert render("readyz", results, verbose=False, exclude=asked) == (200, "ok")
    status, text = render("readyz", results, verbose=True, exclude=asked)
    assert status == 200
    assert text.splitlines() == [
        "[+]ping ok",
        "[+]disk excluded: ok",
        'warn: some health checks cannot be excluded: no matches for "nonsense", "more"',
        "readyz check passed",
    ]


def test_a_hanging_check_keeps_no_probe_of_others_waiting(hanging: Hanging) -> None:
    with FakeAPIServer() as server, server.client() as client:
        manager = Manager(client, **ON)
        manager.add_health_check("database", hanging, timeout=0.2)
        with running(manager):
            address = eventually(lambda: manager.health_address)
            for path in ("/healthz", "/readyz", "/livez/database"):
                status, text = http(address, path)
                assert (status, "did not answer in 0.2 s" in text) == (500, True)
            assert http(address, "/healthz?exclude=database") == (200, "ok")
            assert hanging.begun == 1  # by all of these together
            hanging.go_on.set()


def test_a_cache_that_nothing_is_heard_of_is_not_fresh() -> None:
    clock = FakeClock()
    with FakeAPIServer() as server, server.client() as client:
        manager = Manager(client, max_cache_age=120, clock=clock, **ON)
        manager.controller("maps").for_(CONFIGMAPS).complete(lambda *_: None)
        with running(manager):
            address = eventually(lambda: manager.health_address)
            informer = manager.informer(CONFIGMAPS)
            eventually(lambda: informer.sync_state.connected)
            assert http(address, "/readyz/fresh-caches") == (200, "ok")
            clock.advance(119)
            assert http(address, "/readyz/fresh-caches") == (200, "ok")
            client.resource(CONFIGMAPS, "default").create(configmap("a"))
            eventually(lambda: informer.sync_state.contact_age == 0)
            clock.advance(119)
            assert http(address, "/readyz/fresh-caches") == (200, "ok")
            server.faults.add(resource="configmaps", status=500)
            clock.advance(2)
            status, text = http(address, "/readyz")
            assert status == 500
            assert "[-]fresh-caches failed: configmaps.v1: nothing heard of it for 121 s, " in text
            assert "[+]caches ok" in text
            assert http(address, "/healthz") == (200, "ok")
            server.faults.clear()
            server.faults.add(resource="configmaps", status=403)  # it is needed: no reason to do without it
            _cut_until(lambda: informer.refused == 403, server, clock)
            assert http(address, "/readyz/fresh-caches")[0] == 500
            server.faults.clear()
            _cut_until(lambda: (informer.sync_state.contact_age or 0.0) < 100, server, clock)
            eventually(lambda: http(address, "/readyz/fresh-caches") == (200, "ok"))


def _cut_until(met: Callable[[], bool], server: FakeAPIServer, clock: FakeClock) -> None:
    """Cut the watch, and let the time of its back-off pass."""
    server.close_connections()

    def look() -> bool:
        clock.advance(1)
        return met()

    eventually(look)
