"""From Python types to structural schemas."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
import pytest
from msgspec import Meta

from crds.schema import rules, structural_schema


class Inner(msgspec.Struct, rename="camel"):
    """An inner
    thing."""

    how_many: Annotated[int, Meta(ge=1, description="Count.", extra_json_schema={"format": "int32"})] = 3


class Sample(msgspec.Struct, rename="camel", kw_only=True):
    """First.

    Second ``word``."""

    must: str
    level: Literal["low", "high"] = "low"
    inner: Inner = msgspec.field(default_factory=Inner)
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    free: dict[str, Any] | None = None
    names: list[Annotated[str, Meta(pattern="^a", max_length=3)]] | None = None
    flag: bool = False
    ruled: Annotated[str, Meta(extra_json_schema=rules(("self == oldSelf", "fixed")))] | None = None


class Named(msgspec.Struct):
    name: Annotated[str, Meta(max_length=5)] = ""
    labels: dict[str, str] = msgspec.field(default_factory=dict)


class Whole(msgspec.Struct):
    metadata: Named = msgspec.field(default_factory=Named)


def property_of(name: str) -> Any:
    return structural_schema(Sample)["properties"][name]


def test_description_is_the_docstring_as_running_text() -> None:
    assert structural_schema(Sample)["description"] == "First.\n\nSecond `word`."
    assert property_of("inner")["description"] == "An inner thing."


def test_required_are_fields_without_default() -> None:
    assert structural_schema(Sample)["required"] == ["must"]


def test_default_of_a_nested_type_is_an_empty_object_which_the_server_fills() -> None:
    assert property_of("inner")["default"] == {}
    assert property_of("inner")["properties"]["howMany"]["default"] == 3


def test_defaults_that_say_nothing_stay_out() -> None:
    for name in ("labels", "free", "names", "flag", "must"):
        assert "default" not in property_of(name), name
    assert property_of("level")["default"] == "low"


def test_constraints_and_extensions_reach_the_schema() -> None:
    assert property_of("inner")["properties"]["howMany"] == {
        "type": "integer",
        "format": "int32",
        "description": "Count.",
        "default": 3,
        "minimum": 1,
    }
    assert property_of("names")["items"] == {"type": "string", "maxLength": 3, "pattern": "^a"}
    assert property_of("labels")["additionalProperties"] == {"type": "string"}
    assert property_of("level")["enum"] == ["high", "low"]
    assert property_of("ruled")["x-kubernetes-validations"] == [{"rule": "self == oldSelf", "message": "fixed"}]


def test_a_union_is_refused_with_the_field() -> None:
    class Two(msgspec.Struct):
        either: int | str = 1

    with pytest.raises(TypeError, match=r"Two\.either"):
        structural_schema(Two)


def test_metadata_may_only_constrain_the_name() -> None:
    schema = structural_schema(Whole)["properties"]["metadata"]
    assert schema == {"type": "object", "properties": {"name": {"type": "string", "maxLength": 5}}}
