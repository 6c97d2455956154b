"""The agent beside one member: looks, decides, acts, and tells; and takes the member out when it is time to.

One thread does everything that changes something: the loop of :meth:`Agent.run`. The methods of the agent's HTTP face
only read what the last look has found; ``drain`` asks the loop, and waits for it.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from membership.xline.changes import MembershipChanges, Reprieved, Settling, Unknown
from membership.xline.clean import Cleaner
from membership.xline.datadir import DataDir, DataDirInUse
from membership.xline.engines import EngineProfile, profile_by_key
from membership.xline.files import DiskError
from membership.xline.heartbeat import HeartbeatWriter
from membership.xline.http import Answer
from membership.xline.lock import MembershipLock
from membership.xline.look import Look, Looker
from membership.xline.maintenance import Maintenance, quota_of
from membership.xline.metrics import AgentMetrics
from membership.xline.model import Identity, Server, Start
from membership.xline.options import AgentOptions
from membership.xline.planreader import PlanReader
from membership.xline.proofs import Proofs
from membership.xline.reach import Reach
from membership.xline.report import beat_of, is_ready, role_of_member, shown_status
from membership.xline.startfile import CannotStart
from membership.xline.states import Data, State, decide
from membership.xline.story import Story
from runtime.client import Client, ClientError
from runtime.clock import SYSTEM, Clock
from runtime.logging import get_logger
from runtime.record import EventRecorder
from runtime.types import JSONMapping

STEADY = 2.0  # seconds between two looks while all is well,
CHANGING = 1.0  # and while something is going on
STUCK = 120.0  # seconds without a look after which the agent is taken for dead: more than a leaving may take
KEEP_ASIDE = 1  # sets of data of removed members that are kept: after a lost majority they may be all that is left
_STOP_SERVER = 5.0  # seconds of one try to stop the server
_HANDOVER = 5.0  # seconds a drain may take to hand leadership over
_HUNG = 20.0  # seconds with a log that has nothing, after which its server hangs
_POD_EVERY = 4.0  # seconds between two looks at the Pod of a server that does not answer
_POD_CALL = 1.0  # seconds for one
_FIRST_PLAN = 3.0  # seconds the API server has for the first answer
_ASK = 10.0  # seconds to find out whether the member is condemned; then it stays
_PROMOTE_SHARE = 0.9  # of the leader's log, which a learner must have before it asks for its vote: etcd's own rule

_log = get_logger(__name__)


@dataclass(slots=True)
class _Drain:
    """Somebody waits for the member to be ready to be stopped."""

    deadline: float
    answer: Answer | None = None


@dataclass(slots=True)
class _Seen:
    """What the last look found, for those who ask."""

    at: float
    state: State = State.INIT
    detail: str = ""
    look: Look | None = None
    ready: Answer = field(default_factory=lambda: Answer(False, "nothing was looked at yet"))


class Agent:
    """Implements :class:`membership.xline.http.Face`.

    :param recorder: of events about the XlineCluster.
    """

    def __init__(
        self,
        options: AgentOptions,
        client: Client,
        server: Server,
        data: DataDir,
        plans: PlanReader,
        heartbeats: HeartbeatWriter,
        metrics: AgentMetrics,
        recorder: EventRecorder,
        clock: Clock | None = None,
    ) -> None:
        identity = options.identity
        self._identity: Identity = identity
        self._token = options.token
        self._profile: EngineProfile = profile_by_key(identity.engine)
        self._server = server
        self._data = data
        self._plans = plans
        self._heartbeats = heartbeats
        self._metrics = metrics
        self._clock = clock or SYSTEM
        self._story = Story(identity, recorder, plans, self._clock)
        self._reach = Reach(options, client, data, self._clock)
        lock = MembershipLock(
            client,
            identity.namespace,
            identity.cluster,
            f"{identity.pod}/{heartbeats.incarnation}",
            owner=self._story.cluster,
            clock=self._clock,
        )
        self._looker = Looker(identity, self._profile, server, data, plans, self._reach, options.token, self._clock)
        self._proofs = Proofs(identity, options.token, client, plans, heartbeats, self._clock)
        self._changes = MembershipChanges(
            identity,
            self._profile,
            options.token,
            lock,
            plans,
            self._proofs,
            self._reach,
            data,
            metrics,
            self._story.tell,
            self._clock,
        )
        self._cleaner = Cleaner(
            identity,
            options.token,
            self._changes.remove_if,
            lock.watch,
            lambda: self._reach.matching,
            client,
            metrics,
            self._story.tell,
            self._clock,
        )
        self._maintenance = Maintenance(
            identity,
            self._profile,
            self._changes.session,
            self._changes.hand_over,
            self._reach.dial_own,
            quota_of(self._profile, options.flags),
            self._story.tell,
            self._clock,
        )
        self._beside = options.mode == "Sidecar"
        self._pod_due = float("-inf")
        self._void_since: float | None = None
        self._settling = Settling()
        self._recovering = False  # the server that may run was started for a recovery
        self._waits = ""
        self._condition = threading.Condition()  # guards everything below
        self._seen = _Seen(self._clock.monotonic())
        self._drain: _Drain | None = None
        self._woken = False
        self._stopped = False
        plans.on_change = self.wake

    # ---- the loop

    def run(self, stop: threading.Event) -> None:
        """Work until ``stop`` is set; returns soon after :meth:`wake` then. Called once."""
        self._ask_for_plan()
        try:
            while not stop.is_set():
                try:
                    self._turn()
                except Exception:
                    # Whatever it was, an agent that has ended helps nobody. It is told, and tried again.
                    _log.exception("a look failed")
                self._rest(stop)
        finally:
            with self._condition:
                self._stopped = True
                self._condition.notify_all()
            self._maintenance.close()
            self._reach.close()

    def _ask_for_plan(self) -> None:
        """Before data is started a copy of the plan is not good enough, if there is a better one: it may be from before
        a recovery, after which this data must not start. Without an API server the copy has to do."""
        try:
            self._plans.fetch(_FIRST_PLAN)
        except (ClientError, ValueError) as error:
            _log.warning("the plan cannot be read; going on with what is known", error=str(error))

    def wake(self) -> None:
        """Look now. Never blocks."""
        with self._condition:
            self._woken = True
            self._condition.notify_all()

    def _turn(self) -> None:
        """One look, and what comes of it."""
        drain = self._drain
        if drain is not None:
            self._drained(drain)
            return
        look = self._looker.look()
        row = decide(look.facts)
        self._show(look, row.state, look.trouble or row.when)
        detail = self._act(row.state, look)
        if detail:
            self._show(look, row.state, detail)
        self._story.follow(row.state, detail or row.when)

    def _rest(self, stop: threading.Event) -> None:
        with self._condition:
            steady = self._seen.state in (State.RUNNING, State.NOT_WANTED)
            wait = (STEADY if steady else CHANGING) * random.uniform(0.8, 1.2)  # noqa: S311  # spreads agents
            deadline = self._clock.monotonic() + wait
            while not (self._woken or self._drain is not None or stop.is_set()):
                left = deadline - self._clock.monotonic()
                if left <= 0:
                    break
                self._clock.wait(self._condition, left)
            self._woken = False

    def _show(self, look: Look, state: State, detail: str) -> None:
        """Tell everybody who asks how it is, and everybody who reads the Pod."""
        beat = beat_of(self._identity, look, state, detail)
        role = role_of_member(look)
        with self._condition:
            self._seen = _Seen(self._clock.monotonic(), state, detail, look, is_ready(look, state))
        self._heartbeats.publish(beat, role)
        self._metrics.observe(beat, role)

    # ---- what each state does

    def _act(self, state: State, look: Look) -> str:
        """Do what the table says; returns what is waited for, or what went wrong, for people."""
        actions: dict[State, Callable[[Look], str]] = {
            State.BOOTSTRAP: self._bootstrap,
            State.START_JOIN: self._start_join,
            State.RESTART: self._restart,
            State.SERVER_CRASH: self._on_data,
            State.PARTITIONED: self._on_data,
            State.CATCH_UP: self._catch_up,
            State.RUNNING: self._run_on,
            State.EVICTED: self._evict,
            State.NOT_WANTED: self._keep_out,
            State.FOREIGN_CLUSTER: self._keep_out,
            State.JOIN: lambda _: self._without_server(self._changes.join),
            State.LOST_DISK: lambda _: self._without_server(self._changes.give_up_lost_disk),
            State.RESUME: lambda _: self._without_server(self._changes.drop_duplicates),
            State.RECOVER: self._recover,
        }
        action = actions.get(state, self._forbid)
        try:
            return self._set_void_aside(look) or action(look)
        except Unknown as error:
            return str(error)
        except (DiskError, DataDirInUse, CannotStart) as error:
            return str(error)

    def _set_void_aside(self, look: Look) -> str:
        """A server must not find a log to which nothing was ever written: it would wait for ever.

        One that is starting has such a log for a moment; one that hangs has it for longer.
        """
        if not look.void:
            self._void_since = None
            return ""
        now = self._clock.monotonic()
        if look.facts.data is not Data.NONE:
            if self._void_since is None:
                self._void_since = now
            if now - self._void_since < _HUNG:
                return ""
            if not self._server.stop(_STOP_SERVER):
                return "the server hangs, for its log has no beginning; it has to be stopped: delete the Pod"
        elif not self._server.stop(0.0):
            return "the server has to end first"
        aside = self._data.move_aside(look.ids.member if look.ids is not None else 0)
        self._story.tell("DataSetAside", f"a log to which nothing was ever written is kept at {aside}", warn=True)
        self._data.purge(KEEP_ASIDE)
        self.wake()
        return "a log to which nothing was ever written was set aside"

    def _bootstrap(self, look: Look) -> str:
        # What a backup has put there is no data to us if the engine is Xline, and is what the cluster starts with.
        restored = look.plan is not None and look.plan.from_backup
        why = self._on_empty_disk(self._proofs.has_run, keep=restored)
        if not why:
            self._data.mark(entering=True, home=self._identity.home)
            self._server.allow(Start("bootstrap", self._identity.initial))
        return why

    def _on_empty_disk(self, proof: Callable[[], str] = lambda: "", *, keep: bool = False) -> str:
        """A server may begin here, on nothing but what to ``keep``; or why not.

        What was allowed before is taken back if that is not proven any more: it may begin much later than it was.
        """
        try:
            why = proof() or self._proofs.replaced()
        except Exception:
            self._server.forbid()
            raise
        if why:
            self._server.forbid()
        elif not keep and not self._server.allowed:  # one that is allowed may have made something by now
            aside = self._data.set_remnants_aside()
            if aside is not None:
                self._story.tell("DataSetAside", f"what was left of earlier data is kept at {aside}", warn=True)
        return why

    def _start_join(self, look: Look) -> str:
        assert look.listing is not None
        why = self._on_empty_disk()
        if why:
            return why
        # What is written from now on is of after the last recovery: data without the mark would be taken for older.
        recovery = None if look.plan is None else look.plan.recovery_id
        home = self._identity.home
        self._data.mark(recovery_id=recovery, removed_id=0, member_id=0, cluster_id=0, entering=True, home=home)
        own = look.me[0]
        if own.voter and own.name and look.facts.initial and not self._profile.joins_together:
            # One of the first, and late. They cannot make another cluster: they are fewer than those that run.
            self._server.allow(Start("bootstrap", self._identity.initial))
            return ""
        members: list[tuple[str, str]] = []
        for member in look.listing.members:
            name = self._identity.pod if member.id == own.id else member.name or f"unstarted-{member.id:x}"
            members += [(name, url) for url in member.peer_urls]
        self._server.allow(Start("join", tuple(members)))
        return ""

    def _on_data(self, look: Look) -> str:
        """The server may run on the data there is, and on nothing else."""
        own = look.own
        if own is not None:
            ran = True if own.has_leader else None
            home = self._identity.home
            self._data.mark(member_id=own.member_id, cluster_id=own.cluster_id, entering=False, ran=ran, home=home)
        self._server.allow(Start("restart", ((self._identity.pod, self._identity.peer_url),)))
        return ""

    def _restart(self, look: Look) -> str:
        self._on_data(look)
        now = self._clock.monotonic()
        if self._beside and now >= self._pod_due:
            # How often its container has ended is only known from the Pod, which we write to seldom.
            self._pod_due = now + _POD_EVERY
            with suppress(ClientError):
                self._heartbeats.own_pod(_POD_CALL)
        return ""

    def _catch_up(self, look: Look) -> str:
        self._on_data(look)
        own, leader = look.own, look.survey.leader
        assert own is not None
        if leader is None:
            return "no leader answers"
        if own.applied_index < leader.status.applied_index * _PROMOTE_SHARE:
            return "it has not caught up with the leader yet"
        return self._changes.promote(own.member_id)

    def _run_on(self, look: Look) -> str:
        self._on_data(look)
        try:
            waits = self._look_after(look)
        except Unknown as error:
            waits = str(error)
        if waits != self._waits:
            self._waits = waits
            _log.info("looking after the cluster", waits_for=waits)
        return ""

    def _look_after(self, look: Look) -> str:
        """What a member that is well does for its database, and the leader for the cluster; what it waits for."""
        plan, listing, own = look.plan, look.listing, look.own
        if plan is None or listing is None or own is None:
            return ""
        upkeep = self._maintenance.cycle(look.survey, listing, plan)
        if not own.is_leader:
            self._cleaner.reset()
            return upkeep
        if look.survey.own is not None:
            self._settling.cycle(listing, look.survey.own.client)
        return self._cleaner.cycle(look.survey, listing, plan) or upkeep

    def _evict(self, look: Look) -> str:
        if not self._server.stop(_STOP_SERVER):
            return "the server has to end before its data is set aside"
        member = look.ids.member if look.ids is not None else 0
        self._data.mark(ran=True)
        aside = self._data.move_aside(member)
        if aside is not None:
            self._story.tell("DataSetAside", f"data of the removed member {member:x} is kept at {aside}", warn=True)
        self._data.purge(KEEP_ASIDE)
        return ""

    def _keep_out(self, look: Look) -> str:
        """Its server may not start, nor go on."""
        if self._server.running:
            self._server.stop(_STOP_SERVER)
        else:
            self._server.forbid()
        return look.trouble

    def _forbid(self, _: Look) -> str:
        self._server.forbid()
        return ""

    def _without_server(self, change: Callable[[], str]) -> str:
        """Change the entry of a member without data: nothing may start on its account meanwhile."""
        if not self._server.stop(0.0):
            return "the server has to end first"
        why = change()
        self.wake()
        return why

    def _recover(self, look: Look) -> str:
        """Start as the only member; once that has worked, never again."""
        own, plan = look.own, look.plan
        assert plan is not None
        alone = own is not None and look.listing is not None and [m.id for m in look.listing.members] == [own.member_id]
        if own is None or not own.is_leader or not alone:
            if not self._recovering and not self._server.stop(_STOP_SERVER):
                return "the server has to end first"
            self._recovering = True
            self._server.allow(Start("recover", ((self._identity.pod, self._identity.peer_url),)))
            return ""
        # In this order: a server that is started anew must not drop those who will have joined.
        self._on_data(look)
        self._data.mark(recovery_id=plan.recovery_id)
        self._story.tell("Recovered", f"{self._identity.pod} leads alone; the others join anew", warn=True)
        return ""

    # ---- being stopped

    def drain(self, timeout: float) -> Answer:
        """See :meth:`membership.xline.http.Face.drain`."""
        with self._condition:
            drain = self._drain
            if drain is None:
                drain = self._drain = _Drain(self._clock.monotonic() + timeout)
            self._condition.notify_all()
            end = self._clock.monotonic() + timeout
            while drain.answer is None and not self._stopped:
                left = end - self._clock.monotonic()
                if left <= 0:
                    return Answer(False, "not done in time")
                self._clock.wait(self._condition, left)
            return drain.answer or Answer(False, "the agent has ended")

    def _drained(self, drain: _Drain) -> None:
        try:
            answer = self._ready_to_stop(drain.deadline)
        except Exception as error:
            _log.exception("the member could not be prepared for its end")
            answer = Answer(False, str(error))
        with self._condition:
            drain.answer = answer
            self._drain = None
            self._condition.notify_all()
        _log.info("the member may be stopped", outcome=answer.text)

    def _ready_to_stop(self, deadline: float) -> Answer:
        stopping = self._proofs.stopping(min(deadline, self._clock.monotonic() + _ASK))
        look = self._looker.look(stopping)
        row = decide(look.facts)
        self._show(look, row.state, row.when)
        if row.state is State.LEAVING:
            try:
                why = self._changes.leave(deadline)
            except Reprieved:
                return Answer(True, "stays: the plan has this member again")
            if not why:
                self._story.tell("Left", f"member {self._identity.pod} has left the cluster")
                return Answer(True, "left")
            self._story.tell("NotLeft", f"{self._identity.pod} did not leave in time: {why}", warn=True)
            return Answer(False, f"did not leave: {why}")
        if row.state is State.DRAINING:
            end = min(deadline, self._clock.monotonic() + _HANDOVER)
            return Answer(True, f"stays: {self._changes.hand_over(look.survey, end) or 'leadership was handed over'}")
        return Answer(True, "stays: the cluster is being deleted")

    # ---- what it shows

    def may_start(self) -> Answer:
        with self._condition:
            seen = self._seen
        return Answer(self._server.allowed, f"{seen.state}: {seen.detail}")

    def ready(self) -> Answer:
        with self._condition:
            seen = self._seen
        if self._clock.monotonic() - seen.at > STUCK / 4:
            return Answer(False, "the last look is too old")
        return seen.ready

    def alive(self) -> Answer:
        with self._condition:
            age = self._clock.monotonic() - self._seen.at
        return Answer(age < STUCK, f"the last look was {age:.0f} s ago")

    def status(self) -> JSONMapping:
        with self._condition:
            seen = self._seen
        return shown_status(self._identity, seen.look, seen.state, seen.detail, ready=seen.ready.ok)
