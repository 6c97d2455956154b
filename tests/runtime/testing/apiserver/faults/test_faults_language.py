"""The words of faults: what they mean, and what is said of those that mean nothing."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from runtime.testing.apiserver.faults import Asked, BadFault, Faults, language
from runtime.testing.apiserver.faults.frequency import Frequency, Meter
from runtime.testing.apiserver.faults.language import read_document, read_fault
from runtime.testing.apiserver.faults.rules import Effect


def asked(verb: str = "get", resource: str = "pods", name: str = "web-1", **more: Any) -> Asked:
    fields: dict[str, Any] = {
        "group": "",
        "namespace": "default",
        "subresource": "",
        "path": "/x",
        "user_agent": "ua/1",
    }
    return Asked(verb=verb, resource=resource, name=name, **{**fields, **more})


def strikes(request: Asked, **words: Any) -> bool:
    return bool(Faults().add(status=500, **words).strikes(request))


@pytest.mark.parametrize(
    ("words", "fits"),
    [
        ({}, True),
        ({"verb": "get"}, True),
        ({"verb": ["list", "get"]}, True),
        ({"verb": "list"}, False),
        ({"name": "web-*"}, True),
        ({"name": "web-?"}, True),
        ({"name": "web"}, False),
        ({"name": "!web-*"}, False),
        ({"name": "!db-*"}, True),
        ({"name": ["web-*", "!web-1"]}, False),
        ({"name": ["web-*", "!web-2"]}, True),
        ({"user": "system:*"}, True),
        ({"user": "alice"}, False),
        ({"subresource": ""}, True),
        ({"subresource": "status"}, False),
        ({"group": "apps"}, False),
        ({"namespace": "default", "resource": "pods", "user_agent": "ua/*", "path": "/x"}, True),
        ({"query": {"limit": "500"}}, True),
        ({"query": {"limit": "500", "watch": "true"}}, False),
        ({"query": {"watch": ""}}, True),
        ({"match": lambda it: it.groups == ("g",)}, True),
        ({"match": lambda it: False, "verb": "get"}, False),
    ],
)
def test_which_requests(words: dict[str, Any], fits: bool) -> None:
    request = asked(user="system:admin", groups=("g",), query={"limit": "500"})
    assert strikes(request, **words) is fits


@pytest.mark.parametrize(
    ("words", "struck"),
    [
        ({}, [1, 2, 3, 4, 5, 6, 7]),
        ({"nth": 3}, [3]),
        ({"nth": [1, 4]}, [1, 4]),
        ({"every": 3}, [3, 6]),
        ({"after": 5}, [6, 7]),
        ({"after": 1, "every": 2}, [3, 5, 7]),
        ({"times": 2}, [1, 2]),
        ({"times": 0}, []),
        ({"after": 2, "times": 1}, [3]),
        ({"nth": [2, 3], "times": 1}, [2]),
        ({"nth": [1, 3], "after": 2}, [3]),
        ({"probability": 0}, []),
        ({"probability": 1}, [1, 2, 3, 4, 5, 6, 7]),
    ],
)
def test_how_often(words: dict[str, Any], struck: list[int]) -> None:
    fault = Faults().add(verb="get", status=500, **words)
    seen = []
    for number in range(1, 8):
        assert not fault.strikes(asked("list")), "what does not fit does not count"
        if fault.strikes(asked()):
            seen.append(number)
    assert seen == struck
    assert fault.hits == len(struck)


def test_chance_strikes_about_its_part_and_the_same_ones_by_the_same_seed() -> None:
    def struck(seed: int, name: str = "web-1") -> list[bool]:
        fault = Faults(seed).add(status=500, probability=0.3)
        return [bool(fault.strikes(asked(name=name))) for _ in range(1000)]

    assert 240 < sum(struck(1)) < 360
    assert struck(1) == struck(1)
    assert struck(1) != struck(2)
    assert struck(1) != struck(1, "web-2")


def test_chance_does_not_depend_on_what_others_ask_meanwhile() -> None:
    def struck(others: int) -> list[bool]:
        fault = Faults(7).add(status=500, probability=0.5)
        found = []
        for _ in range(100):
            for number in range(others):
                fault.strikes(asked(name=f"other-{number}"))
            found.append(bool(fault.strikes(asked())))
        return found

    assert struck(0) == struck(3)


def test_two_faults_of_one_server_draw_apart() -> None:
    faults = Faults(1)
    first, second = (faults.add(status=500, probability=0.5) for _ in range(2))
    assert [bool(first.strikes(asked())) for _ in range(50)] != [bool(second.strikes(asked())) for _ in range(50)]


def test_a_range_of_delays_is_drawn_from_the_seed() -> None:
    def delays(seed: int) -> list[float]:
        fault = Faults(seed).add(delay=(1, 3))
        found = []
        for _ in range(20):
            strike = fault.strikes(asked())
            assert strike is not None
            found.append(strike.delay)
        return found

    assert delays(1) == delays(1) != delays(2)
    assert all(1 <= each <= 3 for each in delays(1))
    assert len(set(delays(1))) == 20
    strike = Faults().add(delay=0.5).strikes(asked())
    assert strike is not None
    assert strike.delay == 0.5


def test_what_is_drawn_for_requests_at_once_is_what_is_drawn_for_one_after_the_other() -> None:
    def drawn(*, at_once: bool) -> list[list[object]]:
        fault = Faults(1).add(verb="watch", delay=(1, 3), at={"probability": 0.5})
        strikes = (fault.strikes(asked("watch")) for _ in range(5))
        found: list[list[object]] = []
        for strike in list(strikes) if at_once else strikes:
            assert strike is not None
            assert strike.meter is not None
            found.append([strike.delay, *(bool(strike.meter.strikes("event")) for _ in range(20))])
        return found

    assert drawn(at_once=True) == drawn(at_once=False)
    assert len({str(each) for each in drawn(at_once=True)}) == 5


def test_what_is_drawn_for_a_turn_stays_whatever_comes_after() -> None:
    meter = Meter(Frequency(), "seed")
    first = meter.between(0, 1, "a", meter.strikes("a"))
    second = meter.between(0, 1, "a", meter.strikes("a"))
    assert (meter.between(0, 1, "a", 1), meter.between(0, 1, "a", 2)) == (first, second)
    assert first != second


@pytest.mark.parametrize(
    ("words", "effect"),
    [
        ({"delay": 2}, Effect(delay=(2, 2))),
        ({"delay": [1, 2.5]}, Effect(delay=(1, 2.5))),
        ({"status": 429, "retry_after": 3}, Effect(status=429, retry_after=3)),
        ({"status": 409, "reason": "R", "message": "m"}, Effect(status=409, reason="R", message="m")),
        ({"drop": "before", "delay": 1}, Effect(drop="before", delay=(1, 1))),
        ({"reset": "after"}, Effect(reset="after")),
        ({"truncate": True}, Effect(truncate=True)),
        ({"stall": True}, Effect(stall=math.inf)),
        ({"stall": 2}, Effect(stall=2.0)),
        ({"stall": 2, "stale": 3, "verb": "list"}, Effect(stall=2.0, stale=3)),
        ({"lose": True}, Effect(lose=True)),
        ({"duplicate": True}, Effect(duplicate=1)),
        ({"duplicate": 3}, Effect(duplicate=3)),
        ({"end": "after", "at": 2}, Effect(end="after")),
        ({"stale": True}, Effect(stale=-1)),
        ({"stale": 5, "compact": True}, Effect(stale=5, compact=True)),
        ({"skew": -3600}, Effect(skew=-3600.0)),
        ({"pause": 2}, Effect(pause=2.0)),
        ({"restart": True}, Effect(restart=0.0)),
        ({"restart": 1.5, "drop": "after"}, Effect(restart=1.5, drop="after")),
    ],
)  # fmt: skip
def test_what_happens(words: dict[str, Any], effect: Effect) -> None:
    assert read_fault(words)[0].effect == effect


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({}, "nothing would happen: give one of delay, status"),
        ({"verb": "get"}, "nothing would happen"),
        ({"verbs": "get", "status": 500}, "verbs: there is no such word: did you mean verb?"),
        ({"zzz": 1, "status": 500}, "zzz: there is no such word: there are verb, group"),
        ({"status": 200}, "status: expected a whole number from 400 to 599, got 200"),
        ({"status": "500"}, "status: expected a whole number from 400 to 599, got '500'"),
        ({"status": True}, "status: expected a whole number"),
        ({"status": 500, "name": 5}, "name: expected a text, got 5: put it in quotes"),
        ({"status": 500, "verb": []}, "verb: expected a text or a list of texts, got an empty list"),
        ({"status": 500, "query": "watch"}, "query: expected a mapping of parameters"),
        ({"status": 500, "query": {"limit": 5}}, "query.limit: expected a text, got 5"),
        ({"status": 500, "nth": 0}, "nth: expected a whole number from 1 on, got 0"),
        ({"status": 500, "nth": []}, "nth: expected a number or a list of numbers"),
        ({"status": 500, "every": 0}, "every: expected a whole number from 1 on"),
        ({"status": 500, "probability": 1.5}, "probability: expected a number from 0 to 1, got 1.5"),
        ({"status": 500, "times": -1}, "times: expected a whole number from 0 on"),
        ({"delay": -1}, "delay: expected a number from 0 on, got -1"),
        ({"delay": math.nan}, "delay: expected a number from 0 on"),
        ({"delay": math.inf}, "delay: expected a number from 0 on"),
        ({"delay": [3, 1]}, "delay: expected seconds, or [from, to]"),
        ({"delay": [1]}, "delay: expected seconds, or [from, to]"),
        ({"drop": "now"}, "drop: expected before or after, got 'now'"),
        ({"truncate": False}, "truncate: expected true, got False: leave the word out otherwise"),
        ({"stall": False}, "stall: expected a number from 0 on, got False"),
        ({"status": 500, "drop": "before"}, "drop: does not go with status: make two faults of it"),
        ({"lose": True, "duplicate": 1}, "duplicate: does not go with lose"),
        ({"restart": 1, "status": 500}, "restart: does not go with status"),
        ({"delay": 1, "retry_after": 3}, "retry_after: says something of an error: give its status, too"),
        ({"lose": True, "at": 0}, "at: expected a whole number from 1 on, got 0"),
        ({"lose": True, "at": {"kind": "x"}}, "at.kind: there is no such word"),
        ({"lose": True, "at": {"type": "GONE"}}, "at.type: 'GONE' is no type of event: there are ADDED, MODIFIED"),
        ({"lose": True, "at": {"nth": 0}}, "at.nth: expected a whole number from 1 on"),
        ({"stale": True, "at": 1}, "stale: cannot happen at an event of a watch: leave out at"),
        ({"restart": 1, "at": 1}, "restart: cannot happen at an event of a watch"),
        ({"lose": True, "compact": True}, "compact: cannot happen at an event of a watch: leave out lose"),
        ({"duplicate": 2, "skew": 5}, "skew: cannot happen at an event of a watch: leave out duplicate"),
        ({"end": "before", "pause": 5}, "pause: cannot happen at an event of a watch: leave out end"),
        ({"stall": True, "stale": 3}, "stale: does not go with stall where verb may be watch: make two faults of it"),
        ({"skew": 1e12}, "skew: expected a number from -9.4608e+08 to 9.4608e+08"),
        ({"lose": True, "verb": ["list", "get"]}, "verb: only watches have events: let it be watch"),
        ({"status": 410, "at": 1, "verb": "!watch"}, "verb: only watches have events"),
        ({"status": 500, "id": 7}, "id: expected a text"),
    ],
)  # fmt: skip
def test_what_means_nothing_is_refused_by_its_place(words: dict[str, Any], message: str) -> None:
    with pytest.raises(BadFault) as raised:
        read_fault(words)
    assert str(raised.value).startswith(message)
    faults = Faults()
    with pytest.raises(BadFault) as raised:
        faults.load([{"status": 500}, words])
    assert str(raised.value).startswith(f"faults[1].{message}")
    assert len(faults) == 0, "all or nothing"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1", "this is no YAML"),
        ("", "expected a fault, a list of faults"),
        ("5", "expected a fault, a list of faults"),
        ("'text'", "expected a fault, a list of faults"),
        ("- 5", "faults[0]: expected a mapping, got 5"),
        ("faults: {status: 500}", "faults: expected a list of faults"),
        ("{seed: x, faults: []}", "seed: expected a whole number, got 'x'"),
        ("{seeds: 1, faults: []}", "seeds: there is no such word: did you mean seed?"),
    ],
)
def test_texts_that_are_no_faults(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(BadFault) as raised:
        read_document(text.encode())
    assert str(raised.value).startswith(message)
    file = tmp_path / "faults.yaml"
    file.write_text(text)
    with pytest.raises(BadFault) as raised:
        Faults().load(file)
    assert str(raised.value).startswith(f"{file}: {message}")


def test_a_file_may_hold_one_fault_a_list_or_a_seed_with_a_list(tmp_path: Path) -> None:
    file = tmp_path / "faults.yaml"
    file.write_text("{verb: get, status: 500}")
    assert [each.id for each in Faults().load(str(file))] == ["fault-1"]
    file.write_text("- {verb: get, status: 500}\n- {id: slow, delay: 1}\n")
    assert [each.id for each in Faults().load(file)] == ["fault-1", "slow"]
    file.write_text("seed: 7\nfaults:\n- {probability: 0.5, status: 500}\n")
    (loaded,) = Faults(1).load(file)
    given = Faults(7).add(probability=0.5, status=500)
    assert [bool(loaded.strikes(asked())) for _ in range(50)] == [bool(given.strikes(asked())) for _ in range(50)]
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadFault, match=r"faults\.yaml"):
        Faults().load(file)


def test_what_has_a_seed_of_its_own_strikes_the_same_whenever_it_is_loaded() -> None:
    written = {"seed": 7, "faults": [{"verb": "get", "status": 500}, {"probability": 0.5, "status": 500}]}

    def struck(faults: Faults) -> list[bool]:
        fault = faults.load(written)[1]
        return [bool(fault.strikes(asked())) for _ in range(50)]

    faults = Faults(1)
    first = struck(faults)
    faults.clear()
    faults.add(delay=1)
    assert struck(faults) == first
    assert struck(Faults(2)) == first


def test_ids_are_unique_and_tell_what_was_written() -> None:
    faults = Faults()
    faults.add(id="mine", verb="get", status=500)
    faults.add(delay=1)
    with pytest.raises(BadFault, match="id: 'mine' is taken"):
        faults.add(id="mine", delay=1)
    assert [each.to_dict() for each in faults] == [
        {"id": "mine", "verb": "get", "status": 500, "hits": 0, "events": 0},
        {"id": "fault-2", "delay": 1, "hits": 0, "events": 0},
    ]
    assert faults.remove("mine")
    assert not faults.remove("mine")
    faults.add(id="mine", delay=1)
    assert [each.id for each in faults.replace([{"id": "mine", "delay": 2}])] == ["mine"]
    assert [each.id for each in faults] == ["mine"]


def test_an_id_that_is_given_takes_no_number_from_those_without() -> None:
    faults = Faults()
    faults.add(id="fault-2", delay=1)
    assert [faults.add(delay=1).id for _ in range(2)] == ["fault-3", "fault-4"]


def test_a_fault_that_was_removed_strikes_no_more() -> None:
    faults = Faults()
    fault = faults.add(status=500)
    faults.clear()
    assert not fault.strikes(asked())
    assert faults.strike(asked()) == []


def test_delays_add_up_before_the_first_that_does_more() -> None:
    faults = Faults()
    slow = faults.add(delay=1)
    slower = faults.add(delay=2, nth=2)
    first = faults.add(status=500)
    faults.add(status=503)
    assert [each.fault for each in faults.strike(asked())] == [slow, first]
    assert [each.fault for each in faults.strike(asked())] == [slow, slower, first]


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 600),
    st.floats(),
    st.sampled_from(["", "get", "watch", "!watch", "before", "after", "*", "["]),
    st.lists(st.one_of(st.integers(-1, 5), st.floats(), st.sampled_from(["get", "before"])), max_size=3),
    st.dictionaries(st.sampled_from(["type", "name", "nth", "limit"]), st.sampled_from(["ADDED", 1, [2], ""])),
)
WORDS = [*language._SELECTION, "query", *language._FREQUENCY, *language._EFFECT, "at", "id", "faults", "seed", "more"]


WRITTEN = st.dictionaries(st.sampled_from(WORDS), VALUES, max_size=5)


@given(st.one_of(VALUES, WRITTEN, WRITTEN.map(lambda words: {"delay": 1, **words})))
def test_whatever_is_written_is_understood_or_refused(written: Any) -> None:
    try:
        document = read_document(yaml.safe_dump(written).encode())
    except BadFault:
        return
    for rule, _ in document.rules:
        assert rule.effect != Effect()
        assert rule.source.keys() <= set(WORDS)
        assert yaml.safe_load(yaml.safe_dump(rule.source)) == rule.source
        faults = Faults()
        faults.load(rule.source)
        for verb in ("get", "list", "watch", "create"):
            assert len(faults.strike(asked(verb))) <= 1
