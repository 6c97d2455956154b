"""What the terminal shows."""

from __future__ import annotations

import io
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cmd.view import Snapshot, cluster_row, event_line, event_time, new_lines, pod_row, render
from runtime.client import Unstructured
from runtime.types import JSONObject


def cluster(**status: object) -> Unstructured:
    return Unstructured(
        {
            "apiVersion": "xline.io.datenlord.com/v1alpha1",
            "kind": "XlineCluster",
            "metadata": {"name": "demo", "namespace": "default", "uid": "c"},
            "spec": {"replicas": 3, "engine": "etcd"},
            "status": status,
        }
    )


def pod(**changes: object) -> Unstructured:
    body: JSONObject = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "demo-sts-0", "namespace": "default"},
        "spec": {"containers": [{"name": "xline"}]},
        "status": {"phase": "Running", "podIP": "127.0.0.2", "containerStatuses": [{"ready": True, "restartCount": 2}]},
    }
    body |= changes
    return Unstructured(body)


def event(message: str, count: int = 1) -> Unstructured:
    return Unstructured(
        {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": "e", "namespace": "default", "uid": "e"},
            "involvedObject": {"kind": "Pod", "name": "demo-sts-0"},
            "reason": "Started",
            "message": message,
            "count": count,
            "lastTimestamp": "2026-01-01T00:00:00Z",
        }
    )


def test_a_cluster_without_status_has_a_row_too() -> None:
    assert cluster_row(cluster()) == ("default/demo", "etcd", "0/3", "-", "-", "-", "")


def test_a_cluster_shows_its_members_and_what_is_done_with_them() -> None:
    row = cluster_row(
        cluster(readyReplicas=3, voters=4, leader="demo-sts-1", phase="Scaling", message="demo-sts-3 joins")
    )
    assert row == ("default/demo", "etcd", "3/3", "4", "demo-sts-1", "Scaling", "demo-sts-3 joins")


@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        ({}, "Running"),
        ({"status": {}}, "Pending"),
        (
            {"metadata": {"name": "demo-sts-0", "namespace": "default", "deletionTimestamp": "2026-01-01T00:00:00Z"}},
            "Terminating",
        ),
        (
            {
                "status": {
                    "phase": "Running",
                    "containerStatuses": [{"state": {"waiting": {"reason": "CrashLoopBackOff"}}}],
                }
            },
            "CrashLoopBackOff",
        ),
    ],
)
def test_a_pod_shows_what_kubectl_would(changes: JSONObject, shown: str) -> None:
    assert pod_row(pod(**changes))[1] == shown


def test_a_line_is_printed_when_it_is_new_and_when_it_changes() -> None:
    shown: dict[str, str] = {}
    first = Snapshot([cluster(message="starting")], [pod()], [event("up")])
    assert len(list(new_lines(first, shown))) == 2
    assert list(new_lines(first, shown)) == []
    (line,) = new_lines(Snapshot([cluster(message="ready")], [], [event("up")]), shown)
    assert line.endswith("default/demo: ready")
    (line,) = new_lines(Snapshot([cluster(message="ready")], [], [event("up", 2)]), shown)
    assert line.endswith("Pod demo-sts-0: Started: up (x2)")


def test_a_series_shows_its_count_and_when_it_was_last_seen() -> None:
    raw = event("up").to_dict() | {"count": 0, "lastTimestamp": None, "eventTime": "2026-01-01T00:00:00.000000Z"}
    (single,) = new_lines(Snapshot([], [], [Unstructured(raw)]), {})
    assert single.endswith("Pod demo-sts-0: Started: up")
    series = {"count": 7, "lastObservedTime": "2026-01-01T00:05:00.000000Z"}
    (line,) = new_lines(Snapshot([], [], [Unstructured(raw | {"series": series})]), {})
    assert line.endswith("Pod demo-sts-0: Started: up (x7)")
    assert event_time(Unstructured(raw | {"series": series})) == datetime(2026, 1, 1, 0, 5, tzinfo=UTC)


def test_an_event_has_its_local_time() -> None:
    assert re.fullmatch(r"\d\d:\d\d:\d\d  Pod demo-sts-0: Started: up", event_line(event("up")))


def test_the_table_has_everything_and_the_kubeconfig() -> None:
    from rich.console import Console

    console = Console(width=150, record=True, file=io.StringIO())
    console.print(render(Snapshot([cluster(leader="demo-sts-1")], [pod()], [event("up")]), Path("/k")))
    text = console.export_text()
    for part in ("default/demo", "demo-sts-1", "127.0.0.2", "Started: up", "kubectl --kubeconfig /k"):
        assert part in text
