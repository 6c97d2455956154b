"""Who is voted dead: the rules by which silos of both languages change the rows of others.

Pure functions of a row, the other rows and the time. Nothing here reads or writes the table.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from membership.orleans.address import SiloAddress
from membership.orleans.entry import MembershipEntry
from membership.orleans.options import MembershipOptions
from membership.orleans.status import SiloStatus

Vote = tuple[SiloAddress, datetime]


class Verdict(enum.Enum):
    """What a suspicion comes to."""

    DEAD = "dead"  # write the row: the votes suffice
    VOTE = "vote"  # write the row: one more vote
    NOTHING = "nothing"  # the silo is dead already, or the vote is there and will not expire soon


@dataclass(frozen=True, slots=True)
class Decision:
    """:ivar entry: the row to write; of ``NOTHING`` as it was. :ivar votes: that count. :ivar needed: for a death."""

    verdict: Verdict
    entry: MembershipEntry
    votes: int
    needed: int


def fresh_votes(entry: MembershipEntry, now: datetime, expiration: float) -> list[Vote]:
    """The votes against a silo that have not expired, one per voter: its latest.

    Their age is measured from the latest of them, if that is later than ``now``: all readers count the same, though
    their clocks differ by a little. A vote that is as far ahead of ``now`` as would make it expire the other way is of
    a clock that is wrong: it does not count, and the others do not expire by it. (A .NET silo counts it, and no other
    then: until its time has come that is one vote, be there ever so many.)

    :param expiration: seconds.
    """
    return _within(_credible(_latest(entry.suspect_times), now, expiration), now, expiration)


def votes_required(
    members: Iterable[MembershipEntry],
    options: MembershipOptions,
    is_stale: Callable[[MembershipEntry], bool],
) -> int:
    """How many votes declare a silo dead: half of those who could vote (active and not stale), rounded up; no more than
    ``num_votes`` and no fewer than one."""
    voters = sum(member.status is SiloStatus.ACTIVE and not is_stale(member) for member in members)
    return max(1, min(options.num_votes, (voters + 1) // 2))


def stale_by_clock(entry: MembershipEntry, now: datetime, options: MembershipOptions) -> bool:
    """It has not written its alive time for longer than is allowed, if its clock and that of ``now`` agree."""
    return now - entry.last_alive > timedelta(seconds=options.allowed_silence)


def decide(
    entry: MembershipEntry,
    members: Iterable[MembershipEntry],
    voters: Iterable[SiloAddress],
    now: datetime,
    options: MembershipOptions,
    is_stale: Callable[[MembershipEntry], bool],
) -> Decision:
    """What becomes of the row of a silo that ``voters`` suspect now: this silo, and the intermediary if there was one.

    A vote that is there already and has more than half of its time left is not written anew: each writing is a new
    version of the table, that all silos read.

    A row that is not dead is never left with ``num_votes`` votes that count, be it by clocks that we take for wrong: a
    .NET silo that finds one ends itself.
    """
    needed, expiration = votes_required(members, options, is_stale), options.vote_expiration
    before = fresh_votes(entry, now, expiration)
    if entry.status is SiloStatus.DEAD:
        return Decision(Verdict.NOTHING, entry, len(before), needed)
    voted = entry
    for voter in voters:
        voted = with_vote(voted, voter, now, options)
    votes = len(fresh_votes(voted, now, expiration))
    by_dotnet = len(_within(_latest(voted.suspect_times), now, expiration))
    if votes >= needed or by_dotnet >= options.num_votes:
        return Decision(Verdict.DEAD, replace(voted, status=SiloStatus.DEAD), max(votes, by_dotnet), needed)
    young = {voter for voter, _ in _within(dict(before), now, expiration / 2)}
    if young.issuperset(voters):
        return Decision(Verdict.NOTHING, entry, len(before), needed)
    return Decision(Verdict.VOTE, voted, votes, needed)


def with_vote(entry: MembershipEntry, voter: SiloAddress, now: datetime, options: MembershipOptions) -> MembershipEntry:
    """A copy in which ``voter`` suspects the silo since ``now``. Its earlier vote is replaced; so is the oldest one of
    others when there are ``num_votes`` already, unless that is later than ``now``. One that is too far ahead to count
    takes nobody's place."""
    votes = _latest(entry.suspect_times)
    credible = _credible(votes, now, options.vote_expiration)
    if voter not in credible and len(credible) >= options.num_votes:
        oldest = min(credible, key=lambda other: votes[other])
        if votes[oldest] <= now:
            del votes[oldest]
    votes[voter] = _kept(now)
    return replace(entry, suspect_times=list(votes.items()))


def declared_dead(entry: MembershipEntry, by: SiloAddress, now: datetime) -> MembershipEntry:
    """A copy that is dead, and says who has said so."""
    votes = _latest(entry.suspect_times)
    votes[by] = _kept(now)
    return replace(entry, status=SiloStatus.DEAD, suspect_times=list(votes.items()))


def _latest(votes: Iterable[Vote]) -> dict[SiloAddress, datetime]:
    """The latest vote of each voter, in the order of their first ones."""
    latest: dict[SiloAddress, datetime] = {}
    for voter, time in votes:
        latest[voter] = max(time, latest.get(voter, time))
    return latest


def _credible(votes: dict[SiloAddress, datetime], now: datetime, expiration: float) -> dict[SiloAddress, datetime]:
    """Without those of clocks that are wrong."""
    return {voter: time for voter, time in votes.items() if time - now < timedelta(seconds=expiration)}


def _within(votes: dict[SiloAddress, datetime], now: datetime, expiration: float) -> list[Vote]:
    """Those that are younger, as of now or of the latest: Orleans' rule."""
    end = max([now, *votes.values()])
    return [(voter, time) for voter, time in votes.items() if end - time < timedelta(seconds=expiration)]


def _kept(time: datetime) -> datetime:
    """As the table keeps it: who has written a row and who reads it are to see the same."""
    return time.replace(microsecond=time.microsecond // 1000 * 1000)
