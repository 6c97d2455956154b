"""One container of a Pod through all its runs."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from enum import Enum

from runtime.testing.nodes.backoff import Backoff
from runtime.testing.nodes.context import PodContext, Prepared
from runtime.testing.nodes.expand import ConfigError
from runtime.testing.nodes.images import CommandNotFound, MissingBinary
from runtime.testing.nodes.probes import Outcome, Prober, Target
from runtime.testing.nodes.process import Exit, Process, StartError
from runtime.testing.nodes.states import Running, State, Terminated, Waiting, parse_terminated
from runtime.testing.nodes.termination import HookRun, Termination, stop_signal
from runtime.testing.nodes.volumes import VolumeError
from runtime.types import JSONMapping, JSONObject

_RETRY = 1.0  # seconds until a container that could not be created is tried again, doubling
_RETRY_LIMIT = 20.0
_POST_START_TIMEOUT = 600.0


class Role(Enum):
    """What a container is in its Pod."""

    INIT = "init"  # runs to its end before the next
    SIDECAR = "sidecar"  # an init container with restartPolicy Always: runs beside the others, gates the next
    MAIN = "main"


def role_of(container: JSONMapping, *, init: bool) -> Role:
    if not init:
        return Role.MAIN
    return Role.SIDECAR if container.get("restartPolicy") == "Always" else Role.INIT


class Container:
    """Its state, its process, its probes. Only the Pod's worker thread calls it; what happens elsewhere (a process's
    end, a probe's verdict, a hook) comes back through ``post``, which queues a function for that thread.

    :param recorded: its entry in the Pod's status, if a node ran it before: counts go on from there.
    :param event: records an event about the Pod: type, reason, message.
    """

    def __init__(
        self,
        spec: JSONObject,
        role: Role,
        context: PodContext,
        *,
        post: Callable[[Callable[[], None]], None],
        event: Callable[[str, str, str], None],
        recorded: JSONMapping | None = None,
    ) -> None:
        self.spec = spec
        self.name: str = spec["name"]
        self.role = role
        self.state: State = Waiting("PodInitializing" if role is Role.MAIN else "ContainerCreating")
        self.last: Terminated | None = None
        self.restarts: int | None = None  # None: not started yet
        self.container_id = ""
        self.image_id = ""
        self.redefined = False  # it was ended for a new image, and starts again whatever its policy is
        self.started = False  # the startup probe, if any, has succeeded
        self.start_at: float | None = None  # monotonic time of the next start; None: at once
        self._context = context
        self._clock = context.host.clock
        self._post, self._event = post, event
        self._backoff = Backoff(context.host.restarts)
        self._retries = 0
        self._next: JSONObject | None = None  # the spec of the next run, when that differs
        self._run = 0  # number of the current run: what older runs report is stale
        self._process: Process | None = None
        self._prepared: Prepared | None = None
        self._target: Target | None = None
        self._started_at = 0.0
        self._ready = False
        self._earlier: Terminated | None = None  # what was last before, in a status recorded by an earlier node
        self._probers: list[Prober] = []
        self._termination: Termination | None = None
        self._retired: list[Prober | Termination | HookRun] = []  # ended or ending; joined at the end
        if recorded:
            self._resume(recorded)

    @property
    def pid(self) -> int | None:
        """The process of the current run; None when there is none."""
        return self._process.pid if self.running and self._process is not None else None

    def _resume(self, recorded: JSONMapping) -> None:
        now = self._clock.now()
        earlier = parse_terminated(recorded.get("lastState"), now)
        self.last = parse_terminated(recorded.get("state"), now) or earlier
        self._earlier = earlier
        self.image_id = recorded.get("imageID") or ""
        if self.last is not None:
            self.restarts = int(recorded.get("restartCount") or 0)
            self.container_id = recorded.get("containerID") or ""
        existing = self._context.logs.runs(self.name)
        if existing:  # runs that never made it into the API
            self.restarts = max(self.restarts or 0, existing[-1])

    # -- what it is

    @property
    def running(self) -> bool:
        return isinstance(self.state, Running)

    @property
    def ready(self) -> bool:
        """As ``containerStatuses[].ready``; an init container is ready once it has succeeded."""
        if self.role is Role.INIT:
            return self.succeeded
        return self.running and self.started and self._ready

    @property
    def succeeded(self) -> bool:
        return isinstance(self.state, Terminated) and self.state.exit_code == 0

    @property
    def failed(self) -> bool:
        return isinstance(self.state, Terminated) and self.state.exit_code != 0

    @property
    def stopping(self) -> bool:
        return self._termination is not None

    # -- its life

    def start(self) -> None:
        """Start it; on failure it waits, and ``start_at`` says when to try again."""
        restarts = 0 if self.restarts is None else self.restarts + 1
        if self._next is not None:
            self.spec, self._next = self._next, None
        try:
            prepared = self._context.prepare(self.spec, restarts)
            run = self._run = self._run + 1
            self._process = self._context.host.processes.spawn(
                prepared.program, lambda ended: self._post(lambda: self._on_exit(run, ended))
            )
        except ConfigError as error:
            self._cannot_start("CreateContainerConfigError", str(error))
        except MissingBinary as error:
            self._cannot_start("ErrImageNeverPull", f"image {self.spec.get('image')!r}: {error}")
        except (CommandNotFound, VolumeError, StartError, OSError) as error:
            self._cannot_start("CreateContainerError", str(error))
        else:
            self._running(prepared, restarts)

    def redefine(self, spec: JSONObject) -> None:
        """What the Pod says of it may have changed; of that only the image counts, as nothing else may change.

        What runs is ended and started again, and what waits is started, without back-off.
        """
        if (self._next or self.spec).get("image") == spec.get("image"):
            return
        self._next = spec
        self._backoff, self._retries = Backoff(self._context.host.restarts), 0
        if isinstance(self.state, Waiting):
            self.start_at = None
        elif self.running and self.role is not Role.INIT:
            self.redefined = True
            self.kill(f"Container {self.name} definition changed, will be restarted", self._grace(None))

    def _cannot_start(self, reason: str, message: str) -> None:
        waiting = Waiting(reason, message)
        if self.state != waiting:
            self._event("Warning", "Failed", f"Error: {message}")
        self.state = waiting
        self.start_at = self._clock.monotonic() + min(_RETRY * 2.0 ** min(self._retries, 30), _RETRY_LIMIT)
        self._retries += 1

    def _running(self, prepared: Prepared, restarts: int) -> None:
        assert self._process is not None
        if isinstance(self.state, Terminated):
            self.last = self.state
        self.state = Running(self._clock.now())
        self.restarts, self.start_at, self._retries, self.redefined = restarts, None, 0, False
        self.container_id = f"process://{uuid.uuid4().hex}"
        self.image_id = self._context.host.images.identity(str(self.spec.get("image") or ""))
        self._prepared = prepared
        self._target = self._context.target(self.spec, prepared, self._process)
        self._started_at = self._clock.monotonic()
        self._context.logs.forget_before(self.name, restarts)
        self._event("Normal", "Created", f"Created container: {self.name}")
        self._event("Normal", "Started", f"Started container {self.name} as process {self._process.pid}")
        hook = (self.spec.get("lifecycle") or {}).get("postStart")
        if hook:
            self._start_hook(hook, self._run)
        else:
            self._begin_probing()

    def _start_hook(self, hook: JSONMapping, run: int) -> None:
        def done(error: str | None) -> None:
            self._post(lambda: self._after_hook(run, error))

        name = f"{self._thread_name()}-poststart"
        hooked = HookRun(hook, self._need_target(), _POST_START_TIMEOUT, self._clock, done, name=name)
        self._retired.append(hooked)
        hooked.start()

    def _after_hook(self, run: int, error: str | None) -> None:
        if run != self._run or not self.running:
            return
        if error is None:
            self._begin_probing()
            return
        self._event("Warning", "FailedPostStartHook", f"PostStartHook failed: {error}")
        self.kill(f"FailedPostStartHook: container {self.name} will be restarted", self._grace(None))

    def _begin_probing(self) -> None:
        self._ready = "readinessProbe" not in self.spec
        if "startupProbe" in self.spec:
            self._probe("startup")
        else:
            self._has_started()

    def _has_started(self) -> None:
        self.started = True
        if "readinessProbe" in self.spec:
            self._probe("readiness")
        if "livenessProbe" in self.spec:
            self._probe("liveness")

    def _probe(self, kind: str) -> None:
        run = self._run
        prober = Prober(
            kind, self.spec[f"{kind}Probe"], self._need_target(), self._clock,
            lambda outcome: self._post(lambda: self._on_outcome(run, outcome)),
            name=f"{self._thread_name()}-{kind}",
        )  # fmt: skip
        self._probers.append(prober)
        prober.start()

    def _on_outcome(self, run: int, outcome: Outcome) -> None:
        if run != self._run or not self.running:
            return
        kind = outcome.kind.capitalize()
        if outcome.healthy is None:
            if not self.stopping:
                self._event("Warning", "Unhealthy", f"{kind} probe failed: {outcome.message}")
        elif outcome.kind == "readiness":
            self._ready = outcome.healthy
        elif outcome.healthy:
            if outcome.kind == "startup" and not self.started:
                self._retire_probers()
                self._has_started()
        elif not self.stopping:
            reason = f"Container {self.name} failed {outcome.kind} probe, will be restarted"
            self.kill(reason, self._grace(self.spec[f"{outcome.kind}Probe"]))

    def _on_exit(self, run: int, ended: Exit) -> None:
        if run != self._run or not self.running:
            return
        started_at = self.state.started_at if isinstance(self.state, Running) else None
        self._retire_probers()
        if self._termination is not None:
            self._termination.process_ended()
            self._retired.append(self._termination)
            self._termination = None
        for part in self._retired:
            if isinstance(part, HookRun):
                part.cancel()
        self.state = Terminated(
            exit_code=ended.code,
            reason="Completed" if ended.code == 0 else "Error",
            started_at=started_at,
            finished_at=self._clock.now(),
            signal=ended.signal,
            message=ended.message or self._termination_message(ended),
            container_id=self.container_id,
        )
        self.started = self._ready = False
        self.start_at = None
        self._reap()

    def _termination_message(self, ended: Exit) -> str:
        left = self._context.termination_message(self.spec)
        if left or ended.code == 0 or self.spec.get("terminationMessagePolicy") != "FallbackToLogsOnError":
            return left
        return self._context.logs.tail(self.name, self.restarts or 0)

    def restart_later(self) -> None:
        """It has ended and shall run again: now, or after its back-off."""
        assert isinstance(self.state, Terminated)
        delay = self._backoff.ended(self._clock.monotonic() - self._started_at)
        self.last = self.state
        self.start_at = self._clock.monotonic() + delay
        if delay > 0:
            message = (
                f"back-off {delay:g}s restarting failed container={self.name} "
                f"pod={self._context.name}_{self._context.namespace}({self._context.uid})"
            )
            self.state = Waiting("CrashLoopBackOff", message)
            self._event(
                "Warning", "BackOff", f"Back-off restarting failed container {self.name} in pod {self._context.name}"
            )

    def lost(self) -> None:
        """Its process ended with an earlier node, and it is not to run again."""
        if self.last is not None:
            self.state = self.last
            self.last = self._earlier if self._earlier != self.last else None

    # -- its end

    def kill(self, message: str, grace: float, *, hooks: bool = True) -> None:
        """Begin to end it; nothing happens if that has begun already, or it does not run.

        It is told to stop at once. For a Pod's own end, where sidecars wait for others: :meth:`terminate`.
        """
        self.terminate(message, grace, hooks=hooks)
        self.go()

    def terminate(self, message: str, grace: float, *, hooks: bool = True) -> None:
        """Begin to end it: its preStop hook runs, its signal comes after :meth:`go`."""
        if not self.running or self._process is None:
            return
        if self._termination is not None:
            self._termination.shorten(grace)
            return
        self._event("Normal", "Killing", message)
        hook = (self.spec.get("lifecycle") or {}).get("preStop") if hooks else None
        self._termination = Termination(
            self._process,
            stop_signal(self.spec),
            grace=grace,
            clock=self._clock,
            name=f"{self._thread_name()}-stop",
            hook=(hook, self._need_target()) if hook else None,
            hook_failed=lambda error: self._event("Warning", "FailedPreStopHook", f"PreStopHook failed: {error}"),
        )
        self._termination.start()

    def go(self) -> None:
        if self._termination is not None:
            self._termination.go()

    def shorten(self, grace: float) -> None:
        if self._termination is not None:
            self._termination.shorten(grace)

    def join(self) -> None:
        """Wait for every thread of this container; it must have ended."""
        self._retire_probers()
        for part in self._retired:
            part.join()
        self._retired.clear()

    # -- small things

    def _grace(self, probe: JSONMapping | None) -> float:
        own = (probe or {}).get("terminationGracePeriodSeconds")
        pod = self._context.pod["spec"].get("terminationGracePeriodSeconds")
        return float(own if own is not None else 30 if pod is None else pod)

    def _need_target(self) -> Target:
        assert self._target is not None
        return self._target

    def _thread_name(self) -> str:
        return f"pod-{self._context.namespace}/{self._context.name}-{self.name}"

    def _retire_probers(self) -> None:
        for prober in self._probers:
            prober.stop()
        self._retired += self._probers
        self._probers = []

    def _reap(self) -> None:
        self._retired = [part for part in self._retired if part.alive]
