"""Upkeep of the own member's database: gives back what it holds without need, and takes alarms for want of room back.

A server that defragments serves nobody meanwhile. So it is done by one member at a time, under the membership lock,
only while all members are voters and well, and never by a leader that could hand leadership over. It may take minutes
for a large database, so it runs beside the agent's loop, which only looks whether it has ended.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import TYPE_CHECKING

from membership.xline.client import Alarm, EngineClient, MemberList, MemberStatus
from membership.xline.engines import EngineProfile
from membership.xline.errors import EngineError, NotSupported
from membership.xline.lock import Hold, LockLost
from membership.xline.model import Identity, PublishedPlan
from runtime.clock import Clock
from runtime.logging import get_logger

if TYPE_CHECKING:
    from membership.xline.changes import Session
    from membership.xline.reach import Survey

WORTH = 16 << 20  # bytes that must be to be given back: less is not worth an interruption
PAUSE = 3600.0  # seconds between two defragmentations of a member that has room
SHORT_PAUSE = 300.0  # seconds between two of one that has none, and between two complaints about it
RETRY = 5.0  # seconds after which it is tried again, where another member or the lock is in the way
NEEDED = 10.0  # seconds of the lock that must be left until the next look
LIMIT = 1800.0  # seconds for one defragmentation
ROOM = 0.9  # of the quota: a database that is larger has no room
_ALARMS = 3.0  # seconds for a question about alarms
_HANDOVER = 5.0  # seconds for handing leadership over
_NOSPACE = "NOSPACE"

_log = get_logger(__name__)


def wasted(status: MemberStatus) -> int:
    """Bytes of the member's database that hold nothing; 0 where the server does not know."""
    return max(0, status.db_size - status.db_size_in_use) if status.db_size_in_use > 0 else 0


def is_fragmented(status: MemberStatus, above: int) -> bool:
    """Whether more than ``above`` percent of the member's database hold nothing, and that is worth something."""
    return wasted(status) >= WORTH and wasted(status) * 100 > status.db_size * above


def quota_of(profile: EngineProfile, flags: tuple[str, ...]) -> int:
    """Bytes that a member's database may have, by the server's flags; 0: any number."""
    value = profile.default_quota
    for flag in flags:
        name, _, text = flag.lstrip("-").partition("=")
        if name == profile.quota_flag:
            value = int(text) or profile.default_quota
    return max(value, 0)


