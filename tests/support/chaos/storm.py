"""Trouble: every kind of fault that a FakeAPIServer has, and users and vandals at work meanwhile."""

from __future__ import annotations

import contextlib
import json
import random
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final, TypeVar

from runtime.client import Client, ClientError
from runtime.types import JSONObject
from tests.support.chaos.garden import BEDS, CRD, GARDENS, KEYS, NAMESPACE, OUTSIDE, TOOLS, bed_name, garden, tool_name
from tests.support.chaos.operators import USER_AGENT

T = TypeVar("T")

_READS: Final = ["get", "list"]
_WRITES: Final = ["create", "update", "patch", "delete"]
_CALLS: Final = [*_READS, *_WRITES]
_LISTS: Final = ["list", "watch"]
_VANDAL: Final = "vandal"

FAULTS: Final[dict[str, dict[str, Any]]] = {
    "stale": {"verb": _LISTS, "probability": 0.2, "stale": 5},
    "stuck": {"verb": _CALLS, "every": 31, "stall": 0.4},
    "compacted": {"verb": _CALLS, "every": 23, "compact": True},
    "paused": {"verb": _CALLS, "every": 37, "pause": 0.1},
    "restarted": {"verb": _CALLS, "every": 89, "restart": 0.05},
    "late": {"verb": _CALLS, "probability": 0.1, "delay": [0.0, 0.05]},
    "unauthorized": {"verb": _CALLS, "probability": 0.02, "status": 401},
    "forbidden": {"verb": _WRITES, "probability": 0.03, "status": 403},
    "conflict": {"verb": ["update", "patch"], "probability": 0.03, "status": 409, "reason": "Conflict"},
    "gone": {"verb": _LISTS, "probability": 0.08, "status": 410, "reason": "Expired"},
    "busy": {"verb": _CALLS, "probability": 0.03, "status": 429},
    "busy-again": {"verb": _CALLS, "probability": 0.03, "status": 429, "retry_after": 0},
    "broken": {"verb": [*_CALLS, "watch"], "probability": 0.03, "status": 500},
    "unavailable": {"verb": [*_CALLS, "watch"], "probability": 0.02, "status": 503, "retry_after": 0},
    "timeout": {"verb": _CALLS, "probability": 0.03, "status": 504},
    "dropped-before": {"verb": [*_CALLS, "watch"], "probability": 0.03, "drop": "before"},
    "dropped-after": {"verb": _CALLS, "probability": 0.03, "drop": "after"},
    "reset-before": {"verb": _CALLS, "probability": 0.03, "reset": "before"},
    "reset-after": {"verb": _CALLS, "probability": 0.03, "reset": "after"},
    "cut-answer": {"verb": _CALLS, "probability": 0.02, "truncate": True},
    "skewed": {"verb": _CALLS, "probability": 0.02, "skew": 45.0},
    "event-lost": {"verb": "watch", "at": {"probability": 0.02}, "lose": True},
    "event-twice": {"verb": "watch", "at": {"probability": 0.05}, "duplicate": 2},
    "event-late": {"verb": "watch", "at": {"probability": 0.03}, "delay": [0.0, 0.1]},
    "event-stuck": {"verb": "watch", "at": {"probability": 0.03}, "stall": 0.3},
    "event-cut": {"verb": "watch", "at": {"probability": 0.01}, "truncate": True},
    "event-dropped": {"verb": "watch", "at": {"probability": 0.01}, "drop": "before"},
    "event-reset": {"verb": "watch", "at": {"probability": 0.01}, "reset": "after"},
    "event-end": {"verb": "watch", "at": {"probability": 0.01}, "end": "after"},
    "event-error": {"verb": "watch", "at": {"probability": 0.01}, "status": 410, "reason": "Expired"},
}
"""By name. They strike the operators only: users must be able to say what they want."""


