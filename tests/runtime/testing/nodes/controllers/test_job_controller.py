"""Jobs and CronJobs, with Pods that end when the test says so."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest

from runtime.client import Client, NotFound, Unstructured
from runtime.manager import Manager
from runtime.testing import FakeClock
from runtime.testing.nodes.controllers import cronjob, job
from runtime.testing.nodes.controllers.cronjob import CRONJOBS, SCHEDULED_AT
from runtime.testing.nodes.controllers.job import JOBS, NAME_LABEL, TRACKED
from runtime.types import GVR, JSONObject
from tests.support.waiting import eventually

PODS = GVR("", "v1", "pods")
EVENTS = GVR("", "v1", "events")
_PATIENCE = 60.0


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def running(client: Client, clock: FakeClock) -> Iterator[Callable[[], None]]:
    """The controllers, by a clock of the test's own; called, they are stopped and started anew."""
    stops: list[tuple[threading.Event, threading.Thread]] = []

    def end() -> None:
        for stop, thread in stops:
            stop.set()
            thread.join(30)
            assert not thread.is_alive()
        stops.clear()

    def begin() -> None:
        end()
        manager = Manager(client, metrics_bind_address="0", health_probe_bind_address="0", clock=clock)
        job.register(manager)
        cronjob.register(manager)
        stop = threading.Event()
        thread = threading.Thread(target=manager.run, args=(stop,), name="job-controllers")
        thread.start()
        stops.append((stop, thread))

    begin()
    yield begin
    end()


def make_job(name: str = "work", **spec: object) -> JSONObject:
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": "default"},
        "spec": job_spec(**spec),
    }


def job_spec(**spec: object) -> JSONObject:
    container = {"name": "main", "image": "example.com/app:1"}
    return {"template": {"spec": {"restartPolicy": "Never", "containers": [container]}}, **spec}


def make_cron(schedule: str, **spec: object) -> JSONObject:
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": "nightly", "namespace": "default"},
        "spec": {"schedule": schedule, "jobTemplate": {"spec": job_spec()}, **spec},
    }


class Hands:
    """What kubelet and user do."""

    def __init__(self, client: Client, clock: FakeClock) -> None:
        self.client, self.clock = client, clock
        self.pods = client.resource(PODS, namespace="default")
        self.jobs = client.resource(JOBS, namespace="default")
        self.crons = client.resource(CRONJOBS, namespace="default")

    def pods_of(self, name: str) -> list[Unstructured]:
        return list(self.pods.list(label_selector=f"{NAME_LABEL}={name}").items)

    def active(self, name: str, count: int = 1) -> list[Unstructured]:
        def look() -> list[Unstructured] | None:
            found = [pod for pod in self.pods_of(name) if (pod.get("status") or {}).get("phase") in (None, "Pending")]
            found = [pod for pod in found if pod.deletion_timestamp is None]
            return found if len(found) == count else None

        return eventually(look, f"{count} Pods of {name}", _PATIENCE) if count else []

    def end(self, pod: Unstructured, phase: str) -> None:
        at = self.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")
        ended = {"exitCode": 0 if phase == "Succeeded" else 1, "startedAt": at, "finishedAt": at}
        container = {"name": "main", "image": "i", "imageID": "i", "ready": False, "restartCount": 0}
        status = {"phase": phase, "containerStatuses": [{**container, "state": {"terminated": ended}}]}
        self.pods.patch(pod.name, {"status": status}, type="merge", subresource="status")

    def job_when(self, name: str, test: Callable[[JSONObject], bool]) -> Unstructured:
        def look() -> Unstructured | None:
            found = self.jobs.get(name)
            return found if test(found.get("status") or {}) else None

        return eventually(look, f"Job {name} with that status", _PATIENCE)

    def events(self, reason: str) -> list[str]:
        found = self.client.resource(EVENTS, namespace="default").list().items
        return [event["message"] for event in found if event["reason"] == reason]


@pytest.fixture
def hands(client: Client, clock: FakeClock) -> Hands:
    return Hands(client, clock)


def conditions(status: JSONObject) -> dict[str, str]:
    return {each["type"]: each["reason"] for each in status.get("conditions") or () if each["status"] == "True"}


def test_a_job_is_complete_when_its_pod_has_succeeded(running: object, hands: Hands) -> None:
    hands.jobs.create(make_job())
    (pod,) = hands.active("work")
    assert TRACKED in pod.finalizers
    assert hands.job_when("work", lambda status: status.get("active") == 1)["status"]["startTime"]

    hands.end(pod, "Succeeded")
    done = hands.job_when("work", lambda status: "Complete" in conditions(status))
    status = done["status"]
    assert conditions(status) == {"SuccessCriteriaMet": "CompletionsReached", "Complete": "CompletionsReached"}
    assert (status.get("succeeded"), status.get("failed") or 0, status.get("active") or 0) == (1, 0, 0)
    assert status["completionTime"]
    eventually(lambda: not hands.pods.get(pod.name).finalizers, "the Pod may be deleted", _PATIENCE)


