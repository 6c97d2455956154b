"""What becomes of what a caller says: names, references, limits (E1, E2, V1)."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from runtime.record.event import BadEvent, EventNames, Occurrence, cut, make_occurrence, make_source
from runtime.types import JSONObject

POD: JSONObject = {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "web", "namespace": "ns", "uid": "u1"}}
NOW = datetime(2030, 1, 1, tzinfo=UTC)
ME = make_source("tester", "", "node-1")


def make(about: object = POD, type: str = "Normal", reason: str = "Made", message: str = "x") -> Occurrence:
    return make_occurrence(ME, about, type, reason, message, NOW)  # type: ignore[arg-type]


def test_an_events_name_is_the_objects_name_and_never_repeats() -> None:
    names = EventNames()
    made = {names.new("web", NOW) for _ in range(100)}
    assert len(made) == 100
    assert f"web.{int(NOW.timestamp()) * 10**9:x}" in made


@pytest.mark.parametrize("name", ["Upper", "colon:name", "x" * 250])
def test_a_name_that_is_no_dns_subdomain_becomes_a_uuid(name: str) -> None:
    assert len(EventNames().new(name, NOW)) == 36


def test_an_event_on_a_cluster_scoped_object_lives_in_default() -> None:
    node = make({"kind": "Node", "apiVersion": "v1", "metadata": {"name": "n1"}}).regarding
    assert node.event_namespace == "default"
    assert node.to_dict() == {"kind": "Node", "apiVersion": "v1", "name": "n1"}
    assert make().regarding.event_namespace == "ns"


def test_an_object_reference_will_do() -> None:
    about = {"kind": "Pod", "name": "web", "namespace": "ns", "fieldPath": "spec.containers{app}"}
    assert make(about).regarding.to_dict() == about


def test_what_an_object_is_does_not_change_with_its_version() -> None:
    metadata = POD["metadata"]
    older, newer = (make({**POD, "metadata": {**metadata, "resourceVersion": version}}) for version in "12")
    assert older.regarding.identity == newer.regarding.identity
    other = make({**POD, "metadata": {**metadata, "uid": "u2"}})
    assert other.regarding.identity != older.regarding.identity


@pytest.mark.parametrize("about", [{}, {"kind": "Pod"}, {"metadata": {"name": "x"}}, None, "pod"])
def test_an_object_without_kind_or_name_is_refused(about: object) -> None:
    with pytest.raises(BadEvent):
        make(about)


def test_an_unknown_type_and_an_empty_reason_are_refused() -> None:
    with pytest.raises(BadEvent, match=r"'Error'.*Normal or Warning"):
        make(type="Error")
    with pytest.raises(BadEvent, match="reason"):
        make(reason="")


def test_what_is_too_long_is_cut() -> None:
    made = make_occurrence(ME, POD, "Normal", "r" * 200, "m" * 5000, NOW, action="a" * 200)
    assert (len(made.reason), len(made.action), len(made.message)) == (128, 128, 1024)
    assert made.message.endswith("m...")
    assert make_source("x" * 63, "h" * 200, "").instance == f"{'x' * 63}-{'h' * 64}"


def test_limits_count_bytes_and_split_no_character() -> None:
    assert cut("ä" * 512, 1024) == "ä" * 512
    shortened = cut("ä" * 513, 1024)
    assert shortened == "ä" * 510 + "..."
    assert cut("short \udcff", 1024) == "short ?"  # an undecodable file name
    assert cut("x" * 1024, 1024) == "x" * 1024
    assert cut("x" * 1025, 1024) == "x" * 1021 + "..."
    assert cut("ä" * 1_000_000, 10) == "ä" * 3 + "..."


def test_the_action_is_the_reason_unless_told() -> None:
    assert make().action == "Made"
    assert make_occurrence(ME, POD, "Normal", "Made", "x", NOW, action="Making").action == "Making"


def test_replicas_of_a_component_have_different_instances() -> None:
    """V1."""
    assert make_source("tester", "", "node-1").instance == "tester-node-1"
    assert make_source("tester", "given", "node-1").instance == "tester-given"


@pytest.mark.parametrize("name", ["me", "example.com/my_Controller.v2", "x" * 63])
def test_names_that_the_server_takes(name: str) -> None:
    assert make_source(name, "", "h").component == name


@pytest.mark.parametrize("name", ["", "a b", "x" * 64, "-a", "a/", "/a", "No.Domain/a", "a/b/c"])
def test_names_that_the_server_would_refuse(name: str) -> None:
    with pytest.raises(ValueError, match="reportingController"):
        make_source(name, "", "h")
