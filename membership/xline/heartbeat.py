"""What an agent says about its member, on the member's Pod: written here, and read by the operator and other agents.

A heartbeat is written when something has changed that others act on, and now and then in any case. Its age is judged
by those who read it, on their own clock, by how long its sequence has stood still: no two machines agree on a time.
"""

from __future__ import annotations

import random
import threading
import uuid
from collections.abc import Callable
from typing import Final

import msgspec

from membership.xline.model import HEARTBEAT, ROLE, Heartbeat, Identity, Role
from runtime.client import Client, ClientError, Interrupt, NotFound, ResourceClient, Unstructured
from runtime.client.errors import Answer as ErrorAnswer
from runtime.client.errors import Target
from runtime.clock import SYSTEM, Clock
from runtime.logging import get_logger
from runtime.metrics import Counter
from runtime.types import GVR, JSONObject

_log = get_logger(__name__)

PODS: Final = GVR("", "v1", "pods")
KEEPALIVE: Final = 15.0  # seconds between writings of what has not changed
WRITE_TIMEOUT: Final = 5.0  # seconds for one writing
_PAUSE: Final = 0.5  # seconds between two writings: changes come in bursts
_FIRST_WAIT, _LONGEST_WAIT = 1.0, 15.0  # seconds between tries
# What changes all the time, and that nobody needs to know at once; and what comes with something that triggers.
_RIDES_ALONG: Final = frozenset(
    {"sequence", "incarnation", "applied_index", "raft_index", "revision", "db_size", "agent_version", "ran"}
)
_TRIGGERS: Final = tuple(name for name in Heartbeat.__struct_fields__ if name not in _RIDES_ALONG)

_decode: Callable[[str], Heartbeat] = msgspec.json.Decoder(Heartbeat).decode


def parse_heartbeat(pod: Unstructured) -> Heartbeat | None:
    """The heartbeat on a Pod; None: there is none, it is unreadable, or it is about another Pod of this name."""
    text = pod.annotations.get(HEARTBEAT)
    if text is None:
        return None
    try:
        beat = _decode(text)
    except msgspec.DecodeError as error:
        _log.warning("a heartbeat is unreadable", pod=f"{pod.namespace}/{pod.name}", error=str(error))
        return None
    return beat if beat.pod_uid == pod.uid else None


def role_of(pod: Unstructured) -> Role | None:
    """What its label says the member is."""
    value = pod.labels.get(ROLE)
    return value if value in ("leader", "follower", "learner") else None  # type: ignore[return-value]  # just checked