def test_a_pod_that_failed_is_replaced_after_a_while_until_the_limit(
    running: object, hands: Hands, clock: FakeClock
) -> None:
    hands.jobs.create(make_job(backoffLimit=1))
    (first,) = hands.active("work")
    hands.end(first, "Failed")
    hands.job_when("work", lambda status: status.get("failed") == 1)
    assert not [pod for pod in hands.pods_of("work") if pod.uid != first.uid]  # it waits for the clock
    clock.advance(1.0)
    (second,) = hands.active("work")
    hands.end(second, "Failed")
    failed = hands.job_when("work", lambda status: "Failed" in conditions(status))
    assert conditions(failed["status"])["Failed"] == "BackoffLimitExceeded"
    assert failed["status"]["failed"] == 2
    assert len(hands.pods_of("work")) == 2


def test_a_pod_that_is_deleted_at_once_is_counted_all_the_same(running: object, hands: Hands) -> None:
    hands.jobs.create(make_job(completions=2, parallelism=2))
    one, two = hands.active("work", 2)
    hands.end(one, "Succeeded")
    hands.pods.delete(one.name, grace_period_seconds=0)
    hands.job_when("work", lambda status: status.get("succeeded") == 1)
    eventually(lambda: one.name not in {pod.name for pod in hands.pods_of("work")}, "it is gone", _PATIENCE)
    hands.end(two, "Succeeded")
    done = hands.job_when("work", lambda status: "Complete" in conditions(status))
    assert done["status"]["succeeded"] == 2


def test_pods_are_counted_once_by_whoever_comes_after_a_crash(
    running: Callable[[], None], hands: Hands, client: Client
) -> None:
    """Stopped after the uid was noted, and before the finalizer was removed."""
    hands.jobs.create(make_job(completions=2, parallelism=1))
    (pod,) = hands.active("work")
    hands.end(pod, "Succeeded")
    hands.job_when("work", lambda status: status.get("succeeded") == 1)
    running()
    (other,) = hands.active("work")
    status = {"uncountedTerminatedPods": {"succeeded": [other.uid]}}
    hands.jobs.patch("work", {"status": status}, type="merge", subresource="status")
    hands.end(other, "Succeeded")
    done = hands.job_when("work", lambda status: "Complete" in conditions(status))
    assert done["status"]["succeeded"] == 2


def test_a_job_that_takes_too_long_fails_and_its_pod_goes(running: object, hands: Hands, clock: FakeClock) -> None:
    body = make_job(activeDeadlineSeconds=30)
    body["spec"]["template"]["spec"]["nodeName"] = "n1"  # so that it goes when the kubelet says so
    hands.jobs.create(body)
    (pod,) = hands.active("work")
    hands.job_when("work", lambda status: status.get("active") == 1)
    clock.advance(31.0)
    eventually(lambda: hands.pods.get(pod.name).deletion_timestamp is not None, "the Pod is told to go", _PATIENCE)
    assert "Failed" not in conditions(hands.jobs.get("work")["status"])  # it still runs
    hands.pods.delete(pod.name, grace_period_seconds=0)
    failed = hands.job_when("work", lambda status: "Failed" in conditions(status))
    assert conditions(failed["status"]) == {"FailureTarget": "DeadlineExceeded", "Failed": "DeadlineExceeded"}


def test_a_suspended_job_has_no_pods_and_goes_on_later(running: object, hands: Hands) -> None:
    hands.jobs.create(make_job(suspend=True))
    hands.job_when("work", lambda status: "Suspended" in conditions(status))
    assert not hands.pods_of("work")
    hands.jobs.patch("work", {"spec": {"suspend": False}}, type="merge")
    hands.active("work")
    resumed = hands.job_when("work", lambda status: "Suspended" not in conditions(status) and status.get("active") == 1)
    assert resumed["status"]["startTime"]


def test_a_finished_job_goes_when_its_time_is_over(running: object, hands: Hands, clock: FakeClock) -> None:
    hands.jobs.create(make_job(ttlSecondsAfterFinished=60))
    (pod,) = hands.active("work")
    hands.end(pod, "Succeeded")
    hands.job_when("work", lambda status: "Complete" in conditions(status))
    clock.advance(59.0)
    assert hands.jobs.get("work").deletion_timestamp is None
    clock.advance(5.0)

    def gone() -> bool:
        try:
            hands.jobs.get("work")
        except NotFound:
            return True
        return False

    eventually(gone, "the Job is gone", _PATIENCE)


