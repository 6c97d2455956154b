"""A whole cluster in one value: the members of the engine, Pods, a workload controller, and agents that do their work.

It stands for everything around the operator's decisions, step by step and in any order, so that a test can try orders
which no real cluster would take in a thousand years. What it may do is what the real parts may do.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from controllers.xline import scaling
from controllers.xline.workloads import Backend
from controllers.xline.world import Action, World
from crds.xlineplan import MembershipPlan
from runtime.testing.clock import FakeClock
from runtime.types import JSONObject
from tests.controllers.xline.xline_scene import Scene, claim, pod


@dataclass
class Member:
    """:ivar alive: whether its server runs (its Pod may not even exist)."""

    voter: bool = True
    alive: bool = True


@dataclass
class Model:
    """:ivar listed: the engine's members by ordinal.
    :ivar shape: the workload's spec.
    :ivar pods: ordinal -> whether it has been told to end.
    :ivar told_voters: how many the last look has counted that could have the engine's list.
    """

    backend: Backend
    target: int
    plan: MembershipPlan
    listed: dict[int, Member]
    shape: JSONObject
    pods: dict[int, bool]
    leader: int | None = 0
    told_voters: int = 0
    writes: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, backend: Backend, ordinals: list[int], leader: int) -> Model:
        return cls(
            backend=backend,
            target=len(ordinals),
            plan=MembershipPlan(ordinals=sorted(ordinals), revision=1),
            listed={ordinal: Member() for ordinal in ordinals},
            shape=backend.shape(ordinals),
            pods=dict.fromkeys(backend.ordinals_of(backend.shape(ordinals)), False),
            leader=leader,
        )

    # -- what is so

    @property
    def running(self) -> tuple[int, ...]:
        return self.backend.ordinals_of(self.shape)

    @property
    def voters(self) -> set[int]:
        return {ordinal for ordinal, member in self.listed.items() if member.voter}

    def is_up(self, ordinal: int) -> bool:
        return ordinal in self.listed and self.listed[ordinal].alive and ordinal in self.pods

    @property
    def quorum(self) -> bool:
        return sum(self.is_up(voter) for voter in self.voters) > len(self.voters) // 2

    @property
    def is_done(self) -> bool:
        plan = set(self.plan.ordinals)
        return (
            len(plan) == self.target
            and self.voters == plan == set(self.listed)
            and set(self.pods) == set(self.running) >= plan
            and not any(self.pods.values())
        )

    def world(self) -> World:
        scene = Scene(
            replicas=self.target,
            ordinals=list(self.running),
            backend=self.backend,
            plan=self.plan,
            leads=self.leader if self.quorum else None,
            listed=set(self.listed) if self.quorum and self.leader is not None else set(),
            learners={ordinal for ordinal, member in self.listed.items() if not member.voter},
        )
        scene.pods = {ordinal: pod(ordinal, scene.template) for ordinal in self.pods}
        scene.claims = {ordinal: claim(ordinal) for ordinal in {*self.pods, *self.listed}}
        if self.quorum and self.leader is not None:
            self.told_voters = len(self.voters)
        else:
            scene.unserved(60, self.told_voters)
        scene.answers = {ordinal for ordinal in self.pods if self.is_up(ordinal)}
        for ordinal in self.pods:
            if not self.is_up(ordinal) or not self.listed[ordinal].voter or not self.quorum:
                scene.pods[ordinal]["status"]["conditions"] = []
            if self.pods[ordinal]:
                scene.pods[ordinal]["metadata"]["deletionTimestamp"] = "2026-01-02T03:00:00Z"
        world = scene.world()
        wires = dict.fromkeys(world.endpoints, Wire(self))
        return replace(world, endpoints=wires)  # type: ignore[arg-type]

    # -- the operator

    def reshape(self) -> None:
        """The part of a look that writes the children. It checks itself what must hold for every Pod that is taken."""
        shape = self.backend.shape(scaling.shape(self.world()))
        for ordinal in set(self.running) - set(self.backend.ordinals_of(shape)):
            self._check_loss(ordinal)
        if shape != self.shape:
            self.writes.append(f"shape {shape}")
            self.shape = shape

    def _check_loss(self, ordinal: int) -> None:
        if ordinal not in self.listed:
            return
        assert ordinal != self.leader, f"the leader {ordinal} is taken"
        left = self.voters - {ordinal}
        up = sum(self.is_up(voter) for voter in left)
        assert not self.listed[ordinal].voter or up > len(left) // 2, f"{ordinal} is taken, {up} of {left} are left"

    def next_action(self) -> Action | None:
        world = self.world()
        found = [concern(world) for concern in (scaling.departure, scaling.arrival, scaling.next_action)]
        # Other concerns are asked after a wait that does not block; the next step has to wait of itself.
        there = [action for action in found if action is not None]
        return next((action for action in there if action.do or action.blocks), next(iter(there), None))

    def act(self) -> bool:
        """The part of a look that does the next thing; whether there was one."""
        action = self.next_action()
        if action is None or action.do is None:
            return False
        before = self.plan
        action.do(_Context(self))  # type: ignore[arg-type]
        self.writes.append(action.message)
        if self.plan is not before:
            self._check_plan(before, action)
        return True

    def _check_plan(self, before: MembershipPlan, action: Action) -> None:
        moved = set(self.plan.ordinals) ^ set(before.ordinals)
        assert len(moved) == 1, f"{before.ordinals} -> {self.plan.ordinals}"
        assert self.plan.revision == before.revision + 1
        unfinished = self.voters ^ set(before.ordinals)
        assert unfinished <= moved, f"{action.message}: begun while {unfinished} is unfinished"

    # -- everything else, one step each; no effect where it does not apply

    def controller(self) -> None:
        """The workload controller: Pods that are missing, then Pods that are too many."""
        for ordinal in self.running:
            if ordinal not in self.pods:
                self.pods[ordinal] = False
                if ordinal in self.listed:
                    self.listed[ordinal].alive = True
        for ordinal in set(self.pods) - set(self.running):
            self.pods[ordinal] = True

    def kubelet(self) -> None:
        """Ends Pods that were told to, after their agent has tried to leave."""
        for ordinal in [ordinal for ordinal, ending in self.pods.items() if ending]:
            if ordinal not in self.plan.ordinals and self._may_leave(ordinal):
                self.listed.pop(ordinal, None)
            del self.pods[ordinal]
            if ordinal in self.listed:
                self.listed[ordinal].alive = False
            self._elect()

    def clean(self) -> None:
        """The leader's agent takes off the list who is gone for good."""
        for ordinal in set(self.listed) - set(self.plan.ordinals) - set(self.pods):
            if self.quorum and self.leader is not None and self._may_leave(ordinal):
                del self.listed[ordinal]

    def _may_leave(self, ordinal: int) -> bool:
        left = self.voters - {ordinal}
        return self.quorum and bool(left) and sum(self.is_up(voter) for voter in left) > len(left) // 2

    def agents(self) -> None:
        """Those whose member is not there add it; those whose member learns promote it."""
        if not self.quorum or self.leader is None:
            return
        for ordinal, member in self.listed.items():
            if not member.voter and self.is_up(ordinal):
                member.voter = True
                return
        everybody = all(self.is_up(ordinal) for ordinal in self.listed)
        for ordinal, ending in self.pods.items():
            if ordinal in self.plan.ordinals and ordinal not in self.listed and not ending and everybody:
                self.listed[ordinal] = Member(voter=False)
                return

    def kill(self, number: int) -> None:
        chosen = self._pick(sorted(self.listed), number)
        if chosen is not None:
            self.listed[chosen].alive = False
            self._elect()

    def revive(self, number: int) -> None:
        chosen = self._pick([o for o in sorted(self.listed) if o in self.pods], number)
        if chosen is not None:
            self.listed[chosen].alive = True

    def delete_pod(self, number: int) -> None:
        """Somebody does, or a node is drained."""
        chosen = self._pick(sorted(self.pods), number)
        if chosen is not None:
            self.pods[chosen] = True

    def elect(self, number: int) -> None:
        """Anybody who is up may lead next."""
        up = [voter for voter in sorted(self.voters) if self.is_up(voter)]
        self.leader = self._pick(up, number) if self.quorum else None

    def scale(self, number: int) -> None:
        self.target = number % 6 + 1

    def calm(self) -> None:
        """Everybody is well again."""
        for ordinal in self.listed:
            if ordinal in self.pods:
                self.listed[ordinal].alive = True
        self._elect()

    def _elect(self) -> None:
        if self.leader is None or not self.is_up(self.leader) or not self.quorum or self.leader not in self.voters:
            self.elect(0)

    @staticmethod
    def _pick(choices: list[int], number: int) -> int | None:
        return choices[number % len(choices)] if choices else None


class _Context:
    """What an action is given: it writes into the model."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self.client = self
        self.recorder = self
        self.log = self
        self.clock = FakeClock()

    def remaining(self) -> None:
        return None

    def event(self, *_: Any, **__: Any) -> None: ...

    info = event

    def resource(self, gvr: Any, *, namespace: str) -> _Context:
        del gvr, namespace
        return self

    def patch(self, name: str, body: JSONObject, **options: Any) -> None:
        assert (name, options) == ("demo", {"type": "merge", "subresource": "status"})
        assert body["metadata"] == {"uid": "12345678-aaaa", "resourceVersion": "900"}
        # The world of a scene has no plan in its object, so that the patch holds all of it.
        self._model.plan = msgspec.convert(body["status"]["plan"], MembershipPlan)


@dataclass(frozen=True)
class Wire:
    """An endpoint of the model."""

    model: Model

    @contextmanager
    def connect(self, timeout: float) -> Iterator[Wire]:
        assert timeout > 0
        yield self

    def move_leader(self, target: int, *, timeout: float) -> None:
        assert timeout > 0
        assert self.model.is_up(target - 1)
        self.model.leader = target - 1
