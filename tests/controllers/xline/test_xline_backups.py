"""What the operator makes for backups and restores, and what it says of what became of them.

The test is the kubelet."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from controllers.xline import names as known
from controllers.xline.outcomes import outcome_of, stuck
from crds.xlinebackup import BackupRecord
from crds.xlinecluster import XLINECLUSTERS
from membership.xline.backup.take import Outcome
from runtime.client import Invalid, Unstructured
from runtime.testing.apiserver.faults import Asked
from runtime.types import JSONObject
from tests.controllers.xline.xline_world import AGENT, NAMESPACE, World
from tests.support.etcd_process import wait_for

VOLUME: JSONObject = {"volume": {"size": "1Gi"}}
S3: JSONObject = {"s3": {"bucket": "backups", "endpoint": "https://s3.example", "secretName": "keys"}}
RECORD = BackupRecord(
    name="20260101T000000Z-r7-abcde",
    time="2026-01-01T00:00:00Z",
    revision=7,
    size=20512,
    sha256="ab",
    member="demo-sts-1",
)


def bootstrapped(world: World, **spec: Any) -> None:
    world.create(**spec)
    world.start_operator()
    world.wait_children()
    world.run_pods()
    wait_for(lambda: world.status().get("bootstrap", {}).get("completed"), what="the bootstrap")


def jobs(world: World) -> dict[str, Unstructured]:
    return {job.name: job for job in world.client.resource(known.JOBS, namespace=NAMESPACE).list()}


def the_job(world: World, but: frozenset[str] = frozenset()) -> Unstructured:
    wait_for(lambda: jobs(world).keys() - but, what="a Job")
    (name,) = jobs(world).keys() - but
    return jobs(world)[name]


def run(world: World, job: Unstructured) -> str:
    """The name of a Pod of it that runs."""
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": job.name, "uid": job.uid, "controller": True}
    template = job["spec"]["template"]
    metadata = {"name": f"{job.name}-runs", "labels": template["metadata"]["labels"], "ownerReferences": [owner]}
    metadata["finalizers"] = ["test/kubelet"]
    pods = world.client.resource(known.PODS, namespace=NAMESPACE)
    pods.create({"metadata": metadata, "spec": template["spec"]})
    pods.patch(metadata["name"], {"status": {"phase": "Running"}}, type="merge", subresource="status")
    return str(metadata["name"])


def end(
    world: World,
    job: Unstructured,
    outcome: Outcome | str,
    at: str = "2026-01-01T00:01:00Z",
    init: bool = False,
    pod: str = "pod",
) -> None:
    """Its last Pod ends with these words, and the Job with it."""
    failed = isinstance(outcome, str) or bool(outcome.reason)
    text = outcome if isinstance(outcome, str) else outcome.encode().decode()
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": job.name, "uid": job.uid, "controller": True}
    template = job["spec"]["template"]
    metadata = {"name": f"{job.name}-{pod}", "labels": template["metadata"]["labels"], "ownerReferences": [owner]}
    pods = world.client.resource(known.PODS, namespace=NAMESPACE)
    pods.create({"metadata": metadata, "spec": template["spec"]})
    kind = "initContainers" if init else "containers"
    name = template["spec"][kind][0]["name"]
    ended = {"exitCode": 1 if failed else 0, "message": text, "reason": "Error" if failed else "Completed"}
    container = {"name": name, "image": "i", "imageID": "i", "ready": False, "restartCount": 0}
    status = {
        "phase": "Failed" if failed else "Succeeded",
        "initContainerStatuses" if init else "containerStatuses": [{**container, "state": {"terminated": ended}}],
    }
    pods.patch(metadata["name"], {"status": status}, type="merge", subresource="status")
    kinds = ("FailureTarget", "Failed") if failed else ("SuccessCriteriaMet", "Complete")
    reason = "BackoffLimitExceeded" if failed else "CompletionsReached"
    conditions = [
        {"type": each, "status": "True", "reason": reason, "message": "m", "lastTransitionTime": at} for each in kinds
    ]
    over: JSONObject = {"conditions": conditions, "startTime": "2026-01-01T00:00:00Z"}
    if not failed:
        over["completionTime"] = at
    world.client.resource(known.JOBS, namespace=NAMESPACE).patch(
        job.name, {"status": over}, type="merge", subresource="status"
    )


def backup(world: World) -> JSONObject:
    return dict(world.status().get("backup") or {})


def backed_up(world: World) -> str:
    """The message of the condition."""
    found = (each["message"] for each in world.status().get("conditions") or () if each["type"] == "BackedUp")
    return next(found, "")


# -- on demand


def test_a_trigger_takes_one_backup(world: World) -> None:
    bootstrapped(world, backup={"destination": VOLUME, "trigger": "one"})
    job = the_job(world)
    owner = job.controller_owner
    assert owner is not None
    assert (owner.kind, owner.name) == ("XlineCluster", "demo")
    claim = world.get(known.CLAIMS, "demo-backup")
    assert claim is not None
    assert not claim.owner_references  # it outlives the cluster
    end(world, job, Outcome(backup=RECORD, time=RECORD.time))
    world.wait_event("BackupSucceeded")
    assert backup(world) == {"lastSuccess": msgspec.to_builtins(RECORD), "trigger": "one"}
    assert world.condition("BackedUp") == ("True", "BackupSucceeded")
    (operator,) = world._operators
    labels = {"namespace": NAMESPACE, "xlinecluster": "demo"}
    for name, value in (("backed_up", 1), ("backup_timestamp_seconds", 1767225600), ("backup_size_bytes", 20512)):
        assert operator.registry.prometheus().get_sample_value(f"xline_cluster_{name}", labels) == value
    # Deleted by whom it may: the trigger was served.
    world.client.resource(known.JOBS, namespace=NAMESPACE).delete(job.name, propagation_policy="Background")
    world.settle(operator)
    assert jobs(world) == {}

    world.edit(backup={"trigger": "two"})
    the_job(world)
    assert backup(world)["trigger"] == "one"


def test_the_job_of_an_earlier_trigger_goes_when_it_is_over(world: World) -> None:
    bootstrapped(world, backup={"destination": VOLUME, "trigger": "one"})
    first = the_job(world)
    world.edit(backup={"trigger": "two"})
    wait_for(lambda: len(jobs(world)) == 2, what="the second Job")
    mute = world.server.faults.add(_writes_status, status=500, reason="InternalError")
    end(world, first, Outcome(backup=RECORD, time=RECORD.time))
    wait_for(lambda: mute.hits, what="the status being written")
    assert first.name in jobs(world)  # it is all that knows what became of it
    world.server.faults.remove(mute)
    wait_for(lambda: first.name not in jobs(world), what="the first Job going")
    assert len(jobs(world)) == 1
    assert backup(world)["lastSuccess"]["name"] == RECORD.name


def _writes_status(asked: Asked) -> bool:
    return asked.user_agent == AGENT and asked.resource == "xlineclusters" and asked.verb == "patch"


def test_a_failed_backup_is_told_with_the_reason(world: World) -> None:
    bootstrapped(world, backup={"destination": VOLUME, "trigger": "one"})
    job = the_job(world)
    end(world, job, Outcome(reason="StoreFull", message="volume /backups: No space left on device"))
    message = world.wait_event("BackupFailed")
    assert "No space left on device" in message
    failure = backup(world)["lastFailure"]
    assert (failure["reason"], failure["job"], failure["time"]) == ("StoreFull", job.name, "2026-01-01T00:01:00Z")
    assert world.condition("BackedUp") == ("False", "StoreFull")
    assert world.condition("Available")[0] == "True"


@pytest.mark.parametrize(
    ("words", "reason"), [("python: No module named cmd", "ContainerError"), ("", "ContainerError")]
)
def test_a_pod_without_an_outcome_is_quoted(world: World, words: str, reason: str) -> None:
    bootstrapped(world, backup={"destination": VOLUME, "trigger": "one"})
    end(world, the_job(world), words)
    assert (words or "exit status 1") in world.wait_event("BackupFailed")
    assert backup(world)["lastFailure"]["reason"] == reason


def test_of_several_attempts_the_last_counts() -> None:
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": "j", "uid": "1", "controller": True}
    condition = {"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded"}
    job = Unstructured({"metadata": {"name": "j", "uid": "1"}, "status": {"conditions": [condition]}})

    def pod(name: str, minute: int, words: str) -> Unstructured:
        ended = {"exitCode": 1, "message": Outcome(reason="NoMember", message=words).encode().decode()}
        created = f"2026-01-01T00:0{minute}:00Z"
        metadata = {"name": name, "creationTimestamp": created, "ownerReferences": [owner]}
        status = {"containerStatuses": [{"name": "backup", "state": {"terminated": ended}}]}
        return Unstructured({"metadata": metadata, "status": status})

    found = outcome_of(job, [pod("j-a", 1, "first"), pod("j-c", 3, "last"), pod("j-b", 2, "second")])
    assert found is not None
    assert found.message == "last"


def begin(world: World, job: Unstructured, waiting: JSONObject) -> None:
    """Its Pod is there, and its first container waits."""
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": job.name, "uid": job.uid, "controller": True}
    template = job["spec"]["template"]
    metadata = {"name": f"{job.name}-pod", "labels": template["metadata"]["labels"], "ownerReferences": [owner]}
    pods = world.client.resource(known.PODS, namespace=NAMESPACE)
    pods.create({"metadata": metadata, "spec": template["spec"]})
    kind = "initContainers" if template["spec"].get("initContainers") else "containers"
    container = {"image": "i", "imageID": "", "ready": False, "restartCount": 0, "state": {"waiting": waiting}}
    container["name"] = template["spec"][kind][0]["name"]
    status = {f"{kind.removesuffix('s')}Statuses": [container]}
    pods.patch(metadata["name"], {"status": status}, type="merge", subresource="status")


def test_a_pod_that_does_not_begin_is_told(world: World) -> None:
    bootstrapped(world, backup={"destination": S3, "trigger": "one"})
    job = the_job(world)
    begin(world, job, {"reason": "CreateContainerConfigError", "message": 'secret "keys" not found'})
    assert 'secret "keys" not found' in world.wait_event("CreateContainerConfigError")
    assert world.condition("BackedUp") == ("False", "CreateContainerConfigError")


def test_a_job_that_gets_no_pod_is_told_after_a_minute(world: World) -> None:
    """A quota, an admission webhook, a ServiceAccount that is not there: only events of the Job tell."""
    bootstrapped(world, backup={"destination": VOLUME, "trigger": "one"})
    job = the_job(world)
    made = job.creation_timestamp
    assert made is not None
    assert stuck(job, [], made + timedelta(seconds=59)) is None
    missing = stuck(job, [], made + timedelta(seconds=61))
    assert missing is not None
    assert missing[0] == "PodMissing"
    assert job.name in missing[1]
    pod = world.client.resource(known.PODS, namespace=NAMESPACE).get(run(world, job))
    assert stuck(job, [pod], made + timedelta(seconds=61)) is None
    world.client.resource(known.PODS, namespace=NAMESPACE).patch(
        pod.name, {"metadata": {"finalizers": None}}, type="merge"
    )


def test_a_restore_that_does_not_begin_is_told(world: World) -> None:
    world.create(restoreFrom=RESTORE)
    world.start_operator()
    begin(world, the_job(world), {"reason": "ImagePullBackOff", "message": "no such image"})
    wait_for(lambda: "no such image (ImagePullBackOff)" in str(world.status().get("message")), what="the reason")


def test_a_backup_of_a_clock_that_is_fast_hides_no_failure(world: World) -> None:
    bootstrapped(world, backup={"destination": VOLUME, "trigger": "one"})
    first = the_job(world)
    ahead = msgspec.structs.replace(RECORD, time="2030-01-01T00:00:00.5Z")
    end(world, first, Outcome(backup=ahead, time=ahead.time))
    world.wait_event("BackupSucceeded")
    assert backup(world)["lastSuccess"]["time"] == "2026-01-01T00:01:00Z"
    world.edit(backup={"trigger": "two"})
    second = the_job(world, but=frozenset([first.name]))
    end(world, second, Outcome(reason="StoreFull", message="no room"), at="2026-01-02T00:00:00Z")
    wait_for(lambda: world.condition("BackedUp") == ("False", "StoreFull"), what="the failure being told")


def test_a_later_success_makes_it_well_again(world: World) -> None:
    bootstrapped(world, backup={"destination": VOLUME, "trigger": "one"})
    first = the_job(world)
    end(world, first, Outcome(reason="NoMember", message="m"), at="2026-01-01T00:01:00Z")
    world.wait_event("BackupFailed")
    world.edit(backup={"trigger": "two"})
    record = msgspec.structs.replace(RECORD, time="2026-01-01T00:02:00Z")
    second = the_job(world, frozenset({first.name}))
    end(world, second, Outcome(backup=record, time=record.time), at="2026-01-01T00:02:30Z")
    world.wait_condition("BackedUp", "True", "BackupSucceeded")
    assert backup(world)["lastFailure"]["reason"] == "NoMember"


def test_nothing_is_backed_up_before_there_is_something(world: World) -> None:
    world.create(backup={"destination": VOLUME, "trigger": "one", "schedule": "0 3 * * *"})
    operator = world.start_operator()
    world.wait_children()
    world.settle(operator)
    assert jobs(world) == {}
    assert world.get(known.CRONJOBS, "demo-bak") is None


def test_somebody_elses_job_is_left_alone_and_told(world: World) -> None:
    bootstrapped(world, backup={"destination": VOLUME, "trigger": "one"})
    job = the_job(world)
    body = {"metadata": {"name": job.name}, "spec": {"template": {"spec": job["spec"]["template"]["spec"]}}}
    world.edit(backup=None)
    api = world.client.resource(known.JOBS, namespace=NAMESPACE)
    api.delete(job.name, propagation_policy="Background")
    wait_for(lambda: jobs(world) == {}, what="the Job going")
    api.create(body)
    world.edit(backup={"destination": VOLUME, "trigger": "one"})
    assert job.name in world.wait_event("NameTaken")


# -- by schedule


def test_a_schedule_is_a_cron_job(world: World) -> None:
    bootstrapped(
        world,
        backup={"destination": VOLUME, "schedule": "0 3 * * MON", "timeZone": "Asia/Tokyo", "keep": 3, "keepDays": 9},
    )
    wait_for(lambda: world.get(known.CRONJOBS, "demo-bak"), what="the CronJob")
    cron = world.get(known.CRONJOBS, "demo-bak")
    assert cron is not None
    spec = cron["spec"]
    assert (spec["schedule"], spec["timeZone"], spec["concurrencyPolicy"]) == ("0 3 * * MON", "Asia/Tokyo", "Forbid")
    assert spec["suspend"] is False
    (container,) = spec["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    assert {"--keep=3", "--keep-days=9", "--volume=/backups"} <= set(container["args"])
    wait_for(lambda: str(backup(world).get("nextTime", "")).endswith("T18:00:00Z"), what="the next time")

    world.edit(paused=True)
    wait_for(lambda: (world.get(known.CRONJOBS, "demo-bak") or cron)["spec"]["suspend"], what="a pause")
    wait_for(lambda: "nextTime" not in backup(world), what="no next time")
    world.edit(paused=False, backup={"schedule": None})
    wait_for(lambda: world.get(known.CRONJOBS, "demo-bak") is None, what="the CronJob going")


def test_what_jobs_of_the_schedule_come_to_is_told(world: World) -> None:
    bootstrapped(world, backup={"destination": VOLUME, "schedule": "0 3 * * *"})
    wait_for(lambda: world.get(known.CRONJOBS, "demo-bak"), what="the CronJob")
    cron = world.get(known.CRONJOBS, "demo-bak")
    assert cron is not None
    owner = {"apiVersion": "batch/v1", "kind": "CronJob", "name": cron.name, "uid": cron.uid, "controller": True}
    template = cron["spec"]["jobTemplate"]
    metadata = {**template["metadata"], "name": "demo-bak-1", "ownerReferences": [owner]}
    world.client.resource(known.JOBS, namespace=NAMESPACE).create({"metadata": metadata, "spec": template["spec"]})
    end(world, the_job(world), Outcome(backup=RECORD, time=RECORD.time))
    world.wait_event("BackupSucceeded")
    assert "trigger" not in backup(world)


def test_a_schedule_that_cannot_be_kept_is_told_and_all_else_goes_on(world: World) -> None:
    bootstrapped(world, backup={"destination": VOLUME, "schedule": "0 25 * * *"})
    message = world.wait_event("InvalidSpec")
    assert "spec.backup.schedule" in message
    assert world.condition("Available")[0] == "True"
    world.edit(backup={"schedule": "0 5 * * *", "timeZone": "Mars/Olympus"})
    wait_for(lambda: "spec.backup.timeZone" in backed_up(world), what="the time zone's problem")
    world.edit(backup={"timeZone": "UTC"})
    wait_for(lambda: world.get(known.CRONJOBS, "demo-bak"), what="the CronJob")


def test_a_larger_volume_is_asked_for_and_never_a_smaller(world: World) -> None:
    bootstrapped(world, backup={"destination": VOLUME})
    wait_for(lambda: world.get(known.CLAIMS, "demo-backup"), what="the claim")
    claims = world.client.resource(known.CLAIMS, namespace=NAMESPACE)

    def size() -> str:
        return str(claims.get("demo-backup")["spec"]["resources"]["requests"]["storage"])

    (operator,) = world._operators
    writes = len(world.writes())
    world.edit(backup={"destination": {"volume": {"size": "512Mi"}}})
    world.settle(operator)
    assert size() == "1Gi"
    assert not [each for each in world.writes()[writes:] if each.resource == "persistentvolumeclaims"]


def test_a_settled_backup_writes_nothing(world: World) -> None:
    bootstrapped(world, backup={"destination": VOLUME, "schedule": "0 3 * * *", "trigger": "one"})
    end(world, the_job(world), Outcome(backup=RECORD, time=RECORD.time))
    world.wait_event("BackupSucceeded")
    (operator,) = world._operators
    world.settle(operator)


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"destination": {}}, "exactly one of volume and s3"),
        ({"destination": {**VOLUME, **S3}}, "exactly one of volume and s3"),
        ({"destination": {"volume": {}}}, "exactly one of volume.claimName and volume.size"),
        ({"destination": {"volume": {"claimName": "c", "storageClassName": "s"}}}, "belongs to volume.size"),
        ({"destination": VOLUME, "schedule": "daily"}, "spec.backup.schedule"),
        ({"destination": VOLUME, "keep": 0}, "spec.backup.keep"),
        ({"destination": {"s3": {"bucket": "Not A Bucket"}}}, "bucket"),
    ],
)
def test_what_makes_no_sense_is_refused_by_the_server(world: World, settings: JSONObject, field: str) -> None:
    with pytest.raises(Invalid, match=field):
        world.create(backup=settings)


def test_a_pod_for_s3_has_keys_from_the_secret_and_no_token_of_the_api(world: World) -> None:
    resources = {"requests": {"memory": "128Mi"}}
    bootstrapped(world, backup={"destination": S3, "trigger": "one", "resources": resources})
    pod = the_job(world)["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["resources"] == resources
    assert pod["automountServiceAccountToken"] is False
    assert {each["name"]: each["valueFrom"]["secretKeyRef"]["name"] for each in container["env"]} == {
        "AWS_ACCESS_KEY_ID": "keys",
        "AWS_SECRET_ACCESS_KEY": "keys",
        "AWS_SESSION_TOKEN": "keys",
    }
    assert {"--s3-bucket=backups", "--s3-endpoint=https://s3.example"} <= set(container["args"])
    selector = known.Names(NAMESPACE, "demo").selector
    labels = the_job(world)["spec"]["template"]["metadata"]["labels"]
    assert not selector.items() <= labels.items()  # no Service leads to it


# -- restores

RESTORE: JSONObject = {"name": "latest", "cluster": "old", "destination": {"volume": {"claimName": "old-backup"}}}


def test_nothing_starts_before_the_data_is_there(world: World) -> None:
    resources = {"requests": {"memory": "128Mi"}}
    world.create(restoreFrom={**RESTORE, "resources": resources}, backup={"destination": VOLUME})
    operator = world.start_operator()
    job = the_job(world)
    world.settle(operator)
    assert world.get(known.STATEFULSETS, "demo-sts") is None
    assert world.condition("Progressing") == ("True", "Restoring")
    assert world.status()["bootstrap"]["members"] == ["demo-sts-0"]
    pod = job["spec"]["template"]["spec"]
    containers = [*pod["initContainers"], *pod["containers"]]
    assert [each["name"] for each in containers] == ["fetch", "restore", "install"]
    assert [each["resources"] for each in containers] == [resources] * 3
    assert pod["hostAliases"][0]["hostnames"] == ["demo-sts-0.demo-svc.default.svc.cluster.local"]
    claim = world.get(known.CLAIMS, "data-demo-sts-0")
    assert claim is not None
    assert claim.annotations[known.TOKEN] == world.status()["bootstrap"]["token"]

    end(world, job, Outcome(backup=RECORD, message="in place"))
    world.wait_children()
    stateful_set = world.get(known.STATEFULSETS, "demo-sts")
    assert stateful_set is not None
    assert stateful_set["spec"]["replicas"] == 1
    restored = world.status()["restore"]
    assert (restored["completed"], restored["name"], restored["revision"]) == (True, RECORD.name, 7)
    world.settle(operator)
    assert "lastSuccess" not in backup(world)  # it was not this cluster's
    # Gone by its time to live: nothing is restored again; nor if the status is lost while members may run.
    world.client.resource(known.JOBS, namespace=NAMESPACE).delete(job.name, propagation_policy="Background")
    world.settle(operator)
    forgotten = {"status": {"restore": None}}
    world.client.resource(XLINECLUSTERS, namespace=NAMESPACE).patch(
        "demo", forgotten, type="merge", subresource="status"
    )
    world.settle(operator)
    assert jobs(world) == {}


def test_a_restore_that_fails_starts_nothing_and_can_be_tried_again(world: World) -> None:
    world.create(restoreFrom=RESTORE)
    operator = world.start_operator()
    job = the_job(world)
    end(world, job, Outcome(reason="BackupUnusable", message="backup x: its SHA-256 is wrong"), init=True)
    message = world.wait_event("RestoreFailed")
    assert "SHA-256" in message
    assert "delete Job demo-restore" in message
    world.settle(operator)
    assert world.get(known.STATEFULSETS, "demo-sts") is None
    assert world.status()["phase"] == "Failed"
    world.client.resource(known.JOBS, namespace=NAMESPACE).delete(job.name, propagation_policy="Background")
    wait_for(lambda: jobs(world) and jobs(world)["demo-restore"].uid != job.uid, what="another Job")


def test_two_restores_never_work_on_one_volume(world: World) -> None:
    """The Job is deleted while its Pod runs: that one outlives it for as long as it takes to end."""
    world.create(restoreFrom=RESTORE)
    operator = world.start_operator()
    job = the_job(world)
    assert job["spec"]["podReplacementPolicy"] == "Failed"
    pod = run(world, job)
    world.client.resource(known.JOBS, namespace=NAMESPACE).delete(job.name, propagation_policy="Background")
    wait_for(lambda: f"waiting for Pod {pod}" in str(world.status().get("message")), what="being told")
    world.settle(operator)
    assert jobs(world) == {}
    ended = {"status": {"phase": "Failed"}}
    world.client.resource(known.PODS, namespace=NAMESPACE).patch(pod, ended, type="merge", subresource="status")
    assert the_job(world).uid != job.uid
    world.client.resource(known.PODS, namespace=NAMESPACE).patch(pod, {"metadata": {"finalizers": None}}, type="merge")


def test_pods_of_jobs_are_let_in_where_members_are(world: World) -> None:
    """Into namespaces of the level "restricted", and onto nodes that the members' volumes may be on."""
    nodes = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions": [
        {"key": "pool", "operator": "In", "values": ["db"]}]}]}}  # fmt: skip
    apart = {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "kubernetes.io/hostname"}]}
    world.create(
        restoreFrom=RESTORE, podTemplate={"spec": {"affinity": {"nodeAffinity": nodes, "podAntiAffinity": apart}}}
    )
    world.start_operator()
    pod = the_job(world)["spec"]["template"]["spec"]
    assert pod["affinity"] == {"nodeAffinity": nodes}
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in (*pod["initContainers"], *pod["containers"]):
        assert container["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def test_a_volume_that_is_there_is_not_restored_to(world: World) -> None:
    world.make_claim(0)
    world.create(restoreFrom=RESTORE)
    world.start_operator()
    assert "data-demo-sts-0" in world.wait_event("FormerData")
    assert jobs(world) == {}


def test_restore_from_cannot_change(world: World) -> None:
    world.create(restoreFrom=RESTORE)
    for change in (None, {"name": "20260101T000000Z-r7-abcde"}):
        with pytest.raises(Invalid, match="restoreFrom counts when a cluster is made"):
            world.edit(restoreFrom=change)


@pytest.mark.parametrize("at", range(1, 7))
def test_a_restore_goes_on_wherever_the_operator_dies(world: World, at: int) -> None:
    """After its nth write, of which it does not hear."""
    count, lock = 0, threading.Lock()

    def dies(asked: Asked) -> bool:
        nonlocal count
        if asked.user_agent != AGENT or asked.verb not in ("create", "patch", "update", "delete"):
            return False
        if asked.resource == "events":
            return False
        with lock:
            count += 1
            return count == at

    world.create(restoreFrom=RESTORE)
    world.server.faults.add(dies, drop="after")
    world.start_operator()
    job = the_job(world)
    end(world, job, Outcome(backup=RECORD, message="in place"))
    world.wait_children()
    assert count > at
    wait_for(lambda: world.status().get("restore", {}).get("name") == RECORD.name, what="the restore being known")
    assert list(jobs(world)) == [job.name]
    assert jobs(world)[job.name].uid == job.uid
    assert world.client.resource(XLINECLUSTERS, namespace=NAMESPACE).get("demo")["status"]["restore"]["completed"]