def test_what_is_not_supported_is_said(running: object, hands: Hands) -> None:
    hands.jobs.create(make_job(completionMode="Indexed", completions=2))
    eventually(lambda: hands.events("Unsupported"), "an event", _PATIENCE)
    assert not hands.pods_of("work")


def test_the_pods_of_a_job_that_is_deleted_can_go(running: object, hands: Hands) -> None:
    hands.jobs.create(make_job())
    (pod,) = hands.active("work")
    hands.jobs.delete("work", propagation_policy="Background")

    def gone() -> bool:
        try:
            found = hands.pods.get(pod.name)
        except NotFound:
            return True
        if found.deletion_timestamp is not None and not found.finalizers:
            hands.pods.delete(pod.name, grace_period_seconds=0)  # the kubelet's part
        return False

    eventually(gone, "the Pod is gone", _PATIENCE)


def minute(clock: FakeClock) -> datetime:
    return clock.now().replace(second=0, microsecond=0)


def jobs_of_cron(hands: Hands) -> list[Unstructured]:
    return sorted((each for each in hands.jobs.list().items if each.name.startswith("nightly-")), key=lambda j: j.name)


def active_of_cron(hands: Hands) -> list[str]:
    status = hands.crons.get("nightly").get("status") or {}
    return [each["name"] for each in status.get("active") or ()]


def next_minute(hands: Hands, seconds: float = 0.0) -> None:
    """The time comes, and the controller looks: its own delay may have been set by the time before."""
    hands.clock.advance(seconds or 61.0 - hands.clock.now().second)
    touched = {"metadata": {"annotations": {"looked-at": str(hands.clock.monotonic())}}}
    hands.crons.patch("nightly", touched, type="merge")


def created_at(hands: Hands, clock: FakeClock, body: JSONObject) -> None:
    """The server's own clock gives the creation time, which may be far from ours: say when it ran last."""
    hands.crons.create(body)
    stamp = clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")
    hands.crons.patch("nightly", {"status": {"lastScheduleTime": stamp}}, type="merge", subresource="status")
    hands.crons.patch("nightly", {"spec": {"suspend": False}}, type="merge")


def test_a_cron_job_makes_one_job_at_its_time(running: object, hands: Hands, clock: FakeClock) -> None:
    created_at(hands, clock, make_cron("* * * * *", suspend=True))
    next_minute(hands)
    (made,) = eventually(lambda: jobs_of_cron(hands), "a Job", _PATIENCE)
    assert made.name == f"nightly-{int(minute(clock).timestamp()) // 60}"
    assert made.annotations[SCHEDULED_AT] == minute(clock).isoformat()
    owner = made.controller_owner
    assert owner is not None
    assert owner.kind == "CronJob"
    eventually(
        lambda: (
            [each["name"] for each in hands.crons.get("nightly").get("status", {}).get("active") or ()] == [made.name]
        ),
        "it is active",
        _PATIENCE,
    )
    (pod,) = hands.active(made.name)
    hands.end(pod, "Succeeded")
    eventually(lambda: hands.crons.get("nightly")["status"].get("lastSuccessfulTime"), "its success", _PATIENCE)
    assert not hands.crons.get("nightly")["status"].get("active")


def test_forbid_does_not_start_a_second_one(running: object, hands: Hands, clock: FakeClock) -> None:
    created_at(hands, clock, make_cron("* * * * *", concurrencyPolicy="Forbid", suspend=True))
    next_minute(hands)
    (first,) = eventually(lambda: jobs_of_cron(hands), "a Job", _PATIENCE)
    (pod,) = hands.active(first.name)
    next_minute(hands)
    eventually(lambda: hands.events("JobAlreadyActive"), "it is said", _PATIENCE)
    assert [each.name for each in jobs_of_cron(hands)] == [first.name]
    hands.end(pod, "Succeeded")
    # The time that could not be kept is made up for, once.
    eventually(lambda: len(jobs_of_cron(hands)) == 2, "the next Job", _PATIENCE)


def test_replace_ends_the_one_before(running: object, hands: Hands, clock: FakeClock) -> None:
    created_at(hands, clock, make_cron("* * * * *", concurrencyPolicy="Replace", suspend=True))
    next_minute(hands)
    (first,) = eventually(lambda: jobs_of_cron(hands), "a Job", _PATIENCE)
    next_minute(hands)
    eventually(
        lambda: (
            [each.name for each in jobs_of_cron(hands)] not in ([], [first.name])
            and first.name not in {each.name for each in jobs_of_cron(hands)}
        ),
        "another Job",
        _PATIENCE,
    )


