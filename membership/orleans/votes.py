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

    Their age is measured from the latest vote, if that is later than ``now``: all readers count the same, whatever
    their clocks say.

    :param expiration: seconds.
    """
    latest = _latest(entry.suspect_times)
    end = max([now, *latest.values()])
    return [(voter, time) for voter, time in latest.items() if end - time < timedelta(seconds=expiration)]


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

    A row that is not dead is never left with ``num_votes`` votes that count: a .NET silo that finds one ends itself.
    """
    needed = votes_required(members, options, is_stale)
    before = fresh_votes(entry, now, options.vote_expiration)
    if entry.status is SiloStatus.DEAD:
        return Decision(Verdict.NOTHING, entry, len(before), needed)
    voted = entry
    for voter in voters:
        voted = with_vote(voted, voter, now, options.num_votes)
    votes = fresh_votes(voted, now, options.vote_expiration)
    if len(votes) >= needed:
        return Decision(Verdict.DEAD, replace(voted, status=SiloStatus.DEAD), len(votes), needed)
    young = {voter for voter, _ in fresh_votes(entry, now, options.vote_expiration / 2)}
    if young.issuperset(voters):
        return Decision(Verdict.NOTHING, entry, len(before), needed)
    return Decision(Verdict.VOTE, voted, len(votes), needed)


def with_vote(entry: MembershipEntry, voter: SiloAddress, now: datetime, most: int) -> MembershipEntry:
    """A copy in which ``voter`` suspects the silo since ``now``. Its earlier vote is replaced; so is the oldest one of
    others when there are ``most`` already, unless that is later than ``now``."""
    votes = _latest(entry.suspect_times)
    if voter not in votes and len(votes) >= most:
        oldest = min(votes, key=lambda other: votes[other])
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


def _kept(time: datetime) -> datetime:
    """As the table keeps it: who has written a row and who reads it are to see the same."""
    return time.replace(microsecond=time.microsecond // 1000 * 1000)
