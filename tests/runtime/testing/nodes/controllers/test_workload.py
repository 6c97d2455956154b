"""Reading both kinds of StatefulSet: ordinals, partitions, identities."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from runtime.client import Unstructured
from runtime.testing.nodes.controllers.pods import build_claims, build_pod, seconds_until_available
from runtime.testing.nodes.controllers.workload import Workload, read_workload
from runtime.types import JSONObject


def make(spec: JSONObject, *, advanced: bool = False, name: str = "web") -> Workload:
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    return read_workload(
        Unstructured(
            {
                "apiVersion": "apps.kruise.io/v1beta1" if advanced else "apps/v1",
                "kind": "StatefulSet",
                "metadata": {"name": name, "namespace": "ns", "uid": "u1"},
                "spec": {
                    "serviceName": "svc",
                    "template": template,
                    "selector": {"matchLabels": {"app": "web"}},
                    **spec,
                },
            }
        )
    )


# The examples of research/xline.md section 5, which were worked out with Kruise's own algorithm.
@pytest.mark.parametrize(
    ("replicas", "reserved", "ordinals"),
    [
        (5, [], (0, 1, 2, 3, 4)),
        (4, [3], (0, 1, 2, 4)),
        (3, [2, 3], (0, 1, 4)),
        (3, [0, 1], (2, 3, 4)),
        (4, [4], (0, 1, 2, 3)),
        (5, [2], (0, 1, 3, 4, 5)),
        (5, [2, 3], (0, 1, 4, 5, 6)),
        (3, ["0-2", 4], (3, 5, 6)),
        (0, [1], ()),
    ],
)
def test_reserved_ordinals_are_skipped(replicas: int, reserved: list[int | str], ordinals: tuple[int, ...]) -> None:
    assert make({"replicas": replicas, "reserveOrdinals": reserved}, advanced=True).ordinals == ordinals


def test_a_plain_set_has_no_reserved_ordinals_and_may_start_above_zero() -> None:
    assert make({"replicas": 2, "reserveOrdinals": [0]}).ordinals == (0, 1)
    assert make({"replicas": 3, "ordinals": {"start": 2}}).ordinals == (2, 3, 4)


def test_partition_counts_pods_in_both_kinds() -> None:
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}
    assert make({"replicas": 3, "ordinals": {"start": 2}, "updateStrategy": rolling}).stale == {2, 3}
    advanced = make({"replicas": 3, "reserveOrdinals": [0, 1], "updateStrategy": rolling}, advanced=True)
    assert advanced.stale == {2, 3}


@pytest.mark.parametrize(("value", "expected"), [(None, 1), (2, 2), ("50%", 2), ("10%", 1), (0, 1)])
def test_max_unavailable(value: int | str | None, expected: int) -> None:
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": value}}
    assert make({"replicas": 5, "updateStrategy": strategy}, advanced=True).max_unavailable == expected


def test_min_ready_seconds_lives_in_different_places() -> None:
    assert make({"minReadySeconds": 7}).min_ready_seconds == 7
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"minReadySeconds": 9}}
    assert make({"minReadySeconds": 7, "updateStrategy": strategy}, advanced=True).min_ready_seconds == 9


@pytest.mark.parametrize(
    ("pod", "ordinal"),
    [("web-0", 0), ("web-12", 12), ("web-01", None), ("web-x", None), ("other-1", None), ("web", None)],
)
def test_ordinal_of(pod: str, ordinal: int | None) -> None:
    assert make({"replicas": 1}).ordinal_of(pod) == ordinal


def test_a_pod_has_its_identity_and_its_claims() -> None:
    workload = make(
        {
            "replicas": 2,
            "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}}],
            "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Delete"},
        }
    )
    pod = build_pod(workload, 1, workload.template, "web-abc")
    assert pod["metadata"]["name"] == pod["spec"]["hostname"] == "web-1"
    assert pod["spec"]["subdomain"] == "svc"
    assert pod["metadata"]["labels"] == {
        "app": "web",
        "controller-revision-hash": "web-abc",
        "statefulset.kubernetes.io/pod-name": "web-1",
        "apps.kubernetes.io/pod-index": "1",
    }
    assert pod["spec"]["volumes"] == [{"name": "data", "persistentVolumeClaim": {"claimName": "data-web-1"}}]
    (claim,) = build_claims(workload, 1)
    assert claim["metadata"]["name"] == "data-web-1"
    assert claim["metadata"]["ownerReferences"][0]["uid"] == "u1"
    assert "hostname" not in workload.template["spec"], "the template itself is left alone"


def test_a_retained_claim_has_no_owner() -> None:
    template = [{"metadata": {"name": "data"}, "spec": {}}]
    (claim,) = build_claims(make({"replicas": 1, "volumeClaimTemplates": template}), 0)
    assert "ownerReferences" not in claim["metadata"]


def test_availability_counts_from_the_ready_transition() -> None:
    since = datetime(2026, 1, 1, tzinfo=UTC)
    ready = {"type": "Ready", "status": "True", "lastTransitionTime": since.isoformat()}
    pod = Unstructured(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "web-0", "namespace": "ns"},
            "status": {"phase": "Running", "conditions": [ready]},
        }
    )
    assert seconds_until_available(pod, 0, since) == 0
    assert seconds_until_available(pod, 10, since + timedelta(seconds=4)) == 6
    assert seconds_until_available(pod, 10, since + timedelta(seconds=11)) == 0
    pending = Unstructured({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web-0"}})
    assert seconds_until_available(pending, 0, since) is None
