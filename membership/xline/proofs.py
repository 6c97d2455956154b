"""What an agent makes sure of, just now and by the API server, before something that cannot be taken back: that its Pod
is the one of its name, that nobody has run before, and that a member that is being stopped shall leave."""

from __future__ import annotations

from typing import Final

from membership.xline.heartbeat import PODS, HeartbeatWriter, parse_heartbeat
from membership.xline.look import has_history, is_about
from membership.xline.model import Identity, PublishedPlan, member_selector_text
from membership.xline.planreader import PlanReader
from membership.xline.states import Stopping
from runtime.client import Client, ClientError, NotFound
from runtime.clock import Clock
from runtime.logging import get_logger

_CALL: Final = 3.0  # seconds for one request
_AGAIN: Final = 0.5  # seconds between two tries while somebody waits

_log = get_logger(__name__)


class Proofs:
    """What is asked for anew each time. Used in one thread."""

    def __init__(
        self,
        identity: Identity,
        token: str,
        client: Client,
        plans: PlanReader,
        heartbeats: HeartbeatWriter,
        clock: Clock,
    ) -> None:
        self._identity = identity
        self._token = token
        self._plans = plans
        self._heartbeats = heartbeats
        self._clock = clock
        self._pods = client.resource(PODS, namespace=identity.namespace)

    def replaced(self) -> str:
        """Why this Pod is not the one of its name any more; ``""`` if it is.

        One whose deletion was forced may run on, on a node that nobody reaches, beside the one that has its name now.
        What is listed under that name is the other's then: each would take the other out, for ever.

        :raises ClientError: the API server does not say.
        """
        try:
            self._heartbeats.own_pod(_CALL)
        except NotFound:
            return "this Pod was deleted, or another one has its name by now"
        return ""

    def has_run(self) -> str:
        """Why the cluster must not be made anew; ``""`` if it has never run.

        One that has followed a leader has run, also if the operator has not seen that yet, and nobody answers who could
        tell: what was stored then would be lost.

        :raises ClientError: the API server does not say.
        """
        plan = self._plans.fetch(_CALL)
        if plan.bootstrapped or plan.deleting or not is_about(plan, self._token):
            return "the operator does not say any more that the cluster has never run"
        selector = member_selector_text(self._identity.cluster)
        for pod in self._pods.list(label_selector=selector, timeout=_CALL).items:
            beat = parse_heartbeat(pod)
            if beat is None or beat.cluster_uid != plan.uid:
                continue
            if beat.ran or has_history(beat, len(self._identity.initial)):
                return f"{pod.name} has followed a leader, so the cluster has run"
        return ""

    def stopping(self, deadline: float) -> Stopping:
        """What becomes of the membership of a member that is being stopped. Who cannot be asked in time has not
        condemned anybody.

        :param deadline: on the clock.
        """
        while True:
            try:
                plan = self._plans.fetch(_CALL)
                if plan.deleting:
                    return Stopping.DELETE
                leaves = is_condemned(plan, self._token, self._identity.ordinal, being_deleted=self._is_being_deleted())
                return Stopping.LEAVE if leaves else Stopping.STAY
            except (ClientError, ValueError) as error:
                if self._clock.monotonic() + _AGAIN >= deadline:
                    _log.warning("nobody says whether this member shall leave; it stays", error=str(error))
                    return Stopping.STAY
                self._clock.sleep(_AGAIN)

    def _is_being_deleted(self) -> bool:
        try:
            return self._heartbeats.own_pod(_CALL).deletion_timestamp is not None
        except NotFound:
            return True


def is_condemned(plan: PublishedPlan | None, token: str, ordinal: int, *, being_deleted: bool) -> bool:
    """Whether a member that is being stopped leaves its cluster: only if a plan of this very cluster, read from the API
    server, does not have it, and its own Pod is being deleted. Restarts, drains, rollouts and the deletion of the
    cluster keep the membership.

    :param being_deleted: whether the own Pod has a deletion timestamp, or is gone.
    """
    return (
        plan is not None
        and not plan.stale
        and not plan.deleting
        and plan.token == token
        and plan.wants(ordinal) is False
        and being_deleted
    )
