"""Conditions, by the rules of apimachinery's ``meta.SetStatusCondition``."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from runtime.controller import find_condition, is_condition, remove_condition, set_condition
from runtime.types import JSONObject

NOON = datetime(2026, 1, 2, 12, 0, 0, 900_000, tzinfo=UTC)
LATER = NOON + timedelta(minutes=5)
READY: JSONObject = {
    "type": "Ready",
    "status": "False",
    "reason": "Starting",
    "message": "wait",
    "lastTransitionTime": "2026-01-02T12:00:00Z",
    "observedGeneration": 3,
}


def ready(conditions: Any, status: Any, reason: str = "Starting", message: str = "wait", **more: Any) -> Any:
    more.setdefault("now", LATER)
    return set_condition(conditions, "Ready", status, reason, message, **more)


@pytest.mark.parametrize("before", [None, []])
def test_a_new_condition_begins_now(before: Any) -> None:
    assert ready(before, "False", now=NOON, observed_generation=3) == [READY]


def test_the_transition_is_told_in_utc() -> None:
    there = NOON.astimezone(timezone(timedelta(hours=-7)))
    assert ready([], "False", now=there, observed_generation=3) == [READY]


def test_a_new_status_is_a_transition() -> None:
    (condition,) = ready([READY], "True", "Started", "")
    assert condition == READY | {
        "status": "True",
        "reason": "Started",
        "message": "",
        "lastTransitionTime": "2026-01-02T12:05:00Z",
    }


def test_another_reason_message_or_generation_is_none() -> None:
    (condition,) = ready([READY], "False", "Slow", "wait more", observed_generation=4)
    assert condition == READY | {"reason": "Slow", "message": "wait more", "observedGeneration": 4}


def test_what_is_as_it_was_is_equal() -> None:
    assert ready([READY], "False") == [READY]
    assert ready([READY], "False", observed_generation=3) == [READY]


def test_a_condition_without_a_time_gets_one() -> None:
    untimed = {key: value for key, value in READY.items() if key != "lastTransitionTime"}
    assert ready([untimed], "False")[0]["lastTransitionTime"] == "2026-01-02T12:05:00Z"


def test_others_stay_and_so_does_the_order() -> None:
    other = {"type": "Other", "status": "True", "extra": 1}
    last = {"type": "Last", "status": "Unknown"}
    before = [other, READY, last]
    after = ready(before, "True", "Started")
    assert [condition["type"] for condition in after] == ["Other", "Ready", "Last"]
    assert after[0] == other
    assert before == [other, READY, last], "what was given is not touched"
    assert before[1]["status"] == "False"
    assert set_condition(before, "New", "True", "R", now=NOON)[3]["type"] == "New"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"type": ""}, "needs a type"),
        ({"status": "true"}, "'true' is none of True, False, Unknown"),
        ({"reason": ""}, "no word in CamelCase"),
        ({"reason": "not ready"}, "no word in CamelCase"),
        ({"reason": "x" * 1025}, "no word in CamelCase"),
        ({"message": "x" * 32769}, "32769 characters"),
        ({"now": datetime(2026, 1, 1)}, "no time zone"),
    ],
)
def test_what_the_server_would_refuse_is_refused(wrong: dict[str, Any], said: str) -> None:
    right: dict[str, Any] = {"type": "Ready", "status": "True", "reason": "R", "message": "", "now": NOON}
    with pytest.raises(ValueError, match=said):
        set_condition([], **(right | wrong))


def test_finding_and_removing() -> None:
    other = {"type": "Other", "status": "True"}
    assert find_condition([other, READY], "Ready") == READY
    assert find_condition([other], "Ready") is None
    assert find_condition(None, "Ready") is None
    assert is_condition([READY], "Ready", "False")
    assert not is_condition([READY], "Ready")
    assert not is_condition([], "Ready", "False")
    assert remove_condition([other, READY], "Ready") == [other]
    assert remove_condition([other], "Ready") == [other]
    assert remove_condition(None, "Ready") == []
