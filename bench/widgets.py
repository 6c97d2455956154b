"""The server of the ``reconcile`` suite, in its own process: ``python -m bench.widgets --objects N``.

A FakeAPIServer with so many Widgets, of about 1.3 KB as stored. Prints its URL and waits for a line of standard input;
then it changes the spec of each Widget, waits until the status of each says so, and prints what a cache has to hold
and how many requests that took.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Final

from bench.script import checksum
from runtime.client import Client
from runtime.testing import FakeAPIServer
from runtime.types import GVR, JSONObject

WIDGETS: Final = GVR("bench.datenlord.com", "v1", "widgets")
NAMESPACE: Final = "default"
DRIVER: Final = "bench-driver"

_DEADLINE = 120.0
_SETTLED = 0.5  # seconds without a write, after which nobody has anything to write any more


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=int, required=True)
    parser.add_argument("--rate", type=float, default=0.0, help="changes per second (default: as fast as it can)")
    options = parser.parse_args()
    with FakeAPIServer() as server, Client(server.url, user_agent=DRIVER) as client:
        crds = client.resource(GVR("apiextensions.k8s.io", "v1", "customresourcedefinitions"))
        crds.create(_CRD)
        for number in range(options.objects):
            server.create(_widget(number), namespace=NAMESPACE)
        print(server.url, flush=True)
        sys.stdin.readline()
        server.requests.clear()
        _change(client, options.objects, options.rate)
        _wait_until_told(server, client)
        widgets = client.resource(WIDGETS, NAMESPACE).list()
        held, versions = checksum(int(widget.resource_version) for widget in widgets)
        asked = [entry for entry in server.requests if entry.user_agent != DRIVER and entry.verb != "watch"]
        writes = sum(entry.verb in ("create", "update", "patch") for entry in asked)
        told = {"held": held, "versions": versions, "writes": writes, "requests": len(asked)}
        print(json.dumps(told), flush=True)
        sys.stdin.readline()  # it goes on serving until the client has seen it all


def _change(client: Client, objects: int, rate: float) -> None:
    """Give each Widget work to do."""
    widgets = client.resource(WIDGETS, NAMESPACE)
    began = time.monotonic()
    for number in range(objects):
        if rate:
            time.sleep(max(0.0, began + number / rate - time.monotonic()))
        widgets.patch(f"widget-{number:05d}", {"spec": {"revision": 1}}, field_manager=DRIVER)


def _wait_until_told(server: FakeAPIServer, client: Client) -> None:
    """Until each status tells the new revision, and nobody writes any more."""
    ends, widgets = time.monotonic() + _DEADLINE, client.resource(WIDGETS, NAMESPACE)
    while any((widget.get("status") or {}).get("revision") != 1 for widget in widgets.list()):
        if time.monotonic() > ends:
            raise SystemExit(f"not every status was written within {_DEADLINE:.0f} s")
        time.sleep(0.05)
    before = -1
    while before != (now := server.store.version):
        before = now
        time.sleep(_SETTLED)


_ANYTHING: Final[JSONObject] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
_CRD: Final[JSONObject] = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": f"{WIDGETS.resource}.{WIDGETS.group}"},
    "spec": {
        "group": WIDGETS.group,
        "scope": "Namespaced",
        "names": {"plural": WIDGETS.resource, "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
        "versions": [
            {
                "name": WIDGETS.version,
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "schema": {
                    "openAPIV3Schema": {"type": "object", "properties": {"spec": _ANYTHING, "status": _ANYTHING}}
                },
            }
        ],
    },
}


def _widget(number: int) -> JSONObject:
    parts = [
        {"name": f"part-{part}", "image": f"registry.example.com/team/part:v1.{number % 20}.{part}", "replicas": part}
        for part in range(6)
    ]
    return {
        "apiVersion": WIDGETS.api_version,
        "kind": "Widget",
        "metadata": {"name": f"widget-{number:05d}", "labels": {"app": "bench", "shard": str(number % 16)}},
        "spec": {"revision": 0, "parts": parts},
        "status": {"revision": 0},
    }


if __name__ == "__main__":
    main()
