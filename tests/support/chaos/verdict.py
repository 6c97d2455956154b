"""What a cluster has to look like once everything is done, and where it does not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from runtime.client import Client, Unstructured
from tests.support.chaos.garden import (
    BEDS,
    GARDENS,
    KEYS,
    LABEL,
    NAMESPACE,
    OUTSIDE,
    TOOLS,
    bed_name,
    tool_name,
)


def differences(client: Client) -> list[str]:
    """One line for each object that is not as the gardens' specs say; empty: converged.

    :raises ClientError: the cluster cannot be read.
    """
    gardens = client.resource(GARDENS, NAMESPACE).list()
    beds = _by_garden(client.resource(BEDS, NAMESPACE).list(label_selector=LABEL))
    keys = _by_garden(client.resource(KEYS, NAMESPACE).list(label_selector=LABEL))
    tools = _by_garden(client.resource(TOOLS, OUTSIDE).list(label_selector=LABEL))
    found: list[str] = []
    for garden in gardens:
        mine = [held.pop(garden.name, []) for held in (beds, keys, tools)]
        found += (f"{garden.name}: {each}" for each in _of_garden(garden, *mine))
    for what, orphans in (("bed", beds), ("key", keys), ("tool", tools)):
        found += (f"{what} {obj.name} outlived its garden" for held in orphans.values() for obj in held)
    return found


def _of_garden(
    garden: Unstructured, beds: list[Unstructured], keys: list[Unstructured], tools: list[Unstructured]
) -> Iterator[str]:
    if garden.deletion_timestamp is not None:
        yield f"is still being deleted, held by {garden.finalizers}"
        return
    spec, status = garden["spec"], garden.get("status") or {}
    wanted = {bed_name(garden.name, number) for number in range(spec["beds"])}
    held = {bed.name for bed in beds}
    if held != wanted:
        yield f"beds missing: {sorted(wanted - held)}, too many: {sorted(held - wanted)}"
    for bed in beds:
        if bed.get("data") != {"soil": spec["soil"]}:
            yield f"bed {bed.name} has {bed.get('data')}, not soil {spec['soil']}"
    if len(keys) != 1:
        yield f"has {len(keys)} keys: {[key.name for key in keys]}"
    for child in (*beds, *keys):
        owner = child.controller_owner
        if owner is None or owner.uid != garden.uid or child.deletion_timestamp is not None:
            yield f"{child.name} belongs to {owner}, deleted {child.deletion_timestamp}"
    if [(tool.name, tool.get("data")) for tool in tools] != [(tool_name(garden.name), {"of": garden.uid})]:
        yield f"its tools are {[(tool.name, tool.get('data')) for tool in tools]}"
    expected = {
        "beds": spec["beds"],
        "soil": spec["soil"],
        "key": keys[0].name if keys else None,
        "observedGeneration": garden.generation,
    }
    if status != expected:
        yield f"its status is {status}, not {expected}"


def _by_garden(objects: Iterable[Unstructured]) -> dict[str, list[Unstructured]]:
    found: dict[str, list[Unstructured]] = {}
    for obj in objects:
        found.setdefault(obj.labels[LABEL], []).append(obj)
    return found
