"""What is asked of events, through either of their APIs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from runtime.client import BadRequest, Client, Invalid
from runtime.testing import FakeAPIServer
from runtime.types import GVR, JSONObject

CORE = GVR("", "v1", "events")
EVENTS = GVR("events.k8s.io", "v1", "events")
NEW: JSONObject = {
    "metadata": {"name": "e"},
    "regarding": {"kind": "Pod", "name": "p", "namespace": "default"},
    "eventTime": "2020-01-01T00:00:00.000000Z",
    "type": "Normal",
    "reason": "Began",
    "action": "Begin",
    "note": "it began",
    "reportingController": "example.com/me",
    "reportingInstance": "me-1",
}
SERIES: JSONObject = {"count": 2, "lastObservedTime": "2020-01-01T00:00:05.000000Z"}
BAD: list[tuple[JSONObject, str]] = [
    ({"eventTime": None}, "eventTime"),
    ({"reason": ""}, "reason"),
    ({"action": ""}, "action"),
    ({"reportingController": ""}, "reportingController"),
    ({"reportingController": "a b"}, "reportingController"),
    ({"reportingInstance": ""}, "reportingInstance"),
    ({"reportingInstance": "x" * 129}, "reportingInstance"),
    ({"reason": "x" * 129}, "reason"),
    ({"action": "x" * 129}, "action"),
    ({"note": "x" * 1025}, "message"),
    ({"note": "ä" * 513}, "message"),  # bytes count
    ({"type": "Bad"}, "type"),
    ({"deprecatedCount": 1}, "count"),
    ({"deprecatedSource": {"component": "x"}}, "source"),
    ({"deprecatedFirstTimestamp": "2020-01-01T00:00:00Z"}, "firstTimestamp"),
    ({"series": {**SERIES, "count": 1}}, "series.count"),
    ({"series": {"count": 2, "lastObservedTime": None}}, "series.lastObservedTime"),
]


@pytest.fixture
def client() -> Iterator[Client]:
    with FakeAPIServer() as server:
        yield server.client()


def refusal(client: Client, change: JSONObject) -> set[str]:
    """The fields that are wrong with this one."""
    with pytest.raises(Invalid) as refused:
        client.resource(EVENTS, "default").create({**NEW, **change})
    return {cause.field for cause in refused.value.causes}


def test_a_new_event_says_all_that_matters_and_in_short(client: Client) -> None:
    assert [(change, refusal(client, change)) for change, _ in BAD] == [(change, {field}) for change, field in BAD]


def test_its_namespace_is_that_of_the_object(client: Client) -> None:
    assert refusal(client, {"eventTime": None, "regarding": {"namespace": "other"}}) >= {"involvedObject.namespace"}
    client.resource(GVR("", "v1", "namespaces")).create({"metadata": {"name": "other"}})
    with pytest.raises(Invalid, match=r"event\.namespace"):
        client.resource(EVENTS, "other").create({**NEW, "regarding": {"kind": "Node", "name": "n"}})
    client.resource(EVENTS, "kube-system").create({**NEW, "regarding": {"kind": "Node", "name": "n"}})


def test_only_the_series_may_change(client: Client) -> None:
    events = client.resource(EVENTS, "default")
    events.create({**NEW, "metadata": {"name": "series"}})
    assert events.patch("series", {"series": SERIES})["series"] == SERIES
    for change, field in (
        ({"note": "else"}, "message"),
        ({"reportingController": "other"}, "reportingController"),
        ({"related": {"name": "x"}}, "related"),
        ({"deprecatedCount": 3}, "count"),
        ({"series": {"count": 1}}, "series.count"),
    ):
        with pytest.raises(Invalid) as refused:
            events.patch("series", change)
        assert {cause.field for cause in refused.value.causes} == {field}


def test_the_old_api_changes_what_it_wants(client: Client) -> None:
    client.resource(EVENTS, "default").create({**NEW, "metadata": {"name": "old-way"}})
    old_way = client.resource(CORE, "default")
    assert old_way.patch("old-way", {"message": "else", "count": 7})["count"] == 7
    with pytest.raises(Invalid, match="reportingController"):
        old_way.patch("old-way", {"reportingComponent": ""})  # it has a time: it is a new one


def test_each_api_selects_by_its_own_names(client: Client) -> None:
    new_way, old_way = (client.resource(gvr, "default") for gvr in (EVENTS, CORE))
    new_way.create(NEW)
    for fields in ("regarding.name=p", "regarding.kind=Pod,reason=Began", "reportingController=example.com/me"):
        assert len(new_way.list(field_selector=fields)) == 1
        assert len(new_way.list(field_selector=fields.replace("=", "!="))) == 0
    for fields in ("involvedObject.name=p", "reportingComponent=example.com/me", "source=example.com/me"):
        assert len(old_way.list(field_selector=fields)) == 1
    for events, fields in ((new_way, "involvedObject.name=p"), (old_way, "regarding.name=p")):
        with pytest.raises(BadRequest, match="field label not supported"):
            events.list(field_selector=fields)