class Storm:
    """All chance comes from the seed; how the threads interleave does not.

    :param client: of the users and vandals.
    :param deletions: how often gardens are deleted, beside 6 for changes of their spec.
    :param even: every fault strikes as rarely as :data:`FAULTS` says, also those that this seed is about: two of three
        requests succeed. Otherwise one of three does, and nobody leads for long.
    """

    def __init__(
        self, client: Client, seed: int, gardens: int = 6, deletions: float = 3.0, *, even: bool = False
    ) -> None:
        self.seed = seed
        self._even = even
        self._client = client
        self._chance = random.Random(seed)
        self._names = [f"garden-{number}" for number in range(gardens)]
        self._gardens = client.resource(GARDENS, NAMESPACE)
        self._acts: list[tuple[float, Callable[[], object]]] = [
            (6, self._respecify),
            (deletions, self._delete_garden),
            (4, self._spoil_bed),
            (3, self._delete_bed),
            (3, self._delete_key),
            (2, self._delete_tool),
            (1, lambda: self._fake("cut")),
            (1, lambda: self._fake("compact")),
        ]

    def prepare(self) -> None:
        """Before the operators start: the resource, the other namespace, the gardens."""
        self._client.request("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", body=CRD)
        self._client.request("POST", "/api/v1/namespaces", body={"metadata": {"name": OUTSIDE}})
        for name in self._names:
            self._plant(name)

    @property
    def frequent(self) -> list[str]:
        """The faults that strike more often with this seed: a fifth, so that five seeds in a row have them all."""
        return [] if self._even else list(FAULTS)[self.seed % 5 :: 5]

    def begin(self) -> None:
        """Every fault is on from here."""
        faults = [
            {"id": name, "user_agent": f"{USER_AGENT}*", **(_more(fault) if name in self.frequent else fault)}
            for name, fault in FAULTS.items()
        ]
        self._client.request("PUT", "/_fake/faults", body={"seed": self.seed, "faults": faults})

    def act(self) -> None:
        """One thing that somebody does."""
        weights, acts = zip(*self._acts, strict=True)
        (act,) = self._chance.choices(acts, weights)
        with contextlib.suppress(ClientError):  # to users, things happen as well
            act()

    def end(self) -> None:
        """No fault any more. The server starts again: what was lost silently, nobody could ever know of."""
        self._until_done(lambda: self._client.request("DELETE", "/_fake/faults"))
        self._until_done(lambda: self._fake("resume"))
        self._until_done(lambda: self._fake("restart"))
        self._until_done(lambda: self._client.request("GET", "/readyz"))
        for name in self._names:
            self._until_done(partial(self._plant_if_gone, name))

    def hits(self) -> dict[str, int]:
        """Name of a fault -> how often it struck."""
        told = json.loads(self._until_done(lambda: self._client.request("GET", "/_fake/faults")).body)
        return {
            fault["id"]: fault["events"] if "at" in FAULTS[fault["id"]] else fault["hits"] for fault in told["faults"]
        }

    # What people do

    def _plant(self, name: str) -> None:
        self._gardens.create(garden(name, self._chance.randint(0, 4), self._soil()))

    def _plant_if_gone(self, name: str) -> None:
        if name not in {held.name for held in self._gardens.list()}:
            self._plant(name)

    def _respecify(self) -> None:
        name = self._chance.choice(self._names)
        spec: JSONObject = {"beds": self._chance.randint(0, 4), "soil": self._soil()}
        if name in {held.name for held in self._gardens.list()}:
            self._gardens.patch(name, {"spec": spec}, field_manager="user")
        else:
            self._plant(name)

    def _delete_garden(self) -> None:
        self._gardens.delete(self._chance.choice(self._names))

    def _spoil_bed(self) -> None:
        salt = {"data": {"soil": "salt"}}
        self._client.resource(BEDS, NAMESPACE).patch(self._some_bed(), salt, field_manager=_VANDAL)

    def _delete_bed(self) -> None:
        self._client.resource(BEDS, NAMESPACE).delete(self._some_bed())

    def _delete_key(self) -> None:
        name = self._chance.choice(self._names)
        self._client.resource(KEYS, NAMESPACE).delete_collection(label_selector=f"garden={name}")

    def _delete_tool(self) -> None:
        self._client.resource(TOOLS, OUTSIDE).delete(tool_name(self._chance.choice(self._names)))

    def _some_bed(self) -> str:
        return bed_name(self._chance.choice(self._names), self._chance.randrange(4))

    def _soil(self) -> str:
        return self._chance.choice(("clay", "loam", "sand", "peat"))

    def _fake(self, order: str) -> None:
        self._client.request("POST", f"/_fake/{order}")

    # Once it is over

    def _until_done(self, act: Callable[[], T]) -> T:
        """The server may be down for a moment."""
        ends = time.monotonic() + 30
        while True:
            try:
                return act()
            except ClientError:
                if time.monotonic() > ends:
                    raise
                time.sleep(0.02)


def _more(fault: dict[str, Any]) -> dict[str, Any]:
    """The same, often enough to strike within seconds."""
    often = dict(fault)
    if "every" in often:
        often["every"] //= 3
    if "probability" in often:
        often["probability"] = min(0.4, often["probability"] * 8)
    if "at" in often:
        often["at"] = {"probability": 0.2}  # each watch draws anew, and most have few events
    return often