def test_of_many_missed_times_the_last_is_made_up_for(
    running: Callable[[], None], hands: Hands, clock: FakeClock
) -> None:
    created_at(hands, clock, make_cron("* * * * *", suspend=True, successfulJobsHistoryLimit=9))
    next_minute(hands, 5 * 60.0)
    (made,) = eventually(lambda: jobs_of_cron(hands), "a Job", _PATIENCE)
    assert made.name == f"nightly-{int(minute(clock).timestamp()) // 60}"
    running()  # one that comes after does not make it again
    (pod,) = hands.active(made.name)
    hands.end(pod, "Succeeded")
    eventually(lambda: hands.crons.get("nightly")["status"].get("lastSuccessfulTime"), "its success", _PATIENCE)
    assert [each.name for each in jobs_of_cron(hands)] == [made.name]


def test_times_that_are_too_long_ago_are_not_made_up_for(running: object, hands: Hands, clock: FakeClock) -> None:
    clock.advance(60.0 - clock.now().second + 40)
    stamp = (clock.now() - timedelta(hours=2)).strftime("%Y-%m-%dT%H:%M:%SZ")
    for name, deadline in (("nightly", {"startingDeadlineSeconds": 20}), ("witness", {})):
        body = make_cron("0-59 * * * *", suspend=True, **deadline)
        body["metadata"]["name"] = name
        hands.crons.create(body)
        hands.crons.patch(name, {"status": {"lastScheduleTime": stamp}}, type="merge", subresource="status")
        hands.crons.patch(name, {"spec": {"suspend": False}}, type="merge")
    # The one worker has looked at the first before the second.
    eventually(lambda: [job for job in hands.jobs.list().items if job.name.startswith("witness-")], "it", _PATIENCE)
    assert not jobs_of_cron(hands)
    next_minute(hands)
    (made,) = eventually(lambda: jobs_of_cron(hands), "a Job", _PATIENCE)
    assert made.name == f"nightly-{int(minute(clock).timestamp()) // 60}"


def test_old_jobs_are_thrown_away(running: object, hands: Hands, clock: FakeClock) -> None:
    created_at(hands, clock, make_cron("* * * * *", suspend=True, successfulJobsHistoryLimit=1))
    names = []
    for _ in range(3):
        next_minute(hands)
        made = eventually(lambda: [j for j in jobs_of_cron(hands) if j.name not in names], "a Job", _PATIENCE)[0]
        names.append(made.name)
        (pod,) = hands.active(made.name)
        hands.end(pod, "Succeeded")
        hands.job_when(made.name, lambda status: "Complete" in conditions(status))
    eventually(lambda: [each.name for each in jobs_of_cron(hands)] == names[-1:], "only the last is left", _PATIENCE)


def test_a_suspended_cron_job_does_nothing(running: object, hands: Hands, clock: FakeClock) -> None:
    hands.crons.create(make_cron("* * * * *", suspend=True))
    hands.jobs.create(make_job())  # what tells us that the controllers have looked
    clock.advance(120.0)
    hands.active("work")
    assert not jobs_of_cron(hands)


def test_a_schedule_that_cannot_be_read_is_said(running: object, hands: Hands, clock: FakeClock) -> None:
    """The API server takes more than five fields can say."""
    hands.crons.create(make_cron("@every 1h"))
    eventually(lambda: hands.events("UnparseableSchedule"), "an event", _PATIENCE)
    assert not jobs_of_cron(hands)


def test_a_schedule_is_read_in_its_time_zone(running: object, hands: Hands, clock: FakeClock) -> None:
    here = clock.now().astimezone(UTC)
    local = here + timedelta(hours=9)  # Tokyo, without daylight saving
    soon = local + timedelta(minutes=2)
    created_at(hands, clock, make_cron(f"{soon.minute} {soon.hour} * * *", timeZone="Asia/Tokyo", suspend=True))
    next_minute(hands, 180.0)
    (made,) = eventually(lambda: jobs_of_cron(hands), "a Job", _PATIENCE)
    wanted = (here + timedelta(minutes=2)).replace(second=0, microsecond=0)
    assert datetime.fromisoformat(made.annotations[SCHEDULED_AT]) == wanted


def test_a_job_of_somebody_else_in_the_way_is_said(running: object, hands: Hands, clock: FakeClock) -> None:
    coming = minute(clock) + timedelta(minutes=1)
    hands.jobs.create(make_job(f"nightly-{int(coming.timestamp()) // 60}"))
    created_at(hands, clock, make_cron("* * * * *", suspend=True))
    next_minute(hands)
    eventually(lambda: hands.events("FailedCreate"), "an event", _PATIENCE)
