"""Objects go when their owners are gone, and only then."""

from __future__ import annotations

import pytest

from runtime.client import Client, Unstructured
from runtime.testing import FakeAPIServer
from runtime.types import GVR, JSONObject
from tests.runtime.testing.nodes.controllers.hand import eventually

CONFIGMAPS = GVR("", "v1", "configmaps")
SECRETS = GVR("", "v1", "secrets")

pytestmark = pytest.mark.usefixtures("controllers")


def configmap(client: Client, name: str, *owners: Unstructured, block: bool = False, **meta: object) -> Unstructured:
    references = [
        {"apiVersion": "v1", "kind": o.kind, "name": o.name, "uid": o.uid, "blockOwnerDeletion": block} for o in owners
    ]
    metadata: JSONObject = {"name": name, "ownerReferences": references, **meta}
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}
    return client.resource(CONFIGMAPS, namespace="default").create(body)


def names(client: Client) -> set[str]:
    return {c.name for c in client.resource(CONFIGMAPS, namespace="default").list() if "root-ca" not in c.name}


def test_a_chain_goes_with_its_first_owner(client: Client) -> None:
    owner = configmap(client, "owner")
    child = configmap(client, "child", owner)
    configmap(client, "grandchild", child)
    configmap(client, "stranger")
    eventually(lambda: len(names(client)) == 4)
    client.resource(CONFIGMAPS, namespace="default").delete("owner")
    eventually(lambda: names(client) == {"stranger"})


def test_one_remaining_owner_keeps_the_object_and_the_dead_reference_goes(client: Client) -> None:
    one, two = configmap(client, "one"), configmap(client, "two")
    configmap(client, "child", one, two)
    api = client.resource(CONFIGMAPS, namespace="default")
    api.delete("one")
    eventually(lambda: [r.uid for r in api.get("child").owner_references] == [two.uid])
    api.delete("two")
    eventually(lambda: names(client) == set())


def test_an_object_of_an_owner_that_never_was_goes(client: Client) -> None:
    ghost = Unstructured({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "ghost", "uid": "no-such-uid"}})
    configmap(client, "child", ghost)
    eventually(lambda: names(client) == set())


def test_a_namesake_of_the_owner_is_not_the_owner(client: Client) -> None:
    api = client.resource(CONFIGMAPS, namespace="default")
    first = configmap(client, "owner")
    configmap(client, "child", first)
    api.delete("owner")
    configmap(client, "owner")
    eventually(lambda: names(client) == {"owner"})


def test_orphaned_objects_stay(client: Client) -> None:
    api = client.resource(CONFIGMAPS, namespace="default")
    owner = configmap(client, "owner")
    configmap(client, "child", owner)
    api.delete("owner", propagation_policy="Orphan")
    eventually(lambda: names(client) == {"child"})
    eventually(lambda: not api.get("child").owner_references)


def test_in_the_foreground_the_owner_waits_for_what_blocks_it(client: Client) -> None:
    api = client.resource(CONFIGMAPS, namespace="default")
    owner = configmap(client, "owner")
    configmap(client, "child", owner, block=True, finalizers=["example.com/hold"])
    api.delete("owner", propagation_policy="Foreground")
    eventually(lambda: api.get("child").deletion_timestamp is not None)
    assert api.get("owner").deletion_timestamp is not None, "it is still there, waiting"
    api.patch("child", {"metadata": {"finalizers": None}}, type="merge")
    eventually(lambda: names(client) == set())


def test_an_owner_whose_life_the_watch_has_missed_takes_its_objects_along(
    client: Client, server: FakeAPIServer
) -> None:
    """Made and deleted between two lists: nobody will ever report its deletion."""
    secrets = client.resource(SECRETS, namespace="default")
    configmap(client, "seen", configmap(client, "first"))
    client.resource(CONFIGMAPS, namespace="default").delete("first")
    eventually(lambda: names(client) == set())  # the collector runs, and watches
    for verb in ("list", "watch"):
        server.faults.add(verb=verb, resource="secrets", status=503)
    server.close_connections()
    owner = secrets.create({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "brief"}})
    configmap(client, "child", owner)
    eventually(lambda: any((entry.verb, entry.resource) == ("get", "secrets") for entry in server.requests))
    secrets.delete("brief")
    server.compact()
    server.faults.clear()
    eventually(lambda: names(client) == set())