class Maintenance:
    """The upkeep of one member. Used in one thread.

    :param session: ``MembershipChanges.session``: the lock, and everything read anew inside of it.
    :param hand_over: ``MembershipChanges.hand_over``.
    :param dial: makes a connection to the own server, to be closed by us: it must outlast other connections.
    :param quota: see :func:`quota_of`.
    :param tell: ``tell(reason, message)``: records an event about the cluster.
    """

    def __init__(
        self,
        identity: Identity,
        profile: EngineProfile,
        session: Callable[[], AbstractContextManager[Session]],
        hand_over: Callable[[Survey, float], str],
        dial: Callable[[], EngineClient],
        quota: int,
        tell: Callable[[str, str], None],
        clock: Clock,
    ) -> None:
        self._identity = identity
        self._profile = profile
        self._session = session
        self._hand_over = hand_over
        self._dial = dial
        self._quota = quota
        self._tell = tell
        self._clock = clock
        self._work: _Work | None = None
        self._next = float("-inf")
        self._complain = float("-inf")
        self._told_unsupported = False

    def close(self) -> None:
        """Gives the lock back and stops waiting; the server finishes what it has begun."""
        if self._work is not None:
            self._work.close()
            self._work = None

    def cycle(self, survey: Survey, listing: MemberList, plan: PublishedPlan) -> str:
        """One look, and one step at most. Call it while the own member votes.

        :returns: ``""``, or what is going on or in the way.
        :raises Exception: what ``session`` raises.
        """
        if self._work is not None:
            return self._go_on(self._work)
        own = survey.own.status if survey.own is not None else None
        if own is None or plan.defragment_above is None or plan.stale or plan.paused or plan.deleting:
            return ""
        alarmed = _NOSPACE in own.alarms
        if alarmed:
            self._disarm(own, listing)
        self._complain_if_full(own, alarmed)
        if not self._needs_it(own, plan.defragment_above):
            return ""
        if not self._profile.defragments:
            self._say_unsupported()
            return ""
        now = self._clock.monotonic()
        if now < self._next:
            return ""
        self._next = now + RETRY
        why = self._begin(plan.defragment_above)
        if why:
            return f"its database is not defragmented yet: {why}"
        self._next = now + (SHORT_PAUSE if alarmed else PAUSE)
        return "its database is being defragmented"

    # ---- defragmentation

    def _begin(self, above: int) -> str:
        with ExitStack() as stack:
            session = stack.enter_context(self._session())
            own = session.survey.own
            if own is None or not self._needs_it(own.status, above):
                return "it need not be any more"
            for member in session.listing.members:
                if member.is_learner:
                    return "a member is joining"
                if member.id not in session.healthy:
                    return f"member {member.name} is not healthy"
            if own.status.is_leader and len(session.listing.members) > 1 and self._profile.moves_leader:
                if any(self._needs_it(contact.status, above) for contact in session.survey.others):
                    return "the followers come first"
                why = self._hand_over(session.survey, self._clock.monotonic() + _HANDOVER)
                return why or "leadership has just been handed over"
            session.hold.check()
            self._work = _Work(self._dial(), session.hold, stack.pop_all(), own.status.db_size)
        return ""

    def _needs_it(self, status: MemberStatus, above: int) -> bool:
        # What is free is counted by the next write, which a full database does not take: there it is tried.
        return is_fragmented(status, above) or (_NOSPACE in status.alarms and not self._has_room(status))

    def _go_on(self, work: _Work) -> str:
        if work.running:
            work.hold_on()
            return "its database is being defragmented"
        self._work = None
        work.close()
        name = self._identity.pod
        if isinstance(work.error, NotSupported):
            self._say_unsupported()
        elif work.error is not None:
            self._tell("DefragmentationFailed", f"the database of {name} was not defragmented: {work.error}")
        else:
            self._tell("Defragmented", f"the database of {name} was defragmented; it had {work.size} bytes")
        return ""

    def _say_unsupported(self) -> None:
        if not self._told_unsupported:
            self._told_unsupported = True
            self._tell("DefragmentationUnsupported", f"{self._profile.name} cannot defragment its database")

    # ---- the alarm

    def _has_room(self, own: MemberStatus) -> bool:
        return self._quota == 0 or own.db_size < self._quota * ROOM

    def _complain_if_full(self, own: MemberStatus, alarmed: bool) -> None:
        now = self._clock.monotonic()
        if alarmed and not self._has_room(own) and now >= self._complain:
            self._complain = now + SHORT_PAUSE
            self._tell(
                "NoSpace",
                f"the database of {self._identity.pod} has {own.db_size} bytes, {own.db_size_in_use} of them in use, "
                f"and may have {self._quota}, so nobody can write; delete and compact keys, or raise the quota",
            )

    def _disarm(self, own: MemberStatus, listing: MemberList) -> None:
        """Take the own alarm back if there is room; and as the leader those of members that are gone."""
        with self._dial() as client:
            for alarm in client.alarms(timeout=_ALARMS):
                ours = alarm.member_id == own.member_id and self._has_room(own)
                orphan = own.is_leader and listing.get(alarm.member_id) is None
                if alarm.kind == _NOSPACE and (ours or orphan):
                    self._take_back(client, alarm)

    def _take_back(self, client: EngineClient, alarm: Alarm) -> None:
        client.disarm(alarm)
        self._tell(
            "AlarmDisarmed", f"the alarm {alarm.kind} of member {alarm.member_id:x} was taken back: there is room"
        )


class _Work:
    """A defragmentation under way, in a thread of its own; the lock is held meanwhile if it can be."""

    def __init__(self, client: EngineClient, hold: Hold, stack: ExitStack, size: int) -> None:
        self.size = size
        self.error: EngineError | None = None
        self._client = client
        self._hold: Hold | None = hold
        self._stack = stack
        self._thread = threading.Thread(target=self._run, name="defragment", daemon=True)
        self._thread.start()

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    def hold_on(self) -> None:
        """Keep the lock. Without it the server goes on all the same, and nothing can be done about that."""
        if self._hold is not None:
            try:
                self._hold.check(NEEDED)
            except LockLost as error:
                _log.warning("the lock was lost while the database is defragmented", error=str(error))
                self._hold = None

    def close(self) -> None:
        self._client.close()
        self._thread.join()
        self._stack.close()

    def _run(self) -> None:
        try:
            self._client.defragment(timeout=LIMIT)
        except EngineError as error:
            self.error = error
        except ValueError:
            pass  # closed before it was sent
