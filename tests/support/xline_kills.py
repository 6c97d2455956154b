"""kill -9 at a state of the agent's table: waits for a member to be in it, and hits before it has left it again."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final, TypeAlias

from membership.xline.states import State
from tests.support.waiting import eventually
from tests.support.xline_scene import AGENT, SERVER, SLOW, Scene, pod_name

Kind: TypeAlias = str  # of KINDS
KINDS: Final[dict[Kind, tuple[str, ...]]] = {"agent": (AGENT,), "both": (AGENT, SERVER), "server": (SERVER,)}

_NEXT_LOOK = 2.5  # seconds after which an agent has looked again, and says what it is at since a server was killed
_CALM = 3.0  # seconds without a hit after which a cluster that looks whole is taken to be


class Kills:
    """Those that are still to be done on one stage.

    An agent publishes its state before it acts on it, and its ``/status`` is asked all the time, so what is hit is
    what has just begun. Where a state is over too fast for that, the member is brought into it again.

    :param wanted: what to kill at which state, in this order.
    """

    def __init__(self, scene: Scene, wanted: Mapping[State, Sequence[Kind]]) -> None:
        self.scene = scene
        self.pending = [(state, kind) for state, kinds in wanted.items() for kind in kinds]
        self._dead: set[int] = set()  # processes that were hit, some of which are not reaped yet
        self._told: dict[int, tuple[State, float]] = {}  # ordinal -> what its agent said when its server was hit
        self._last = 0.0

    def left(self, *states: State) -> list[Kind]:
        """Kinds of what is still to be done at these states."""
        return [kind for state, kind in self.pending if state in states]

    def hunt(
        self, ordinals: Collection[int], *states: State, until: Callable[[], bool] = lambda: False, within: float = SLOW
    ) -> None:
        """Hit these members at these states until nothing is left to be done at them, or it is over."""
        end = time.monotonic() + within
        while self.left(*states) and time.monotonic() < end and not until():
            for ordinal in ordinals:
                self._look(ordinal, states)
            time.sleep(0.002)

    def strike(self, ordinals: Collection[int], state: State) -> Kind:
        """Hit one of these members at this state, which one of them must come to; what was done."""
        before = list(self.pending)
        eventually(lambda: any(self._look(o, (state,)) for o in ordinals), f"{ordinals} hit at {state}", SLOW)
        return next(kind for found, kind in before if (found, kind) not in self.pending)

    def repeat(self, bring: Callable[[int], Collection[int]], *states: State, after: Callable[[], None]) -> None:
        """Bring members into these states, again and again, until all is done.

        :param bring: gets the number of the turn; whom to hit then.
        :param after: waits until all is well again.
        """
        for turn in range(3 * len(KINDS)):
            if not self.left(*states):
                return
            ordinals = bring(turn)
            self.hunt(ordinals, *states, until=self.calm())
            after()
        raise AssertionError(f"never hit: {self.pending}")

    def settle(self, *ordinals: int) -> None:
        """Until the cluster is what is wanted, and its list is the plan: no ghosts, nobody twice."""
        self.scene.wait_whole(*ordinals)
        plan = self.scene.status()["plan"]["ordinals"]
        assert sorted(plan) == sorted(ordinals)
        wanted = [pod_name(ordinal) for ordinal in ordinals]
        eventually(lambda: sorted(m.name for m in self.scene.listed()) == sorted(wanted), f"{wanted} listed", SLOW)
        eventually(
            lambda: all(self.scene.agent_state(ordinal) == State.RUNNING for ordinal in ordinals),
            "all agents content",
            SLOW,
        )
        assert len({member.id for member in self.scene.listed()}) == len(ordinals)
        print(f"{time.monotonic():.1f} all is well")

    def calm(self) -> Callable[[], bool]:
        """Tells whether all is well, and not only because nobody has noticed yet."""
        self._last = time.monotonic()

        def look() -> bool:
            if time.monotonic() - self._last < _CALM:
                return False
            planned = (self.scene.status().get("plan") or {}).get("ordinals")
            if planned and self.scene.whole(*planned):
                return True
            self._last = time.monotonic() - _CALM / 2
            return False

        return look

    def _look(self, ordinal: int, states: Collection[State]) -> bool:
        """Whether the member was hit."""
        said = self.scene.agent_state(ordinal)
        told, since = self._told.get(ordinal, ("", 0.0))
        if said == told and time.monotonic() - since < _NEXT_LOOK:
            return False
        self._told.pop(ordinal, None)
        if said not in states:
            return False
        state = State(said)
        kinds = self.left(state)
        return bool(kinds) and self._hit(ordinal, state, kinds[0])

    def _hit(self, ordinal: int, state: State, kind: Kind) -> bool:
        pids = [self.scene.pid(ordinal, container) for container in KINDS[kind]]
        if not all(pid is not None and pid not in self._dead for pid in pids):
            return False
        try:
            self.scene.kill(ordinal, *KINDS[kind])
        except (AssertionError, ProcessLookupError):  # one of them has just ended by itself
            return False
        self._dead.update(pid for pid in pids if pid is not None)
        self._told[ordinal] = state, time.monotonic()
        self._last = time.monotonic()
        self.pending.remove((state, kind))
        print(f"{self._last:.1f} member {ordinal} at {state}: {kind}")  # which pytest shows if something fails
        return True
