"""Campaigns of one and of two candidates (L1 to L16), in the time of a fake clock."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from runtime.client import ApiError, Unstructured
from runtime.leaderelection import LEASES, LeaderElector, LeaseLock, unique_identity
from runtime.testing import FakeAPIServer, FakeClock
from tests.runtime.leaderelection.leaderelection_support import Campaign, eventually

Lease = Callable[[], Unstructured]

LONG_AGO = "2001-01-01T00:00:00.000000Z"
LONGEST_RETRY = 4.4  # seconds between a candidate's tries: 2 * (1 + 1.2)


def spec(lease: Lease) -> dict[str, Any]:
    found: dict[str, Any] = lease()["spec"]
    return found


def lease_calls(server: FakeAPIServer) -> list[str]:
    return [entry.verb for entry in server.requests if entry.resource == "leases"]


def put_lease(server: FakeAPIServer, **spec: object) -> None:
    lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "test"}, "spec": spec}
    server.client().resource(LEASES, namespace="default").create(lease)


# ---- winning


def test_the_first_candidate_creates_the_lease_and_leads(campaign: Campaign, lease: Lease, clock: FakeClock) -> None:
    a = campaign("a")
    a.leads()
    stamp = clock.now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    assert spec(lease) == {
        "holderIdentity": "a",
        "leaseDurationSeconds": 15,
        "acquireTime": stamp,
        "renewTime": stamp,
        "leaseTransitions": 0,
    }
    assert a.elector.leader == "a"
    eventually(lambda: a.leaders == ["a"])


def test_fractions_of_a_lease_are_rounded_up(campaign: Campaign, lease: Lease) -> None:
    campaign("a", lease_duration=2.1, renew_deadline=2, retry_period=0.5).leads()
    assert spec(lease)["leaseDurationSeconds"] == 3


def test_the_second_candidate_waits_as_long_as_the_first_renews(
    campaign: Campaign, lease: Lease, clock: FakeClock
) -> None:
    a = campaign("a")
    a.leads()
    b = campaign("b")
    for _ in range(30):
        a.settle()
        b.step(2)
        a.settle()
        assert a.working
        assert not b.working
    assert not b.elector.is_leader
    assert b.elector.leader == "a"
    eventually(lambda: b.leaders == ["a"])
    assert spec(lease)["leaseTransitions"] == 0


@pytest.mark.parametrize("before", [{}, {"holderIdentity": "", "leaseDurationSeconds": 1, "leaseTransitions": 4}])
def test_a_lease_without_a_holder_is_free(
    before: dict[str, Any], server: FakeAPIServer, campaign: Campaign, lease: Lease
) -> None:
    put_lease(server, **before)
    campaign("a").leads()
    assert spec(lease)["leaseTransitions"] == before.get("leaseTransitions", 0) + 1


def test_a_dead_leaders_term_is_waited_out_from_the_first_look(
    server: FakeAPIServer, campaign: Campaign, lease: Lease, clock: FakeClock
) -> None:
    """Its duration counts, not ours; and not the time written in the lease, which is long past (L4, L5)."""
    put_lease(
        server,
        holderIdentity="dead",
        leaseDurationSeconds=40,
        leaseTransitions=2,
        renewTime=LONG_AGO,
    )
    a = campaign("a")
    for _ in range(39):
        a.step(1)
        assert a.elector.leader == "dead"
    assert not a.working
    a.step(1)
    a.leads()
    assert spec(lease)["leaseTransitions"] == 3
    eventually(lambda: a.leaders == ["dead", "a"])


def test_every_change_of_the_lease_begins_a_new_term(server: FakeAPIServer, campaign: Campaign, lease: Lease) -> None:
    put_lease(server, holderIdentity="other", leaseDurationSeconds=10, renewTime=LONG_AGO)
    a = campaign("a")
    leases = server.client().resource(LEASES, namespace="default")
    for minute in range(5):
        for _ in range(9):
            a.step(1)
        changed = lease().to_dict()
        changed["spec"]["renewTime"] = f"2001-01-01T00:0{minute + 1}:00.000000Z"
        leases.update(changed)
        assert not a.working


def test_a_candidate_finding_its_own_identity_goes_on_leading(
    server: FakeAPIServer, campaign: Campaign, lease: Lease
) -> None:
    put_lease(
        server,
        holderIdentity="a",
        leaseDurationSeconds=15,
        leaseTransitions=7,
        acquireTime=LONG_AGO,
    )
    campaign("a").leads()
    assert spec(lease)["leaseTransitions"] == 7
    assert spec(lease)["acquireTime"] == LONG_AGO


@pytest.mark.parametrize("skew", [-86400, 86400])
def test_skewed_clocks_do_no_harm(skew: float, campaign: Campaign, clock: FakeClock) -> None:
    a = campaign("a")
    a.leads()
    other = FakeClock(datetime.fromtimestamp(clock.now().timestamp() + skew, UTC))
    b = campaign("b", clock=other)
    for _ in range(20):
        a.step(2)
        b.step(2)
        assert a.elector.is_leader
        assert not b.elector.is_leader
    a.stop.set()
    a.ends()
    b.step(LONGEST_RETRY)
    b.leads()


# ---- renewing


def test_renewing_writes_without_reading(server: FakeAPIServer, campaign: Campaign, lease: Lease) -> None:
    a = campaign("a")
    a.leads()
    a.settle()
    before = spec(lease)
    server.requests.clear()
    for _ in range(3):
        a.step(2)
    assert lease_calls(server) == ["update"] * 3
    after = spec(lease)
    assert after["renewTime"] > before["renewTime"]
    assert (after["acquireTime"], after["leaseTransitions"]) == (before["acquireTime"], 0)
    assert a.elector.stats().slow_paths == 0


def test_a_lease_changed_by_others_is_read_and_written_again(
    server: FakeAPIServer, campaign: Campaign, lease: Lease
) -> None:
    a = campaign("a", lock={"labels": {"app": "x"}})
    a.leads()
    a.settle()
    changed = lease().to_dict()
    changed["metadata"]["labels"] = {"theirs": "kept", "app": "overwritten"}
    server.client().resource(LEASES, namespace="default").update(changed)
    a.step(2)
    assert a.elector.is_leader
    assert a.elector.stats().slow_paths == 1
    assert lease().labels == {"theirs": "kept", "app": "x"}


def test_a_deleted_lease_is_created_again(server: FakeAPIServer, campaign: Campaign, lease: Lease) -> None:
    a = campaign("a")
    a.leads()
    a.settle()
    server.client().resource(LEASES, namespace="default").delete("test")
    a.step(2)
    assert spec(lease)["holderIdentity"] == "a"
    assert a.working


@pytest.mark.parametrize(
    "fault",
    [{"status": 500}, {"status": 409, "reason": "Conflict"}, {"drop": "before"}, {"drop": "after"}, {"status": 403}],
    ids=str,
)
def test_one_failed_renewal_is_no_loss(
    fault: dict[str, Any], server: FakeAPIServer, campaign: Campaign, lease: Lease
) -> None:
    a = campaign("a")
    a.leads()
    a.settle()
    struck = server.faults.add(verb="update", resource="leases", times=2, **fault)
    for _ in range(3):
        a.step(2)
    assert struck.hits
    assert a.elector.is_leader
    assert spec(lease)["holderIdentity"] == "a"
    assert spec(lease)["leaseTransitions"] == 0
    assert a.started == 1


@pytest.mark.parametrize("fault", [{"status": 500}, {"drop": "before"}], ids=str)
def test_leadership_is_lost_when_no_renewal_succeeds_in_time(
    fault: dict[str, Any], server: FakeAPIServer, campaign: Campaign, clock: FakeClock
) -> None:
    a = campaign("a")
    a.leads()
    a.settle()
    server.faults.add(resource="leases", **fault)
    for _ in range(9):
        a.step(1)
        assert a.working
    a.step(1)
    a.ends()
    assert not a.elector.is_leader
    assert (a.started, a.stopped, a.error) == (1, 1, None)


def test_a_leader_cut_off_gives_up_before_another_takes_over(
    server: FakeAPIServer, campaign: Campaign, clock: FakeClock
) -> None:
    a = campaign("a")
    a.leads()
    b = campaign("b")
    b.settle()
    a.settle()
    server.faults.add(lambda asked: asked.user_agent == "a", resource="leases", drop="before")
    lost_at = took_over_at = None
    for second in range(20):
        if lost_at is None and not a.working:
            lost_at = second
        if took_over_at is None and b.working:
            took_over_at = second
        assert not (a.working and b.working)
        a.settle()
        b.step(1)
        a.settle()
        # Told to stop it has to be seen stopped before time goes on: the elector already waits for it by the clock.
        eventually(lambda: a.working != a.elector._work.stop.is_set())
        eventually(lambda: b.working == b.elector.is_leader)
    assert lost_at == 10
    assert took_over_at is not None
    assert lost_at < took_over_at <= 15 + LONGEST_RETRY


def test_a_lease_in_other_hands_ends_leadership_at_once(
    server: FakeAPIServer, campaign: Campaign, lease: Lease
) -> None:
    a = campaign("a")
    a.leads()
    a.settle()
    stolen = lease().to_dict()
    stolen["spec"]["holderIdentity"] = "thief"
    server.client().resource(LEASES, namespace="default").update(stolen)
    a.step(2)
    a.ends()
    assert not a.working
    assert spec(lease)["holderIdentity"] == "thief"
    assert a.leaders == ["a", "thief"]


# ---- acquiring against faults


def test_of_two_that_create_at_once_one_leads(server: FakeAPIServer, campaign: Campaign, lease: Lease) -> None:
    server.faults.add(verb="get", resource="leases", delay=0.05, times=2)
    a, b = campaign("a"), campaign("b")
    eventually(lambda: a.working or b.working)
    for candidate in (a, b):
        candidate.settle()
    assert [a.working, b.working].count(True) == 1
    assert spec(lease)["holderIdentity"] == ("a" if a.working else "b")


@pytest.mark.parametrize("verb", ["get", "create"])
@pytest.mark.parametrize("fault", [{"status": 500}, {"drop": "after"}, {"status": 429}, {"status": 403}], ids=str)
def test_a_failed_try_is_repeated(verb: str, fault: dict[str, Any], server: FakeAPIServer, campaign: Campaign) -> None:
    struck = server.faults.add(verb=verb, resource="leases", times=1, **fault)
    a = campaign("a")
    for _ in range(2):
        if not a.working:
            a.step(LONGEST_RETRY)
    a.leads()
    assert struck.hits == 1


def test_a_lost_answer_to_the_takeover_is_understood(server: FakeAPIServer, campaign: Campaign, lease: Lease) -> None:
    put_lease(server, holderIdentity="", leaseDurationSeconds=1)
    server.faults.add(verb="update", resource="leases", drop="after", times=1)
    a = campaign("a")
    a.step(LONGEST_RETRY)
    a.leads()
    assert spec(lease)["leaseTransitions"] == 1


# ---- ending


def test_a_stopped_leader_releases_the_lease(campaign: Campaign, lease: Lease, clock: FakeClock) -> None:
    a = campaign("a")
    a.leads()
    clock.advance(1)
    a.stop.set()
    a.ends()
    released = spec(lease)
    assert (released["holderIdentity"], released["leaseDurationSeconds"]) == ("", 1)
    assert released["acquireTime"] == released["renewTime"] == clock.now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    assert a.elector.leader == ""
    campaign("b").leads()
    assert spec(lease)["leaseTransitions"] == 1


def test_the_lease_can_be_kept_at_the_end(campaign: Campaign, lease: Lease) -> None:
    a = campaign("a", release_on_cancel=False)
    a.leads()
    a.stop.set()
    a.ends()
    assert spec(lease)["holderIdentity"] == "a"


def test_the_lease_is_released_only_after_the_work_has_ended(campaign: Campaign, lease: Lease) -> None:
    """And renewed until then, for longer than it lasts (L12)."""
    a = campaign("a")
    a.may_end.clear()
    a.leads()
    b = campaign("b")
    a.stop.set()
    assert a.told_to_stop.wait(5)
    for _ in range(14):
        b.settle()
        a.step(2)
        assert a.working
        assert not b.elector.is_leader
        assert spec(lease)["holderIdentity"] == "a"
    a.may_end.set()
    a.ends()
    assert not a.working
    b.leads()  # it has seen the release
    assert a.stopped == 1


def test_work_that_does_not_end_keeps_the_lease(campaign: Campaign, lease: Lease) -> None:
    a = campaign("a", stop_timeout=5)
    a.may_end.clear()
    a.leads()
    a.stop.set()
    assert a.told_to_stop.wait(5)
    for _ in range(3):
        a.step(2)
    a.ends()
    assert a.working
    assert a.stopped == 1
    assert spec(lease)["holderIdentity"] == "a"
    a.may_end.set()
    eventually(lambda: not a.working)


def test_work_that_fails_when_nobody_waits_for_it_any_more_is_logged(
    campaign: Campaign, caplog: pytest.LogCaptureFixture
) -> None:
    told, may_fail = threading.Event(), threading.Event()

    def fail_late(stop: threading.Event) -> None:
        stop.wait(30)
        told.set()
        may_fail.wait(30)
        raise RuntimeError("too late for anybody")

    a = campaign("a", stop_timeout=5, work=fail_late)
    eventually(lambda: a.elector.is_leader)
    a.stop.set()
    assert told.wait(30)
    for _ in range(3):
        a.step(2)
    a.ends()
    assert "too late for anybody" not in caplog.text
    may_fail.set()
    eventually(lambda: "too late for anybody" in caplog.text)


def test_after_a_loss_the_work_has_what_is_left_of_the_lease(
    server: FakeAPIServer, campaign: Campaign, clock: FakeClock
) -> None:
    a = campaign("a")
    a.may_end.clear()
    a.leads()
    a.settle()
    server.faults.add(resource="leases", status=500)
    for _ in range(10):
        a.step(1)
    assert a.told_to_stop.wait(5)
    for _ in range(4):
        a.step(1)
        assert a.thread.is_alive()
    a.step(1)
    a.ends()
    assert a.working
    a.may_end.set()
    eventually(lambda: not a.working)


@pytest.mark.parametrize(
    ("fault", "holder"),
    [
        ({"verb": "update", "status": 409, "reason": "Conflict", "times": 2}, ""),
        ({"verb": "update", "status": 500}, "a"),
        ({"verb": "get", "status": 500}, "a"),
        ({"verb": "update", "drop": "after", "times": 1}, ""),
    ],
    ids=str,
)
def test_faults_while_releasing_do_not_keep_the_candidate(
    fault: dict[str, Any], holder: str, server: FakeAPIServer, campaign: Campaign, lease: Lease
) -> None:
    a = campaign("a")
    a.leads()
    a.settle()
    server.faults.add(resource="leases", **fault)
    a.stop.set()
    a.ends()
    server.faults.clear()
    assert a.error is None
    assert spec(lease)["holderIdentity"] == holder


def test_releasing_a_lease_that_is_gone_is_no_error(server: FakeAPIServer, campaign: Campaign) -> None:
    a = campaign("a")
    a.leads()
    a.settle()
    server.client().resource(LEASES, namespace="default").delete("test")
    a.stop.set()
    a.ends()
    assert a.error is None


def test_a_candidate_that_never_led_ends_without_touching_the_lease(
    server: FakeAPIServer, campaign: Campaign, lease: Lease
) -> None:
    campaign("a").leads()
    b = campaign("b")
    b.settle()
    before = spec(lease)
    b.stop.set()
    b.ends()
    assert (b.started, b.stopped) == (0, 1)
    assert spec(lease) == before


def test_work_that_raises_ends_leadership_and_the_error_is_raised(campaign: Campaign, lease: Lease) -> None:
    def fail(stop: threading.Event) -> None:
        raise ZeroDivisionError("broken work")

    a = campaign("a", work=fail)
    eventually(lambda: a.leaders == ["a"])  # it may have led, failed and released by now
    a.settle()
    if a.thread.is_alive():
        a.clock.advance(2)
    a.ends()
    assert isinstance(a.error, ZeroDivisionError)
    assert a.stopped == 1
    assert spec(lease)["holderIdentity"] == ""


def test_work_may_return_while_leading(campaign: Campaign, lease: Lease) -> None:
    a = campaign("a", work=lambda stop: None)
    eventually(lambda: a.elector.is_leader)
    for _ in range(10):
        a.step(2)
    assert a.elector.is_leader
    a.stop.set()
    a.ends()
    assert spec(lease)["holderIdentity"] == ""


def test_a_failing_leader_callback_does_not_disturb_the_election(server: FakeAPIServer, clock: FakeClock) -> None:
    stop, led = threading.Event(), threading.Event()

    def work(stopped: threading.Event) -> None:
        led.set()
        stopped.wait()

    def broken(leader: str) -> None:
        raise ValueError(leader)

    elector = LeaderElector(
        LeaseLock(server.client(), "default", "test", "a"),
        on_started_leading=work,
        on_stopped_leading=lambda: None,
        on_new_leader=broken,
        clock=clock,
    )
    thread = threading.Thread(target=elector.run, args=(stop,), daemon=True)
    thread.start()
    assert led.wait(5)
    stop.set()
    thread.join(10)
    assert not thread.is_alive()


# ---- what others see


class Recorder:
    def __init__(self) -> None:
        self.events: list[tuple[str, ...]] = []

    def event(self, obj: Unstructured, type: str, reason: str, message: str, /) -> None:
        self.events.append((obj.kind, obj.name, type, reason, message))


def test_events_tell_who_leads(campaign: Campaign) -> None:
    recorder = Recorder()
    a = campaign("a", recorder=recorder)
    a.leads()
    a.stop.set()
    a.ends()
    assert recorder.events == [
        ("Lease", "test", "Normal", "LeaderElection", "a became leader"),
        ("Lease", "test", "Normal", "LeaderElection", "a stopped leading"),
    ]


def test_the_health_check_fails_only_for_a_leader_long_overdue(campaign: Campaign, clock: FakeClock) -> None:
    a = campaign("a")
    a.elector.check()
    a.leads()
    a.settle()
    a.elector.check()
    a.elector._renewed_at = clock.monotonic() - 34
    a.elector.check()
    assert not a.elector.is_leader
    a.elector._renewed_at = clock.monotonic() - 36
    with pytest.raises(RuntimeError, match="default/test ran out 21 s ago"):
        a.elector.check()
    a.elector.check(tolerance=30)


def test_stats(campaign: Campaign, clock: FakeClock) -> None:
    a = campaign("a")
    a.leads()
    a.settle()
    stats = a.elector.stats()
    assert (stats.name, stats.is_leader, stats.expires_in) == ("test", True, 10)
    a.stop.set()
    a.ends()
    stats = a.elector.stats()
    assert (stats.is_leader, stats.expires_in) == (False, 0)


def test_an_elector_runs_once(campaign: Campaign) -> None:
    a = campaign("a")
    a.leads()
    with pytest.raises(RuntimeError, match="make a new one"):
        a.elector.run(threading.Event())


def test_a_campaign_that_is_stopped_before_it_began(server: FakeAPIServer, campaign: Campaign) -> None:
    stop = threading.Event()
    stop.set()
    stopped: list[int] = []
    LeaderElector(
        LeaseLock(server.client(), "default", "test", "a"),
        on_started_leading=lambda stop: None,
        on_stopped_leading=lambda: stopped.append(1),
    ).run(stop)
    assert stopped == [1]
    with pytest.raises(ApiError):
        server.client().resource(LEASES, namespace="default").get("test")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"retry_period": 0}, "retry_period must be > 0"),
        ({"renew_deadline": 2.4}, "renew_deadline must be > 1.2"),
        ({"lease_duration": 10}, "lease_duration must be > renew_deadline, got 10 and 10"),
        ({"on_started_leading": None}, "on_started_leading and on_stopped_leading are required"),
        ({"on_stopped_leading": None}, "are required"),
        ({"identity": ""}, "identity of lease lock default/test is empty"),
    ],
)
def test_wrong_parameters_are_named(options: dict[str, Any], message: str, server: FakeAPIServer) -> None:
    lock = LeaseLock(server.client(), "default", "test", options.pop("identity", "a"))
    callbacks = {"on_started_leading": lambda stop: None, "on_stopped_leading": lambda: None}
    with pytest.raises(ValueError, match=message):
        LeaderElector(lock, **{**callbacks, **options})


def test_identities_are_unique() -> None:
    assert unique_identity() != unique_identity()


def test_unknown_fields_of_a_lease_survive(server: FakeAPIServer, campaign: Campaign, lease: Lease) -> None:
    put_lease(server, holderIdentity="", leaseDurationSeconds=1, preferredHolder="z", strategy="OldestEmulationVersion")
    a = campaign("a")
    a.leads()
    assert spec(lease)["preferredHolder"] == "z"
    a.stop.set()
    a.ends()
    assert {"preferredHolder", "strategy"}.isdisjoint(spec(lease)), json.dumps(spec(lease))


def test_a_recorder_that_fails_costs_no_leadership(
    campaign: Campaign, lease: Callable[[], Unstructured], caplog: pytest.LogCaptureFixture
) -> None:
    class Broken:
        def event(self, *event: object) -> None:
            raise RuntimeError("no events today")

    a = campaign("a", recorder=Broken())
    a.leads()
    a.stop.set()
    a.ends()
    assert a.error is None
    assert not a.elector.is_leader
    assert (lease().get("spec") or {})["holderIdentity"] == ""
    assert "no events today" in caplog.text
