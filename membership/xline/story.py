"""The events by which an agent tells users what it does: on their XlineCluster, where they look."""

from __future__ import annotations

from typing import Final

from crds.xlinecluster import RESOURCE
from membership.xline.model import Identity
from membership.xline.planreader import PlanReader
from membership.xline.states import State
from runtime.clock import Clock
from runtime.logging import get_logger
from runtime.record import EventRecorder
from runtime.types import JSONObject

PATIENCE: Final = 300.0  # seconds in a state that should pass, after which it is told

_PASSING: Final = frozenset(
    {
        State.BOOTSTRAP,
        State.WAIT_PEERS,
        State.RESTART,
        State.LOST_DISK,
        State.RESUME,
        State.JOIN,
        State.START_JOIN,
        State.CATCH_UP,
        State.PARTITIONED,
        State.EVICTED,
        State.RECOVER,
    }
)
_AT_ONCE: Final = frozenset({State.FAILED, State.FOREIGN_CLUSTER, State.SERVER_CRASH})

_log = get_logger(__name__)


class Story:
    """Used in the agent's thread."""

    def __init__(self, identity: Identity, recorder: EventRecorder, plans: PlanReader, clock: Clock) -> None:
        self._identity = identity
        self._recorder = recorder
        self._plans = plans
        self._clock = clock
        self._state: State = State.INIT
        self._since = clock.monotonic()
        self._told = False

    def tell(self, reason: str, message: str, *, warn: bool = False) -> None:
        """Record an event about the XlineCluster; it is logged in any case."""
        (_log.warning if warn else _log.info)(message, reason=reason)
        cluster = self.cluster()
        if cluster is None:
            return
        about = {**cluster, "namespace": self._identity.namespace}
        self._recorder.event(about, "Warning" if warn else "Normal", reason, message, action="Membership")

    def cluster(self) -> JSONObject | None:
        """What refers to the XlineCluster; None while its uid is not known."""
        plan = self._plans.current
        if plan is None or not plan.uid:
            return None
        return {
            "apiVersion": RESOURCE.gvr.api_version,
            "kind": RESOURCE.kind,
            "name": self._identity.cluster,
            "uid": plan.uid,
        }

    def follow(self, state: State, detail: str) -> None:
        """The member is in this state now. One that should pass and does not is told, once; trouble at once."""
        now = self._clock.monotonic()
        if state is not self._state:
            _log.info("state", state=str(state), before=str(self._state), detail=detail)
            self._state, self._since, self._told = state, now, False
        late = state in _PASSING and now - self._since >= PATIENCE
        if (late or state in _AT_ONCE) and not self._told:
            self._told = True
            self.tell(f"Member{state}", f"{self._identity.pod}: {detail}", warn=True)
