"""Every bad answer becomes one typed error that says what was asked, of which object, and what the server said."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import pytest

from runtime import GVR
from runtime import client as c
from runtime.client import Client

if TYPE_CHECKING:
    from tests.runtime.client.conftest import Kit, ScriptedServer


PODS = GVR("", "v1", "pods")
WIDGETS = GVR("example.com", "v1", "widgets")


@pytest.mark.parametrize(
    ("code", "reason", "kind", "retryable", "ambiguous"),
    [
        (400, "BadRequest", c.BadRequest, False, False),
        (401, "Unauthorized", c.Unauthorized, False, False),
        (403, "Forbidden", c.Forbidden, False, False),
        (404, "NotFound", c.NotFound, False, False),
        (405, "MethodNotAllowed", c.MethodNotAllowed, False, False),
        (409, "AlreadyExists", c.AlreadyExists, False, False),
        (409, "Conflict", c.Conflict, False, False),
        (410, "Expired", c.Expired, False, False),
        (410, "Gone", c.Expired, False, False),
        (415, "UnsupportedMediaType", c.UnsupportedMediaType, False, False),
        (422, "Invalid", c.Invalid, False, False),
        (429, "TooManyRequests", c.TooManyRequests, True, False),
        (500, "InternalError", c.InternalError, True, True),
        (500, "ServerTimeout", c.ServerTimeout, True, True),
        (504, "Timeout", c.ServerTimeout, True, True),
        (503, "ServiceUnavailable", c.ServiceUnavailable, True, False),
        (418, "SomethingNew", c.ApiError, False, False),
        (409, "SomethingNew", c.Conflict, False, False),
        (599, "SomethingNew", c.InternalError, True, True),
    ],
)
def test_the_reason_then_the_status_decide_the_type(
    scripted: ScriptedServer,
    client: Client,
    kit: type[Kit],
    code: Any,
    reason: Any,
    kind: Any,
    retryable: Any,
    ambiguous: Any,
) -> None:
    scripted.then(kit.failure(code, reason, "the words of the server"))
    with pytest.raises(c.ApiError) as e:
        client.resource(PODS, "ns").get("web-0")
    assert type(e.value) is kind
    assert (e.value.status, e.value.reason, e.value.message) == (code, reason, "the words of the server")
    assert (e.value.retryable, e.value.ambiguous) == (retryable, ambiguous)
    assert str(e.value) == f"get pods.v1 ns/web-0: the words of the server ({code} {reason})"


def test_causes_name_the_fields(scripted: ScriptedServer, client: Client, kit: type[Kit]) -> None:
    causes = [{"reason": "FieldValueInvalid", "message": "must be positive", "field": "spec.replicas"}, "garbage"]
    scripted.then(kit.failure(422, "Invalid", name="w", kind="Widget", group="example.com", uid="u", causes=causes))
    with pytest.raises(c.Invalid) as e:
        client.resource(WIDGETS, "ns").create({"metadata": {"name": "w"}})
    assert e.value.causes == (c.Cause("FieldValueInvalid", "must be positive", "spec.replicas"),)
    assert str(e.value.causes[0]) == "spec.replicas: must be positive"
    assert e.value.details == c.Details("w", "example.com", "Widget", "u", e.value.causes)
    assert str(e.value).startswith("create widgets.v1.example.com ns/w: ")


@pytest.mark.parametrize(
    ("status", "kind"), [(502, c.InternalError), (404, c.NotFound), (403, c.Forbidden), (409, c.Conflict)]
)
@pytest.mark.parametrize(
    "body", [b"<html>Bad gateway" + b"x" * 5000, b"", b"\xff\xfe", b"[1]", b'{"kind":"Pod"}', b'{"kind":"Status"']
)
def test_an_answer_that_is_no_status_is_still_a_sane_error(
    scripted: ScriptedServer, client: Client, kit: type[Kit], status: Any, kind: Any, body: Any
) -> None:
    scripted.then(kit.answer(body, status))
    with pytest.raises(kind) as e:
        client.resource(PODS, "ns").get("p")
    assert e.value.status == status
    assert e.value.body == body
    assert len(str(e.value)) < 400
    assert "get pods.v1 ns/p" in str(e.value)


@pytest.mark.parametrize(
    "odd", [{"code": "x"}, {"reason": 5, "message": None}, {"details": "no"}, {"details": {"causes": 3}}]
)
def test_a_status_with_odd_types_is_read_as_far_as_it_goes(
    scripted: ScriptedServer, client: Client, kit: type[Kit], odd: Any
) -> None:
    scripted.then(kit.answer({"kind": "Status", "code": 404, "reason": "NotFound", "message": "m", **odd}, 404))
    with pytest.raises(c.NotFound):
        client.resource(PODS, "ns").get("p")


def test_retry_after_of_the_header_wins_over_the_body(scripted: ScriptedServer, client: Client, kit: type[Kit]) -> None:
    scripted.then(kit.failure(429, "TooManyRequests", headers={"Retry-After": "100"}, retryAfterSeconds=7))
    with pytest.raises(c.TooManyRequests) as e:
        client.resource(PODS, "ns").get("p")
    assert e.value.retry_after == 100
    scripted.then(kit.failure(429, "TooManyRequests", retryAfterSeconds=7))
    with pytest.raises(c.TooManyRequests) as e:
        client.resource(PODS, "ns").get("p")
    assert e.value.retry_after == 7


def test_an_expired_page_carries_the_token_to_go_on_with(
    scripted: ScriptedServer, client: Client, kit: type[Kit]
) -> None:
    body = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old", "metadata": {"continue": "abc"}}
    scripted.then(kit.answer(body, 410))
    with pytest.raises(c.Expired) as e:
        client.resource(PODS).list(continue_="old")
    assert e.value.continue_token == "abc"


@pytest.mark.parametrize("body", [b"<html>hello", b"", b"[]", b"3"])
def test_a_success_that_is_no_object_is_an_error_that_names_the_call(
    scripted: ScriptedServer, client: Client, kit: type[Kit], body: Any
) -> None:
    scripted.then(kit.answer(body), kit.answer(body))
    with pytest.raises(c.ConnectionFailed, match=r"get pods.v1 ns/p: the answer is no object") as e:
        client.resource(PODS, "ns").get("p")
    assert not e.value.retryable
    with pytest.raises(c.ConnectionFailed, match=r"list pods.v1 ns: "):
        client.resource(PODS, "ns").list()


def test_errors_survive_pickling(scripted: ScriptedServer, client: Client, kit: type[Kit]) -> None:
    scripted.then(kit.failure(404, "NotFound", name="p"))
    with pytest.raises(c.NotFound) as e:
        client.resource(PODS, "ns").get("p")
    again = pickle.loads(pickle.dumps(e.value))
    assert (type(again), str(again), again.details) == (c.NotFound, str(e.value), e.value.details)
