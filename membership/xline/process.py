"""The agent's process: its parts made, put together, and ended in order."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from functools import partial
from typing import Final, Protocol

from membership.xline import startfile
from membership.xline.agent import Agent
from membership.xline.datadir import DataDir, DataDirInUse
from membership.xline.engines import profile_by_key
from membership.xline.files import DiskError
from membership.xline.gate import Gate, serves
from membership.xline.heartbeat import HeartbeatWriter
from membership.xline.http import AgentServer
from membership.xline.metrics import AgentMetrics
from membership.xline.model import Heartbeat, Server, Start
from membership.xline.options import AgentOptions
from membership.xline.planreader import PlanReader
from membership.xline.reaper import Reaper
from membership.xline.supervisor import Supervisor
from runtime.client import Client
from runtime.clock import SYSTEM
from runtime.logging import get_logger
from runtime.metrics.registry import Registry
from runtime.record import EventBroadcaster

_log = get_logger(__name__)

SERVER_CONTAINER: Final = "xline"  # its name in the Pod, whatever the engine
MARGIN: Final = 10.0  # seconds of the Pod's grace that leaving must not use: the server has to end, too
_LAST_WORDS: Final = 2.0  # seconds for the last heartbeat, and for the last events
_LOCK_WAIT: Final = 1.0  # seconds between tries to lock the volume, ...
_PATIENCE: Final = 2  # ... of which so many may fail without a word
_PLAN_COPY: Final = "plan.json"


class Hosted(Server, Protocol):
    """A server as this process makes it."""

    def close(self) -> None:
        """Let go of it: end it if it is a child, leave it alone if it is not."""


class AgentProcess:
    """One agent, from its options to its end.

    :param client: of the API server; closed by whoever made it.
    :raises BadOption: an option makes no sense.
    """

    def __init__(self, options: AgentOptions, client: Client) -> None:
        identity = options.identity
        self._options = options
        profile = profile_by_key(identity.engine)
        self._data = DataDir(options.data_dir, profile, consensus=options.consensus_dir)
        self._metrics = AgentMetrics(identity)
        self._events = EventBroadcaster(client)
        self._heartbeats = HeartbeatWriter(client, identity)
        self._plans = PlanReader(
            client,
            identity.namespace,
            identity.cluster,
            pod_copy=options.start_dir / _PLAN_COPY,
            volume_copy=self._data.own / _PLAN_COPY,
            token=options.token,
        )
        self._reaper: Reaper | None = None
        self._server = self._host()
        self._agent = Agent(
            options,
            client,
            self._server,
            self._data,
            self._plans,
            self._heartbeats,
            self._metrics,
            self._events.new_recorder("xline-agent"),
            SYSTEM,
        )
        self._plans.on_change = self._agent.wake
        self._http = AgentServer(options.listen, self._agent, self._registry(client), drain_timeout=self._leave_time)

    @property
    def _leave_time(self) -> float:
        return max(self._options.grace - MARGIN, 1.0)

    def run(self, stop: threading.Event) -> int:
        """Look after the member until ``stop`` is set, and then take leave of it; the exit status.

        :raises BindError: the HTTP address cannot be had.
        """
        failed: list[BaseException] = []
        ended = threading.Event()
        work = threading.Thread(target=self._work, args=(stop, ended, failed), name="agent", daemon=True)
        with contextlib.ExitStack() as stack:
            stack.callback(self._events.shutdown, _LAST_WORDS)
            stack.callback(self._server.close)
            self._http.start()
            stack.callback(self._http.stop)
            if self._reaper is not None:
                self._reaper.start()
                stack.callback(self._reaper.close)
            self._heartbeats.start()
            stack.callback(self._heartbeats.close, _LAST_WORDS)
            if not self._lock_volume(stack, stop):
                return 0
            self._plans.start()
            stack.callback(self._plans.close)
            work.start()
            stop.wait()
            _log.info("ending")
            deadline = time.monotonic() + self._options.grace
            if not failed:
                self._take_leave()
            ended.set()
            self._agent.wake()
            supervised = self._options.mode == "Supervisor"
            # Before the server is stopped: the agent would let it start again. One that hangs is not waited for.
            work.join(max(deadline - time.monotonic() - MARGIN, 1.0) if supervised else None)
            if supervised:
                self._server.stop(max(deadline - time.monotonic() - _LAST_WORDS * 2, 1.0))
        return 1 if failed else 0

    def _work(self, stop: threading.Event, ended: threading.Event, failed: list[BaseException]) -> None:
        try:
            self._agent.run(ended)
        except BaseException as error:
            _log.critical("the agent has failed", error=repr(error), exc_info=error)
            failed.append(error)
        finally:
            stop.set()

    def _take_leave(self) -> None:
        """Leave the cluster if the plan says so, hand leadership over if not.

        In Sidecar mode the server's container was told to stop before us, and has called ``/drain`` for this. It comes
        to nothing then, unless the container had ended before it could.
        """
        try:
            answer = self._agent.drain(self._leave_time)
            _log.info(
                "the member may be stopped" if answer.ok else "the member is stopped all the same", why=answer.text
            )
        except Exception as error:  # whatever it is, the server must be ended well
            _log.exception("leaving failed", exc_info=error)

    def _lock_volume(self, stack: contextlib.ExitStack, stop: threading.Event) -> bool:
        """Wait until no other agent looks after the volume; False: stopped before that."""
        told = ""
        for tries in itertools.count(1):
            if stop.is_set():
                break
            try:
                stack.enter_context(self._data.locked())
                return True
            except (DataDirInUse, DiskError) as error:
                if str(error) != told and tries > _PATIENCE:  # an earlier agent of this Pod may be about to end
                    told = str(error)
                    _log.warning("waiting for the volume", error=told)
                    self._tell_why_not(told)
            stop.wait(_LOCK_WAIT)
        return False

    def _tell_why_not(self, detail: str) -> None:
        """A heartbeat of an agent that cannot even look."""
        identity = self._options.identity
        beat = Heartbeat(
            sequence=0,
            incarnation="",
            cluster_uid="",
            pod=identity.pod,
            pod_uid=identity.pod_uid,
            ordinal=identity.ordinal,
            state="Init",
            detail=detail,
        )
        self._heartbeats.publish(beat, None)
        self._metrics.observe(beat, None)

    def _host(self) -> Hosted:
        options = self._options
        profile = profile_by_key(options.identity.engine)
        supervised = options.mode == "Supervisor"
        launching = startfile.Launching(
            profile=profile,
            name=options.identity.pod,
            peer_url=options.identity.peer_url,
            token=options.token,
            flags=options.flags[1:] if supervised else options.flags,
            initial=options.identity.initial,
        )
        if not supervised:
            gate = Gate(options.start_dir, launching, self._data, container=SERVER_CONTAINER, host=options.local_host)
            self._heartbeats.on_pod = gate.observe
            self._metrics.server_exits(lambda: gate.exits)
            return gate

        def command(start: Start) -> list[str]:
            return [options.flags[0], *startfile.arguments(launching, start)]

        supervisor = Supervisor(
            command,
            self._data,
            stop_signal=profile.stop_signal,
            serves=partial(serves, options.local_host, profile) if profile.hollow_when_removed else None,
        )
        self._metrics.count("server_exits", "Ends of the server that nobody had asked for.", supervisor.exited)
        self._reaper = Reaper(lambda: supervisor.pid)
        self._metrics.server_exits(lambda: supervisor.exits)
        return supervisor

    def _registry(self, client: Client) -> Registry:
        beats = self._heartbeats
        self._metrics.count("heartbeats_written", "Writings of the heartbeat.", beats.written)
        self._metrics.count("heartbeats_failed", "Those that failed.", beats.failed)
        registry = Registry()
        registry.add_source(self._metrics.collect)
        registry.add_source(client.metrics)
        return registry
