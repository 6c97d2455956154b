"""The status of a Pod, computed from the states of its containers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from runtime.testing.nodes.container import Role
from runtime.testing.nodes.states import Running, State, Terminated, Waiting, timestamp
from runtime.types import JSONMapping, JSONObject


class ContainerView(Protocol):
    """What is shown of a container."""

    @property
    def spec(self) -> JSONObject: ...
    @property
    def name(self) -> str: ...
    @property
    def role(self) -> Role: ...
    @property
    def state(self) -> State: ...
    @property
    def last(self) -> Terminated | None: ...
    @property
    def restarts(self) -> int | None: ...
    @property
    def container_id(self) -> str: ...
    @property
    def image_id(self) -> str: ...
    @property
    def started(self) -> bool: ...
    @property
    def ready(self) -> bool: ...
    @property
    def running(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class PodView:
    """What is known of a Pod on its node.

    :param initialized: all init containers have done their part.
    :param address: the Pod's; ``""`` before it has one.
    :param reason: why it failed as a whole, with ``message``.
    """

    init: Sequence[ContainerView]
    main: Sequence[ContainerView]
    initialized: bool
    address: str
    host_address: str
    started_at: datetime
    reason: str = ""
    message: str = ""


def phase_of(pod: JSONMapping, view: PodView) -> str:
    """Rule of the kubelet: Pending until every container has run once; then as the containers are. Not over while
    anything runs, sidecars included."""
    phase = _phase_of_work(pod, view)
    if phase in ("Succeeded", "Failed") and any(c.running for c in (*view.init, *view.main)):
        return "Running" if view.initialized else "Pending"
    return phase


def _phase_of_work(pod: JSONMapping, view: PodView) -> str:
    policy = pod["spec"].get("restartPolicy") or "Always"
    if any(c.role is Role.INIT and isinstance(c.state, Terminated) and c.state.exit_code for c in view.init) and (
        policy == "Never"
    ):
        return "Failed"
    if not view.initialized:
        return "Pending"
    if any(isinstance(c.state, Waiting) and c.last is None for c in view.main):
        return "Pending"
    ended = [c.state for c in view.main if isinstance(c.state, Terminated)]
    if len(ended) < len(view.main) or policy == "Always":
        return "Running"
    if all(state.exit_code == 0 for state in ended):
        return "Succeeded"
    return "Failed" if policy == "Never" else "Running"


def build_status(
    pod: JSONMapping, view: PodView, now: datetime, *, phase: str | None = None, before: JSONMapping | None = None
) -> JSONObject:
    """The status to write. Conditions of other owners (readiness gates) are kept.

    :param before: what was written last, perhaps not seen in ``pod`` yet: conditions that did not change since keep
        their time.
    """
    status: JSONObject = {key: value for key, value in (pod.get("status") or {}).items() if key in ("qosClass",)}
    status["phase"] = phase or phase_of(pod, view)
    status["conditions"] = _conditions(pod, view, status["phase"], now, before)
    status["hostIP"] = view.host_address
    status["hostIPs"] = [{"ip": view.host_address}]
    if view.address:
        status["podIP"] = view.address
        status["podIPs"] = [{"ip": view.address}]
    status["startTime"] = timestamp(view.started_at)
    if view.reason:
        status["reason"], status["message"] = view.reason, view.message
    if view.init:
        status["initContainerStatuses"] = [_container_status(c) for c in view.init]
    status["containerStatuses"] = [_container_status(c) for c in view.main]
    return status


def _container_status(container: ContainerView) -> JSONObject:
    status: JSONObject = {
        "name": container.name,
        "state": container.state.to_dict(),
        "lastState": container.last.to_dict() if container.last else {},
        "ready": container.ready,
        "restartCount": container.restarts or 0,
        "image": container.spec.get("image", ""),
        "imageID": container.image_id,
        "started": container.started and isinstance(container.state, Running),
    }
    if container.container_id:
        status["containerID"] = container.container_id
    return status


def _conditions(
    pod: JSONMapping, view: PodView, phase: str, now: datetime, before: JSONMapping | None
) -> list[JSONObject]:
    existing: list[JSONObject] = (pod.get("status") or {}).get("conditions") or []
    ours: list[JSONObject] = (before or pod.get("status") or {}).get("conditions") or []
    unready = _unready(view)
    over = phase in ("Succeeded", "Failed")
    containers_ready: tuple[bool, str, str] = (not unready, "", "")
    if over:
        containers_ready = (False, "PodCompleted" if phase == "Succeeded" else "PodFailed", "")
    elif unready:
        containers_ready = (False, "ContainersNotReady", f"containers with unready status: [{' '.join(unready)}]")
    ready = containers_ready
    missing = _unmet_gates(pod, existing)
    if ready[0] and missing:
        ready = (False, "ReadinessGatesNotReady", "; ".join(missing))
    pending = [c.name for c in view.init if not (c.ready if c.role is Role.INIT else c.started)]
    initialized: tuple[bool, str, str] = (True, "PodCompleted" if phase == "Succeeded" else "", "")
    if not view.initialized:
        message = f"containers with incomplete status: [{' '.join(pending)}]"
        initialized = (False, "ContainersNotInitialized", message)
    own = {
        "PodReadyToStartContainers": (bool(view.address) and not over, "", ""),
        "Initialized": initialized,
        "Ready": ready,
        "ContainersReady": containers_ready,
        "PodScheduled": (True, "", ""),
    }
    others = [condition for condition in existing if condition.get("type") not in own]
    return [*(_condition(kind, verdict, ours, now) for kind, verdict in own.items()), *others]


def _unready(view: PodView) -> list[str]:
    serving = [*view.main, *(c for c in view.init if c.role is Role.SIDECAR)]
    return [c.name for c in serving if not c.ready]


def _unmet_gates(pod: JSONMapping, existing: Iterable[JSONMapping]) -> list[str]:
    true = {condition["type"] for condition in existing if condition.get("status") == "True"}
    gates = [gate["conditionType"] for gate in pod["spec"].get("readinessGates") or ()]
    return [f'the status of pod readiness gate "{gate}" is not "True"' for gate in gates if gate not in true]


def _condition(kind: str, verdict: tuple[bool, str, str], existing: Iterable[JSONMapping], now: datetime) -> JSONObject:
    holds, reason, message = verdict
    condition: JSONObject = {"type": kind, "status": str(holds), "lastProbeTime": None}
    before = [c for c in existing if c.get("type") == kind]
    unchanged = bool(before) and before[0].get("status") == condition["status"]
    condition["lastTransitionTime"] = before[0].get("lastTransitionTime") if unchanged else timestamp(now)
    if reason:
        condition["reason"] = reason
    if message:
        condition["message"] = message
    return condition
