"""Threads that make their calls to an API server in an order that a test chooses, one call at a time."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from runtime.client import Client
from tests.support.stepped import Killed, Step, Steps, When

Turn = tuple[str, "When | None"]
"""Whose turn it is, and whether that actor dies before or after the call."""

Deaths = Mapping[int, When]
"""Number of a turn -> how it ends."""

Choose = Callable[[Sequence[str]], Turn]

_PATIENCE = 60.0


@dataclass
class _Actor:
    steps: Steps
    state: Literal["running", "waiting", "done"] = "running"
    dies: When | None = None
    failure: BaseException | None = None


class Turns:
    """Runs actors, of which one moves at a time: up to its next call.

    :ivar now: calls made so far; a clock for histories.
    """

    def __init__(self, choose: Choose) -> None:
        self._choose = choose
        self._moved = threading.Condition()  # guards what follows
        self._actors: dict[str, _Actor] = {}
        self.now = 0

    def run(self, client: Client, actors: Mapping[str, Callable[[Client], None]]) -> None:
        """Returns when all have ended; raises what one of them raised, but for :class:`Killed`."""
        threads = []
        for name, act in actors.items():
            actor = self._actors[name] = _Actor(Steps(lambda step, name=name: self._at(name, step)))  # type: ignore[misc]
            threads.append(
                threading.Thread(target=self._live, args=(actor, act, actor.steps.client(client)), name=f"actor-{name}")
            )
        for thread in threads:
            thread.start()
        try:
            self._lead()
        finally:
            for thread in threads:
                thread.join(_PATIENCE)
        for actor in self._actors.values():
            if actor.failure is not None:
                raise actor.failure

    def tick(self) -> float:
        """A moment of its own, for histories."""
        with self._moved:
            self.now += 1
            return float(self.now)

    def _live(self, actor: _Actor, act: Callable[[Client], None], client: Client) -> None:
        try:
            act(client)
        except Killed:
            pass
        except BaseException as failure:
            actor.failure = failure
        with self._moved:
            actor.state = "done"
            self._moved.notify_all()

    def _lead(self) -> None:
        with self._moved:
            while True:
                assert self._moved.wait_for(self._all_still, _PATIENCE), "an actor neither calls nor ends"
                waiting = [name for name, actor in self._actors.items() if actor.state == "waiting"]
                if not waiting:
                    return
                name, dies = self._choose(waiting)
                actor = self._actors[name]
                actor.dies, actor.state = dies, "running"
                self._moved.notify_all()

    def _all_still(self) -> bool:
        return all(actor.state != "running" for actor in self._actors.values())

    def _at(self, name: str, step: Step) -> None:
        actor = self._actors[name]
        with self._moved:
            if step.when == "before":
                actor.state = "waiting"
                self._moved.notify_all()
                assert self._moved.wait_for(lambda: actor.state == "running", _PATIENCE), "nobody leads"
            self.now += 1
            if actor.dies == step.when:
                raise Killed(f"{name} {step.when} {step.verb} {step.resource}")


def orders(first: int, second: int) -> list[str]:
    """All orders of so many calls of A and B."""
    places = itertools.combinations(range(first + second), first)
    return ["".join("A" if at in chosen else "B" for at in range(first + second)) for chosen in map(set, places)]


def dying(picks: Sequence[int], deaths: Deaths, mortals: str = "ABCD") -> Choose:
    """Each turn to the one of this number among those who wait; the mortal ones among those of these turns die."""
    turn = itertools.count()

    def choose(waiting: Sequence[str]) -> Turn:
        number = next(turn)
        pick = picks[number % len(picks)] if picks else number
        name = waiting[pick % len(waiting)]
        return name, deaths.get(number) if name in mortals else None

    return choose


def in_order(order: str) -> Choose:
    """The actors, each named by a letter, in this order; those that are left afterwards in turn."""
    left = list(order)

    def choose(waiting: Sequence[str]) -> Turn:
        while left:
            name = left.pop(0)
            if name in waiting:
                return name, None
        return waiting[0], None

    return choose
