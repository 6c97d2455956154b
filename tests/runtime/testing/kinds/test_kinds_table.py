"""Tables: the columns of kubectl get."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from runtime.testing.kinds.durations import age, short
from runtime.testing.kinds.jsonpath import JSONPathError, compile_path
from runtime.testing.kinds.model import Kind
from runtime.testing.kinds.table import table
from tests.runtime.testing.kinds.kinds_helpers import JSON, JSONMaker, Sandbox

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
CREATED = "2026-01-02T02:04:05Z"


def show(kind: Kind, obj: JSON, wide: bool = True) -> JSON:
    obj = {**obj, "metadata": {"name": "x", "creationTimestamp": CREATED, **obj.get("metadata", {})}}
    made = table(kind, [obj], list_meta={"resourceVersion": "7"}, now=NOW)
    names = [each["name"] for each in made["columnDefinitions"]]
    cells = made["rows"][0]["cells"]
    assert len(names) == len(cells)
    return {
        name: cell
        for name, cell, column in zip(names, cells, made["columnDefinitions"], strict=True)
        if wide or column["priority"] == 0
    }


def test_every_kind_has_a_table_even_of_an_empty_object(sandbox: Sandbox) -> None:
    for kind in sandbox.registry.kinds():
        shown = show(kind, {})
        assert shown["Name"] == "x", kind.gvr


def test_rows_carry_what_was_asked_for(sandbox: Sandbox) -> None:
    kind = sandbox.builtin("configmaps")
    obj = {"metadata": {"name": "c", "creationTimestamp": CREATED}, "data": {"k": "v"}}

    def row(include: str) -> Any:
        return table(kind, [obj], list_meta={}, include_object=include, now=NOW)["rows"][0]["object"]

    assert row("Metadata") == {
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": obj["metadata"],
    }
    assert row("Object") == obj
    assert row("None") is None


def test_only_the_first_event_of_a_watch_carries_columns(sandbox: Sandbox) -> None:
    kind = sandbox.builtin("configmaps")

    assert table(kind, [], list_meta={}, first_watch_event=False)["columnDefinitions"] is None


@pytest.mark.parametrize(
    ("pod", "expected"),
    [
        ({"status": {"phase": "Pending"}}, ("0/1", "Pending", "0")),
        (
            {
                "status": {
                    "phase": "Running",
                    "containerStatuses": [
                        {
                            "name": "main",
                            "ready": True,
                            "restartCount": 2,
                            "state": {"running": {}},
                            "lastState": {"terminated": {"finishedAt": "2026-01-02T03:00:05Z"}},
                        }
                    ],
                }
            },
            ("1/1", "Running", "2 (4m ago)"),
        ),
        (
            {
                "status": {
                    "phase": "Running",
                    "containerStatuses": [
                        {"name": "main", "restartCount": 1, "state": {"waiting": {"reason": "CrashLoopBackOff"}}}
                    ],
                }
            },
            ("0/1", "CrashLoopBackOff", "1"),
        ),
        (
            {
                "status": {
                    "phase": "Failed",
                    "containerStatuses": [{"name": "main", "state": {"terminated": {"exitCode": 3}}}],
                }
            },
            ("0/1", "ExitCode:3", "0"),
        ),
        ({"metadata": {"deletionTimestamp": CREATED}, "status": {"phase": "Running"}}, ("0/1", "Terminating", "0")),
        (
            {
                "spec": {"initContainers": [{"name": "i"}, {"name": "j"}]},
                "status": {
                    "phase": "Pending",
                    "initContainerStatuses": [
                        {"name": "i", "state": {"terminated": {"exitCode": 0}}},
                        {"name": "j", "state": {"running": {}}},
                    ],
                },
            },
            ("0/1", "Init:1/2", "0"),
        ),
        (
            {
                "spec": {"initContainers": [{"name": "side", "restartPolicy": "Always"}]},
                "status": {
                    "phase": "Running",
                    "initContainerStatuses": [
                        {"name": "side", "ready": True, "started": True, "state": {"running": {}}, "restartCount": 1}
                    ],
                    "containerStatuses": [{"name": "main", "ready": True, "state": {"running": {}}}],
                },
            },
            ("2/2", "Running", "1"),
        ),
    ],
)
def test_pods(pod: JSON, expected: tuple[str, str, str], sandbox: Sandbox) -> None:
    pod = {**pod, "spec": {"containers": [{"name": "main"}], **pod.get("spec", {})}}
    shown = show(sandbox.builtin("pods"), pod)

    assert (shown["Ready"], shown["Status"], shown["Restarts"]) == expected
    assert shown["Age"] == "60m"


def test_services(sandbox: Sandbox) -> None:
    spec = {
        "type": "NodePort",
        "clusterIP": "10.0.0.1",
        "ports": [{"port": 80, "nodePort": 30001, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}],
        "selector": {"b": "2", "a": "1"},
    }
    shown = show(sandbox.builtin("services"), {"spec": spec})

    assert shown["Port(s)"] == "80:30001/TCP,53/UDP"
    assert (shown["External-IP"], shown["Selector"]) == ("<none>", "a=1,b=2")


def test_workloads(sandbox: Sandbox) -> None:
    template = {"spec": {"containers": [{"name": "a", "image": "i:1"}, {"name": "b", "image": "j:2"}]}}
    obj = {"spec": {"replicas": 3, "template": template}, "status": {"readyReplicas": 2}}
    shown = show(sandbox.builtin("statefulsets"), obj)

    assert shown["Ready"] == "2/3"
    assert (shown["Containers"], shown["Images"]) == ("a,b", "i:1,j:2")
    assert "Images" not in show(sandbox.builtin("statefulsets"), obj, wide=False)


def test_events_are_shown_by_when_and_what(sandbox: Sandbox) -> None:
    event = {
        "lastTimestamp": "2026-01-02T03:04:00Z",
        "type": "Normal",
        "reason": "Began",
        "involvedObject": {"kind": "Pod", "name": "p"},
        "message": "it began",
    }
    shown = show(sandbox.builtin("events"), event, wide=False)

    assert shown == {
        "Last Seen": "5s",
        "Type": "Normal",
        "Reason": "Began",
        "Object": "pod/p",
        "Message": "it began",
    }


def test_custom_columns(sandbox: Sandbox, widget: JSONMaker) -> None:
    columns = [
        {"name": "Num", "type": "integer", "jsonPath": ".spec.n"},
        {"name": "Str", "type": "string", "jsonPath": ".spec.s", "priority": 1},
        {"name": "Bool", "type": "boolean", "jsonPath": ".spec.b"},
        {"name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type=='Ready')].status"},
        {"name": "Since", "type": "date", "jsonPath": ".status.since"},
    ]
    kind = sandbox.custom(
        {"type": "object", "x-kubernetes-preserve-unknown-fields": True}, additionalPrinterColumns=columns
    )
    conditions = [{"type": "Other", "status": "False"}, {"type": "Ready", "status": "True"}]
    full = {**widget({"n": 1, "s": {"deep": 1}, "b": True}), "status": {"since": CREATED, "conditions": conditions}}

    assert show(kind, full) == {
        "Name": "w",
        "Num": 1,
        "Str": '{"deep":1}',
        "Bool": True,
        "Ready": "True",
        "Since": "60m",
    }
    assert list(show(kind, widget({"n": "no number"})).values()) == ["w", None, None, None, None, None]


def test_without_columns_a_custom_resource_has_an_age(sandbox: Sandbox, widget: JSONMaker) -> None:
    assert show(sandbox.custom({"type": "object"}), widget({})) == {"Name": "w", "Age": "60m"}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "<invalid>"),
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (190, "3m10s"),
        (600, "10m"),
        (10799, "179m"),
        (10800, "3h"),
        (11100, "3h5m"),
        (8 * 3600, "8h"),
        (48 * 3600, "2d"),
        (49 * 3600, "2d1h"),
        (8 * 86400, "8d"),
        (730 * 86400, "2y"),
        (800 * 86400, "2y70d"),
        (9 * 365 * 86400, "9y"),
    ],
)
def test_durations(seconds: int, text: str) -> None:
    assert short(seconds) == text


def test_age_of_no_time() -> None:
    assert age(None, NOW) == age("yesterday", NOW) == "<unknown>"
    assert age((NOW - timedelta(seconds=5)).isoformat(), NOW) == "5s"


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (".a.b", [1]),
        ("{.a.b}", [1]),
        (".l[0].n", ["x"]),
        (".l[-1].n", ["y"]),
        (".l[*].n", ["x", "y"]),
        (".l[0:1].n", ["x"]),
        (".l[?(@.n=='y')].v", [2]),
        (".l[?(@.v>1)].n", ["y"]),
        (".l[?(@.w)].n", ["x"]),
        (r".m.a\.b", [3]),
        (".m['a.b']", [3]),
        (".missing.x", []),
        (".a.b.c", []),
    ],
)
def test_json_paths(path: str, found: list[object]) -> None:
    obj = {"a": {"b": 1}, "l": [{"n": "x", "v": 1, "w": True}, {"n": "y", "v": 2}], "m": {"a.b": 3}}

    assert compile_path(path).find(obj) == found


def test_a_path_that_is_not_understood_is_named() -> None:
    with pytest.raises(JSONPathError, match=r"\[\?\("):
        compile_path(".a[?(@.b =~ 'x')]")