class Freshness:
    """How old heartbeats are, by the clock of who reads them. Safe for use from several threads.

    What it has not seen before is taken to be new: whoever has just started waits before it calls anything old.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SYSTEM
        self._lock = threading.Lock()  # guards _seen
        self._seen: dict[str, tuple[str, int, float]] = {}  # Pod's uid -> incarnation, sequence, when first seen

    def observe(self, beat: Heartbeat) -> float:
        """Seconds since the heartbeat was first seen as it is."""
        now = self._clock.monotonic()
        with self._lock:
            seen = self._seen.get(beat.pod_uid)
            if seen is None or seen[:2] != (beat.incarnation, beat.sequence):
                self._seen[beat.pod_uid] = (beat.incarnation, beat.sequence, now)
                return 0.0
            return now - seen[2]

    def forget(self, keep: frozenset[str]) -> None:
        """Drop all Pods but those with these uids."""
        with self._lock:
            self._seen = {uid: seen for uid, seen in self._seen.items() if uid in keep}


class HeartbeatWriter:
    """Writes one member's heartbeat and role to its Pod, in a thread of its own. The latest one counts.

    :param on_pod: called by the writing thread with the Pod as the API server has it, after each writing.
    """

    def __init__(
        self,
        client: Client,
        identity: Identity,
        *,
        clock: Clock | None = None,
        on_pod: Callable[[Unstructured], None] | None = None,
    ) -> None:
        self.incarnation = uuid.uuid4().hex[:12]
        self.written = Counter()
        self.failed = Counter()
        self.on_pod: Callable[[Unstructured], None] = on_pod or (lambda _: None)
        self._identity = identity
        self._clock = clock or SYSTEM
        self._stop = Interrupt()
        self._pods = client.bound(self._stop).resource(PODS, namespace=identity.namespace)
        self._last_pods = client.resource(PODS, namespace=identity.namespace)
        self._condition = threading.Condition()  # guards everything below
        self._wanted: tuple[Heartbeat, Role | None] | None = None
        self._shown: tuple[object, ...] | None = None  # triggers of what was written last; None: unknown
        self._sequence = 0
        self._ran: bool | None = None  # None: what earlier lives of the agent have said was not read yet
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def publish(self, beat: Heartbeat, role: Role | None) -> None:
        """Say this from now on; its sequence and incarnation are filled in. Never blocks.

        :param role: None: no leader is known, so the Pod is labelled as nothing.
        """
        with self._condition:
            self._wanted = (beat, role)
            self._condition.notify_all()

    def own_pod(self, timeout: float = WRITE_TIMEOUT) -> Unstructured:
        """Our Pod as the API server has it now.

        :raises NotFound: it is gone, even if there is another one of this name.
        :raises ClientError: the API server does not say.
        """
        pod = self._pods.get(self._identity.pod, timeout=timeout)
        if pod.uid != self._identity.pod_uid:
            target = Target("get", f"pod {pod.namespace}/{pod.name} with uid {self._identity.pod_uid}")
            raise NotFound(target, ErrorAnswer(404, "NotFound", f"it was replaced by one with uid {pod.uid}"))
        self.on_pod(pod)
        return pod

    def start(self) -> None:
        self._thread.start()

    def close(self, timeout: float = 0.0) -> None:
        """Stops writing.

        :param timeout: seconds to write what was published last and is not written yet; in vain is fine.
        """
        self._stop.set()
        with self._condition:
            self._condition.notify_all()
        if self._thread.ident is not None:
            self._thread.join()
        with self._condition:
            unsaid = self._wanted is not None and _triggers(*self._wanted) != self._shown
        if timeout > 0 and unsaid:
            try:
                self._write(self._last_pods, timeout)
            except ClientError as error:
                _log.debug("the last heartbeat was not written", error=str(error))

    def _run(self) -> None:
        failures, told = 0, ""
        while self._wait_for_change():
            try:
                self._write(self._pods, WRITE_TIMEOUT)
            except Exception as error:
                if self._stop.is_set():
                    return
                self.failed.add()
                if str(error) != told:
                    told = str(error)
                    expected = isinstance(error, ClientError)
                    _log.warning("heartbeat is not written", error=told, exc_info=None if expected else error)
                wait = min(_FIRST_WAIT * 2 ** min(failures, 10), _LONGEST_WAIT)
                failures += 1
                self._clock.wait_event(self._stop, wait * random.uniform(0.75, 1.25))  # noqa: S311  # spreads agents
            else:
                failures, told = 0, ""
                self._clock.wait_event(self._stop, _PAUSE)

    def _wait_for_change(self) -> bool:
        """Block until there is something to write; False: we are to stop."""
        deadline = self._clock.monotonic() + KEEPALIVE
        with self._condition:
            while not self._stop.is_set():
                left = deadline - self._clock.monotonic()
                if self._wanted is not None and (left <= 0 or _triggers(*self._wanted) != self._shown):
                    return True
                self._clock.wait(self._condition, max(left, 0.0) if self._wanted is not None else None)
        return False

    def _write(self, pods: ResourceClient, timeout: float) -> None:
        if self._ran is None:
            # It must outlive the data, and so the agent: nobody else may know that the cluster has run.
            pod = pods.get(self._identity.pod, timeout=timeout)
            earlier = parse_heartbeat(pod) if pod.uid == self._identity.pod_uid else None
            self._ran = earlier is not None and earlier.ran
        with self._condition:
            assert self._wanted is not None
            beat, role = self._wanted
            self._sequence += 1
            self._ran = self._ran or beat.ran or bool(beat.leader_id)
            beat = msgspec.structs.replace(beat, sequence=self._sequence, incarnation=self.incarnation, ran=self._ran)
            self._shown = None  # if the answer is lost
        patch: JSONObject = {
            "metadata": {
                "uid": self._identity.pod_uid,
                "labels": {ROLE: role},
                "annotations": {HEARTBEAT: msgspec.json.encode(beat).decode()},
            }
        }
        pod = pods.patch(self._identity.pod, patch, type="merge", timeout=timeout)
        with self._condition:
            self._shown = _triggers(beat, role)
        self.written.add()
        self.on_pod(pod)


def _triggers(beat: Heartbeat, role: Role | None) -> tuple[object, ...]:
    return (role, *(getattr(beat, name) for name in _TRIGGERS))
