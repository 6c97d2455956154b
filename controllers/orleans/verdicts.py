"""Which silos of a cluster are dead, and which only may be: pure, from rows, Pods and what was seen of both.

A row is never changed but to declare its silo dead. The operator's vote is cast only where it decides: a .NET silo that
finds a row with enough votes and not dead ends *itself*, and how many it thinks enough is its own configuration.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import NamedTuple

from controllers.orleans.pods import Evidence, Trace
from controllers.orleans.settings import Settings
from controllers.orleans.silence import Quiet
from membership.orleans.address import SiloAddress
from membership.orleans.entry import MembershipEntry
from membership.orleans.options import MembershipOptions
from membership.orleans.status import SiloStatus
from membership.orleans.votes import fresh_votes, stale_by_clock, votes_required

POD_GONE, SUPERSEDED, VOTED, SILENT = "PodGone", "Superseded", "VotedDead", "Silent"

_BEFORE_ACTIVE = frozenset({SiloStatus.NONE, SiloStatus.CREATED, SiloStatus.JOINING})


@dataclass(frozen=True, slots=True)
class Member:
    """A row with all that is known of its silo. :ivar name: of the object."""

    name: str
    entry: MembershipEntry
    quiet: Quiet
    evidence: Evidence


class Verdict(NamedTuple):
    """:ivar dead: it is to be declared so; otherwise it only looks like it, and ``text`` says what is waited for.
    :ivar reason: one word for programs.
    """

    member: Member
    dead: bool
    reason: str
    text: str

    @property
    def silo(self) -> str:
        """How people call it."""
        return called(self.member.entry)


def called(entry: MembershipEntry) -> str:
    """A silo as people call it: by its name, if it has one, and its address."""
    return f"{entry.silo_name} ({entry.silo_address})" if entry.silo_name else str(entry.silo_address)


def decide(members: Sequence[Member], now: datetime, settings: Settings) -> list[Verdict]:
    """A verdict on each silo that is dead or looks like it, in the order of the rows. The others have none."""
    scene = _Scene.of(members, now, settings)
    verdicts = []
    for member in scene.living:
        verdict = _by_pod(member, scene) or _by_successor(member, scene) or _by_silence(member, scene)
        if verdict is not None:
            verdicts.append(verdict)
    return verdicts


def all_silent(members: Iterable[Member], now: datetime, settings: Settings) -> bool:
    """Whether no living silo has given a sign of life for long, by the clock: then it is the API server, or a clock, or
    all of them are dead."""
    living = [member for member in members if member.entry.status is not SiloStatus.DEAD]
    limit = timedelta(seconds=max(settings.silent_alone, _options(living, settings).allowed_silence))
    return bool(living) and all(now - member.entry.last_alive > limit for member in living)


def _by_pod(member: Member, scene: _Scene) -> Verdict | None:
    settings, trace = scene.settings, member.evidence.trace
    if trace is Trace.GONE:
        needed = settings.proven_silence
    elif trace is Trace.MISSING:
        needed = scene.options.allowed_silence
        if member.entry.status in _BEFORE_ACTIVE:  # it writes no alive time yet
            needed = max(needed, scene.options.max_join_attempt_time)
    else:
        return None
    if member.quiet.seen < needed:
        return None  # it has just gone; or what lives there is another's
    if not settings.evict_gone:
        return Verdict(member, False, POD_GONE, f"{member.evidence.text}; to declare such silos dead is switched off")
    return Verdict(member, True, POD_GONE, member.evidence.text)


@dataclass(frozen=True, slots=True)
class _Scene:
    """What is the same for all silos of a look.

    :ivar now: the time by us, or by most of the silos if that is later: ours may be slow, and votes do not last longer.
    :ivar moment: the time by the silos: the latest of them has just written its own. Ours may be fast.
    :ivar needed: votes that declare a silo dead.
    :ivar active: the latest active start of each endpoint.
    :ivar options: of the protocol, as this cluster keeps it.
    """

    living: Sequence[Member]
    now: datetime
    moment: datetime
    needed: int
    active: Mapping[tuple[str, int], SiloAddress]
    settings: Settings
    options: MembershipOptions

    @classmethod
    def of(cls, members: Iterable[Member], now: datetime, settings: Settings) -> _Scene:
        living = [member for member in members if member.entry.status is not SiloStatus.DEAD]
        times = sorted(member.entry.last_alive for member in living) or [now]
        moment = min(now, times[-1])
        active: dict[tuple[str, int], SiloAddress] = {}
        for member in living:
            address = member.entry.silo_address
            endpoint = (address.address, address.port)
            if member.entry.status is SiloStatus.ACTIVE:
                active[endpoint] = max(address, active.get(endpoint, address))
        options = _options(living, settings)
        # One whose clock is slow, or whose silence we have not watched, may vote.
        silent = {
            member.entry.silo_address
            for member in living
            if member.quiet.missed >= options.allowed_silence and stale_by_clock(member.entry, moment, options)
        }
        needed = votes_required(
            (member.entry for member in living), options, lambda entry: entry.silo_address in silent
        )
        return cls(living, max(now, times[(len(times) - 1) // 2]), moment, needed, active, settings, options)


def _options(living: Iterable[Member], settings: Settings) -> MembershipOptions:
    """The numbers of the protocol, with the period that the silos of the cluster have been seen to keep."""
    period = max((member.quiet.period for member in living), default=0.0)
    return replace(settings.protocol, alive_period=max(settings.protocol.alive_period, period))


def _by_successor(member: Member, scene: _Scene) -> Verdict | None:
    """Where a later start of the same silo is active, nobody listens for the earlier one. The later one says so itself,
    as a rule."""
    address = member.entry.silo_address
    later = scene.active.get((address.address, address.port))
    if later is None or not later.is_successor_of(address) or member.quiet.seen < scene.settings.proven_silence:
        return None
    return Verdict(member, True, SUPERSEDED, f"{later} is active at its address")


def _by_silence(member: Member, scene: _Scene) -> Verdict | None:
    settings, options, entry = scene.settings, scene.options, member.entry
    if member.quiet.missed < options.allowed_silence or not _is_late(entry, scene.moment, options):
        return None
    votes = fresh_votes(entry, scene.now, options.vote_expiration)
    missing = scene.needed - len(votes) - 1
    if missing > 0:
        return Verdict(member, False, SILENT, f"it gives no sign of life, but {missing} more silos must suspect it")
    if not settings.evict_silent:
        return Verdict(member, False, SILENT, "it gives no sign of life; to declare such silos dead is switched off")
    if votes:
        voters = ", ".join(str(voter) for voter, _ in votes)
        return Verdict(member, True, VOTED, f"it gives no sign of life, and {voters} has voted it dead")
    pod = member.evidence.pod
    if pod is not None and pod.ready:
        text = f"it gives no sign of life, but its Pod {pod.name} is ready, and no silo suspects it"
        return Verdict(member, False, SILENT, text)
    patience = max(settings.silent_alone, 2 * options.allowed_silence)
    if member.quiet.missed < patience:
        text = f"it gives no sign of life; no silo suspects it, so that {patience:g} s are waited"
        return Verdict(member, False, SILENT, text)
    return Verdict(member, True, SILENT, "it gives no sign of life, and one vote is enough")


def _is_late(entry: MembershipEntry, moment: datetime, options: MembershipOptions) -> bool:
    """By the times in the row. Before it is active, a silo writes no alive time: there it is how long it takes."""
    if entry.status in _BEFORE_ACTIVE:
        return (moment - entry.start_time).total_seconds() > options.max_join_attempt_time
    return stale_by_clock(entry, moment, options)
