"""LimitRanges: defaults for Pods, and what they refuse."""

from __future__ import annotations

from typing import Any

import pytest

from tests.runtime.testing.apiserver.apiserver_helpers import PODS, Http

LIMITS = "/api/v1/namespaces/default/limitranges"
CLAIMS = "/api/v1/namespaces/default/persistentvolumeclaims"


def limit(api: Http, of: str = "Container", **fields: Any) -> None:
    api.made(LIMITS, "l", spec={"limits": [{"type": of, **fields}]})


def pod(name: str = "p", *resources: dict[str, Any]) -> dict[str, Any]:
    given = resources or ({},)
    containers = [{"name": f"c{place}", "image": "i", "resources": each} for place, each in enumerate(given)]
    return {"metadata": {"name": name}, "spec": {"containers": containers}}


def test_containers_get_what_they_do_not_ask_for(api: Http) -> None:
    limit(api, default={"cpu": "500m"}, defaultRequest={"cpu": "100m", "memory": "1Gi"})
    body = pod("p", {}, {"requests": {"cpu": "1m"}, "limits": {"cpu": "2m"}})
    made = api.post(PODS, body).body
    first, second = (each["resources"] for each in made["spec"]["containers"])
    assert first == {"limits": {"cpu": "500m"}, "requests": {"cpu": "100m", "memory": "1Gi"}}
    assert second == {"requests": {"cpu": "1m", "memory": "1Gi"}, "limits": {"cpu": "2m"}}
    assert made["metadata"]["annotations"]["kubernetes.io/limit-ranger"] == (
        "LimitRanger plugin set: cpu, memory request for container c0; cpu limit for container c0; "
        "memory request for container c1"
    )


@pytest.mark.parametrize(
    ("of", "fields", "resources", "words"),
    [
        ("Container", {"max": {"cpu": "1"}}, [{"limits": {"cpu": "2"}}], "but limit is 2"),
        ("Container", {"min": {"cpu": "1"}}, [{"requests": {"cpu": "500m"}}], "but request is 500m"),
        ("Container", {"min": {"cpu": "1"}}, [{"requests": {"cpu": "1"}, "limits": {"cpu": "1"}}], None),
        ("Pod", {"max": {"cpu": "1"}}, [{"limits": {"cpu": "600m"}}] * 2, "but limit is 1200m"),
        ("Pod", {"max": {"cpu": "1"}}, [{"limits": {"cpu": "500m"}}] * 2, None),
        ("Pod", {"max": {"cpu": "1"}}, [{}], "No limit is specified"),
        (
            "Container",
            {"maxLimitRequestRatio": {"cpu": "2"}},
            [{"requests": {"cpu": "1"}, "limits": {"cpu": "3"}}],
            "provided ratio is 3.000000",
        ),
        (
            "Container",
            {"maxLimitRequestRatio": {"cpu": "2"}},
            [{"requests": {"cpu": "1"}, "limits": {"cpu": "2"}}],
            None,
        ),
    ],
)
def test_what_pods_may_ask_for(
    api: Http, of: str, fields: dict[str, Any], resources: list[dict[str, Any]], words: str | None
) -> None:
    limit(api, of, **fields)
    answer = api.post(PODS, pod("p", *resources))
    if words is None:
        assert answer.status == 201
    else:
        assert (answer.status, answer.body["details"]) == (403, {"name": "p", "kind": "pods"})
        assert words in answer.body["message"]


def test_what_claims_may_ask_for(api: Http) -> None:
    limit(api, "PersistentVolumeClaim", min={"storage": "1Gi"}, max={"storage": "2Gi"})
    for size, status in (("512Mi", 403), ("1Gi", 201), ("2Gi", 201), ("3Gi", 403)):
        spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}}
        assert api.post(CLAIMS, {"metadata": {"name": size.lower()}, "spec": spec}).status == status


def test_other_namespaces_have_no_limits(api: Http) -> None:
    limit(api, max={"cpu": "1"})
    api.made("/api/v1/namespaces", "other")
    made = api.post("/api/v1/namespaces/other/pods", pod()).body
    assert made["spec"]["containers"][0]["resources"] == {}
