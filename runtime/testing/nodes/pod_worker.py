"""Runs one Pod: a thread that owns its containers and moves them towards what the Pod's spec says."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime

from runtime.client import Unstructured
from runtime.logging import get_logger
from runtime.testing.nodes.container import Container, Role, role_of
from runtime.testing.nodes.context import PodContext
from runtime.testing.nodes.host import Host, PodStatusUpdate
from runtime.testing.nodes.logs import RunLogs
from runtime.testing.nodes.pod_status import PodView, build_status, phase_of
from runtime.testing.nodes.states import Terminated, parse_timestamp
from runtime.testing.nodes.volumes import VolumeError
from runtime.types import JSONMapping, JSONObject

_log = get_logger("runtime.testing.nodes")
_VOLUME_RETRY = 1.0  # seconds until volumes that could not be mounted are tried again
_DEFAULT_GRACE = 30.0
_OVER = ("Succeeded", "Failed")
_CONTAINERS = ("initContainers", "containers")


class PodWorker:
    """One Pod, from its binding to this node until its last process has ended.

    :meth:`update`, :meth:`refresh`, :meth:`vanish` and :meth:`stop` may be called from any thread and return at once;
    everything else happens in the worker's thread, so its containers need no locks.

    :param ended: called from the thread as its last act.
    """

    def __init__(self, host: Host, pod: Unstructured, ended: Callable[[PodWorker], None]) -> None:
        self.namespace, self.name, self.uid = pod.namespace, pod.name, pod.uid
        self.finished = threading.Event()  # no process of the Pod runs, nor will
        self.left = False  # the node stops: the Pod may run again on this root
        self.failed = False  # it ended because of a bug here: another worker should try
        self._host = host
        self._clock = host.clock
        self._pod: JSONObject = pod.to_dict()
        self._object = pod
        self._ended = ended
        self._inbox: deque[Callable[[], None]] = deque()
        self._wake = threading.Condition()  # guards _inbox
        self._context = PodContext(host, self._pod)
        recorded = _recorded(self._pod)
        self._init = self._containers("initContainers", recorded)
        self._main = self._containers("containers", recorded)
        status = self._pod.get("status") or {}
        self._started_at: datetime = parse_timestamp(status.get("startTime")) or host.clock.now()
        self._phase: str | None = status.get("phase") if status.get("phase") in _OVER else None
        self._mounted = False
        self._mount_at = 0.0
        self._mount_error = ""
        self._initialized = False
        self._synced_at = float("-inf")  # monotonic time at which it was last looked what may start
        self._deadline: float | None = None  # monotonic end of the grace period, once the Pod is to end
        self._report = True  # whether the API still wants to know
        self._done = False
        self._published: JSONObject | None = None
        self._thread = threading.Thread(target=self._run, name=f"pod-{self.namespace}/{self.name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def join(self, timeout: float | None = None) -> None:
        self._thread.join(timeout)

    @property
    def logs(self) -> RunLogs:
        return self._context.logs

    @property
    def address(self) -> str:
        """What the Pod is known by; fixed."""
        return self._context.address

    @property
    def containers(self) -> list[str]:
        """Names of its containers, init containers first."""
        return [c.name for c in self._all()]

    @property
    def pids(self) -> dict[str, int]:
        """The processes that run now, by container. Any may have ended when the caller reads it."""
        return {c.name: pid for c in self._all() if (pid := c.pid) is not None}

    def is_running(self, container: str, restart: int) -> bool:
        """Whether the container's run with this restart count goes on. From any thread."""
        return any(c.name == container and c.restarts == restart and c.running for c in self._all())

    @property
    def default_container(self) -> str:
        annotations = self._pod["metadata"].get("annotations") or {}
        return str(annotations.get("kubectl.kubernetes.io/default-container") or self._main[0].name)

    # -- from any thread

    def update(self, pod: Unstructured) -> None:
        """The object has changed."""
        self._post(lambda: self._updated(pod))

    def refresh(self) -> None:
        """A ConfigMap or Secret of the namespace has changed."""
        self._post(self._refreshed)

    def vanish(self) -> None:
        """The object is gone from the API without our having ended the Pod."""

        def gone() -> None:
            self._report = False
            self._end(self._spec_grace())

        self._post(gone)

    def stop(self, grace: float) -> None:
        """End its processes within ``grace`` seconds because the node stops: no hooks, no status; a later node on this
        root runs the Pod again."""

        def leave() -> None:
            self.left = True
            self._report = False
            self._end(min(grace, self._spec_grace()), hooks=False, message="the local node stops")

        self._post(leave)

    def _post(self, action: Callable[[], None]) -> None:
        with self._wake:
            self._inbox.append(action)
            self._wake.notify_all()

    # -- the thread

    def _run(self) -> None:
        try:
            self._restore()
            while not self._done:
                self._turn()
        except Exception as error:
            # A bug here must not leave the Pod's processes running unseen.
            _log.exception("pod worker failed", namespace=self.namespace, name=self.name)
            self.failed = True
            self._event("Warning", "FailedSync", f"error determining status: {error!r}")
            self._kill_hard()
        finally:
            for container in self._all():
                container.join()
            self.finished.set()
            self._ended(self)

    def _turn(self) -> None:
        with self._wake:
            if not self._inbox:
                timeout = self._until_next()
                if timeout is None or timeout > 0:
                    self._clock.wait(self._wake, timeout)
            actions = list(self._inbox)
            self._inbox.clear()
        for action in actions:
            action()
        if self._deadline is not None:
            self._sync_end()
        elif self._phase is None:
            self._sync()
        if not self._done:
            self._publish()

    def _until_next(self) -> float | None:
        """Seconds until something is due by itself; ``None``: only when told."""
        if self._published is None and self._report:
            return 0.0
        if self._deadline is not None or self._phase is not None:
            return None
        # One whose time had come at the last look waits for another container, not for a time.
        due = [c.start_at for c in self._all() if c.start_at is not None and c.start_at > self._synced_at]
        if not self._mounted:
            due.append(self._mount_at)
        return max(0.0, min(due) - self._clock.monotonic()) if due else None

    # -- what happens

    def _updated(self, pod: Unstructured) -> None:
        self._object = pod
        self._pod = pod.to_dict()
        self._context.pod = self._pod
        metadata = self._pod["metadata"]
        if metadata.get("deletionTimestamp"):
            self._end(self._remaining_grace(metadata))
            return
        if self._mounted:
            self._remount()  # labels and annotations may be files
        specs = {spec["name"]: spec for field in _CONTAINERS for spec in self._pod["spec"].get(field) or ()}
        for container in self._all():
            if container.name in specs:
                container.redefine(specs[container.name])

    def _refreshed(self) -> None:
        if self._mounted:
            self._remount()
        self._mount_at = 0.0
        for container in self._all():
            if not container.running and container.state.to_dict().get("waiting", {}).get("reason", "").startswith(
                "CreateContainer"
            ):
                container.start_at = self._clock.monotonic()

    def _remount(self) -> None:
        try:
            self._context.volumes.prepare(self._pod)
        except VolumeError as error:  # what is mounted stays as it was
            self._event("Warning", "FailedMount", str(error))

    def _remaining_grace(self, metadata: JSONMapping) -> float:
        """What is left of the grace period, which began with the deletion."""
        grace = float(metadata.get("deletionGracePeriodSeconds") or 0)
        deadline = parse_timestamp(metadata["deletionTimestamp"])
        assert deadline is not None
        # Times in the API are cut to whole seconds.
        left = (deadline - self._clock.now()).total_seconds() + 1.0
        return max(0.0, min(grace, left))

    def _spec_grace(self) -> float:
        grace = self._pod["spec"].get("terminationGracePeriodSeconds")
        return _DEFAULT_GRACE if grace is None else float(grace)

    # -- towards running

    def _sync(self) -> None:
        if not self._mount():
            return
        now = self._synced_at = self._clock.monotonic()
        if not self._sync_init(now):
            return
        self._initialized = True
        for container in self._main:
            self._keep(container, now)
        if self._over():
            self._end_sidecars()

    def _mount(self) -> bool:
        if self._mounted:
            return True
        if self._clock.monotonic() < self._mount_at:
            return False
        try:
            self._context.volumes.prepare(self._pod)
        except VolumeError as error:
            self._mount_at = self._clock.monotonic() + _VOLUME_RETRY
            if str(error) != self._mount_error:
                self._mount_error = str(error)
                self._event("Warning", "FailedMount", str(error))
            return False
        self._mounted = True
        return True

    def _sync_init(self, now: float) -> bool:
        """Whether the main containers may run."""
        for container in self._init:
            if container.role is Role.SIDECAR:
                if not self._over():
                    self._keep(container, now)
                if not container.started and not self._initialized:
                    return False
            elif not container.succeeded and not self._initialized:
                self._keep(container, now)
                if self._failed_for_good(container):
                    self._end_sidecars()
                return False
        return True

    def _keep(self, container: Container, now: float) -> None:
        """Start it, or start it again, when it is time."""
        if container.running:
            return
        if isinstance(container.state, Terminated):
            if not self._restarts(container):
                return
            if container.start_at is None:
                container.restart_later()
        if container.start_at is None or container.start_at <= now:
            container.start()

    def _restarts(self, container: Container) -> bool:
        if container.redefined:
            return True
        policy = container.spec.get("restartPolicy") or self._pod["spec"].get("restartPolicy") or "Always"
        if container.role is Role.SIDECAR:
            return True
        if container.succeeded:
            return container.role is Role.MAIN and policy == "Always"
        return policy != "Never"

    def _failed_for_good(self, container: Container) -> bool:
        return container.failed and not self._restarts(container)

    def _over(self) -> bool:
        """Whether no container will run again by itself."""
        if any(self._failed_for_good(c) for c in self._init):
            return True
        return self._initialized and all(isinstance(c.state, Terminated) and not self._restarts(c) for c in self._main)

    def _end_sidecars(self) -> None:
        """The work is over: sidecars end in reverse order, then the Pod has its final phase."""
        sidecars = [c for c in reversed(self._init) if c.role is Role.SIDECAR and c.running]
        for container in sidecars:
            if not container.stopping:
                container.terminate(f"Stopping container {container.name}", self._spec_grace())
        if sidecars:
            sidecars[0].go()
        else:
            self._phase = self._final_phase()

    def _final_phase(self) -> str:
        phase = phase_of(self._pod, self._view())
        return phase if phase in _OVER else "Failed"

    # -- towards the end

    def _end(self, grace: float, *, hooks: bool = True, message: str = "") -> None:
        deadline = self._clock.monotonic() + grace
        self._deadline = deadline if self._deadline is None else min(self._deadline, deadline)
        for container in self._all():
            if container.stopping:
                container.shorten(grace)
            else:
                container.terminate(message or f"Stopping container {container.name}", grace, hooks=hooks)

    def _sync_end(self) -> None:
        running = [c for c in self._main if c.running]
        for container in running:
            container.go()
        if not running:
            sidecars = [c for c in reversed(self._init) if c.running]
            for container in sidecars[:1]:
                container.go()
            if not sidecars:
                self._finish()

    def _finish(self) -> None:
        self._host.claims.release(self.uid)
        if self._report:
            phase = self._phase or ("Failed" if any(c.failed for c in self._main) else "Succeeded")
            self._host.publish(PodStatusUpdate(self.namespace, self.name, self.uid, self._status(phase), final=True))
        self._done = True

    def _kill_hard(self) -> None:
        for container in self._all():
            with suppress(Exception):
                container.kill("pod worker failed", 0.0, hooks=False)

    def remove_folder(self) -> None:
        """Delete the Pod's emptyDirs, logs and work folders; only after the end of a Pod that is deleted."""
        self._context.remove()
        if not self._pod["spec"].get("subdomain"):
            self._host.network.release_pod(self.namespace, self.name)

    # -- what is told

    def _view(self) -> PodView:
        return PodView(
            init=self._init,
            main=self._main,
            initialized=self._initialized,
            address=self._context.address,
            host_address=self._host.network.host_address,
            started_at=self._started_at,
        )

    def _publish(self) -> None:
        if not self._report:
            return
        status = self._status(self._phase)
        if status != self._published or status != self._pod.get("status"):
            self._published = status
            self._host.publish(PodStatusUpdate(self.namespace, self.name, self.uid, status))

    def _status(self, phase: str | None) -> JSONObject:
        return build_status(self._pod, self._view(), self._clock.now(), phase=phase, before=self._published)

    def _event(self, kind: str, reason: str, message: str) -> None:
        self._host.recorder.event(self._object, kind, reason, message)

    # -- small things

    def _all(self) -> list[Container]:
        return [*self._init, *self._main]

    def _containers(self, field: str, recorded: dict[str, JSONObject]) -> list[Container]:
        return [
            Container(
                spec,
                role_of(spec, init=field == "initContainers"),
                self._context,
                post=self._post,
                event=self._event,
                recorded=recorded.get(spec["name"]),
            )
            for spec in self._pod["spec"].get(field) or ()
        ]

    def _restore(self) -> None:
        """What an earlier node left: a Pod that was over stays over, and lost containers stay lost if their policy is
        not to restart them."""
        if self._phase is not None:
            self._initialized = True
            for container in self._all():
                container.lost()
        elif any(c.last is not None for c in self._main):
            for container in self._main:
                if container.last is not None and not self._runs_again_after(container.last):
                    container.lost()
        if self._pod["metadata"].get("deletionTimestamp"):
            self._end(self._remaining_grace(self._pod["metadata"]))

    def _runs_again_after(self, end: Terminated) -> bool:
        policy = self._pod["spec"].get("restartPolicy") or "Always"
        return policy == "Always" or (policy == "OnFailure" and end.exit_code != 0)


def _recorded(pod: JSONMapping) -> dict[str, JSONObject]:
    status = pod.get("status") or {}
    entries = [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]
    return {entry["name"]: entry for entry in entries}
