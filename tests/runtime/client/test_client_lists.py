"""What is, and what is not, the answer to a LIST."""

from __future__ import annotations

import orjson
import pytest

from runtime.client import ConnectionFailed
from runtime.client.errors import Target
from runtime.client.lists import read_list

META = {"resourceVersion": "7"}


@pytest.mark.parametrize(
    "answer",
    [
        {"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": META, "columnDefinitions": [], "rows": []},
        {"kind": "Status", "apiVersion": "v1", "status": "Success"},
        {},
    ],
    ids=["table", "status", "nothing"],
)
def test_an_answer_without_items_is_no_empty_list(answer: dict[str, object]) -> None:
    """R11: whoever replaces a cache by it would lose everything."""
    with pytest.raises(ConnectionFailed, match="not a list") as raised:
        read_list(orjson.dumps(answer), Target("list", "pods"))
    assert not raised.value.retryable


@pytest.mark.parametrize("items", [None, []])
def test_an_empty_list_says_null_or_nothing(items: list[object] | None) -> None:
    """Go writes null for a list that was never made."""
    page = read_list(
        orjson.dumps({"kind": "PodList", "apiVersion": "v1", "metadata": META, "items": items}), Target("l")
    )
    assert (page.items, page.kind, page.resource_version) == ([], "Pod", "7")


def test_a_collection_may_call_its_lists_as_it_likes() -> None:
    """The listKind of a CRD is free; items then say themselves what they are."""
    item = {"kind": "Foo", "apiVersion": "a/v1", "metadata": {"name": "a"}}
    page = read_list(
        orjson.dumps({"kind": "Foos", "apiVersion": "a/v1", "metadata": META, "items": [item]}), Target("l")
    )
    assert [(obj.name, obj.kind) for obj in page.objects()] == [("a", "Foo")]
