"""Which member a snapshot is taken of: a voter that has everything the cluster had when it was asked."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from membership.xline.client import Credentials, EngineClient, ListedMember, MemberList, MemberStatus
from membership.xline.errors import EngineError, NotSupported
from membership.xline.options import AccessFiles

_ASK: Final = 5.0  # seconds a member has to answer
_CATCH_UP: Final = 60.0  # seconds a follower has to get what the leader had
_POLL: Final = 0.2


class NoSource(Exception):
    """No member can be backed up just now."""


Connect = Callable[[str], EngineClient]


def connector(access: AccessFiles) -> Connect:
    """Opens clients as ``access`` says, reading its files anew each time."""

    def connect(url: str) -> EngineClient:
        user = access.user()
        tls = access.tls() if url.startswith("https://") else None
        return EngineClient(url, tls=tls, credentials=Credentials(*user) if user else None, timeout=_ASK)

    return connect


@dataclass(frozen=True, slots=True)
class Source:
    """A member to take the snapshot of.

    :ivar status: when it had every write that was acknowledged before we asked.
    """

    member: ListedMember
    status: MemberStatus
    url: str

    @property
    def revision(self) -> int:
        """Every write acknowledged before we asked has this revision or a lower one."""
        return self.status.revision

    @property
    def cluster_id(self) -> str:
        return f"{self.status.cluster_id:x}"


@dataclass(frozen=True, slots=True)
class _Answer:
    member: ListedMember
    url: str
    status: MemberStatus


def choose(endpoints: Sequence[str], connect: Connect) -> Source:
    """A voter that follows the leader, has no corruption alarm, and has applied what was committed when this was
    called. The leader itself only if no other does: a snapshot costs it disk and network.

    A leader may have applied less than others have acknowledged, so it is asked for the log, not for its revision.

    :param endpoints: client URLs to begin with; the others are learned from the engine.
    :raises NoSource: none can be backed up; the message says why.
    """
    listing, corrupt = _ask_any(endpoints, connect)
    voters = [member for member in listing.members if not member.is_learner]
    answers = list(_ask_all(listing.cluster_id, voters, connect))
    leader = next((answer for answer in answers if _leads(answer, answers, len(voters))), None)
    if leader is None:
        raise NoSource(f"no leader that a majority agrees on ({len(answers)} of {len(voters)} voters answer)")
    healthy = [answer for answer in answers if answer.member.id not in corrupt and answer.status.has_leader]
    if not healthy:
        raise NoSource("every member that could be backed up has the alarm CORRUPT")
    followers = [answer for answer in healthy if answer.member.id != leader.member.id]
    followers.sort(key=lambda answer: (-answer.status.revision, answer.member.name))
    chosen = _caught_up(followers, leader.status, connect)
    if chosen is None and leader in healthy:
        chosen = _caught_up([leader], leader.status, connect)
    if chosen is None:
        raise NoSource(f"no member has applied what was committed, up to index {leader.status.raft_index}")
    return chosen


def _leads(one: _Answer, answers: Sequence[_Answer], voters: int) -> bool:
    """Whether a majority says so in its term: one that was cut off may take itself for the leader for a while."""
    status = one.status
    following = [a for a in answers if (a.status.leader_id, a.status.term) == (one.member.id, status.term)]
    return status.is_leader and len(following) > voters // 2


def _ask_any(endpoints: Sequence[str], connect: Connect) -> tuple[MemberList, frozenset[int]]:
    """The member list as the leader has it, and who is corrupt."""
    problem = "no endpoint was given"
    for url in endpoints:
        try:
            with connect(url) as client:
                return client.member_list(), _corrupt(client)
        except (EngineError, OSError) as error:
            problem = str(error)
    raise NoSource(f"no member tells who the members are: {problem}")


def _corrupt(client: EngineClient) -> frozenset[int]:
    try:
        return frozenset(alarm.member_id for alarm in client.alarms() if alarm.kind == "CORRUPT")
    except NotSupported:
        return frozenset()


def _ask_all(cluster: int, voters: Sequence[ListedMember], connect: Connect) -> Iterator[_Answer]:
    """The answers of those of this cluster, asked at the same time."""
    if not voters:
        return
    with ThreadPoolExecutor(len(voters), thread_name_prefix="ask-member") as pool:
        for answer in pool.map(lambda member: _ask(member, connect), voters):
            if answer is not None and answer.status.cluster_id == cluster:
                yield answer


def _ask(member: ListedMember, connect: Connect) -> _Answer | None:
    for url in member.client_urls:
        try:
            with connect(url) as client:
                status = client.status()
        except (EngineError, OSError):
            continue
        if status.member_id == member.id and not status.is_learner:
            return _Answer(member, url, status)
    return None


def _caught_up(candidates: Sequence[_Answer], leader: MemberStatus, connect: Connect) -> Source | None:
    """The first that has what ``leader`` had committed. They are asked until one has it, or the patience is over."""
    deadline = time.monotonic() + _CATCH_UP
    latest: Sequence[_Answer | None] = candidates
    while True:
        for answer in latest:
            if answer is not None and answer.status.has_leader and _has(answer.status, leader):
                return Source(answer.member, answer.status, answer.url)
        if time.monotonic() > deadline or not any(latest):
            return None
        time.sleep(_POLL)
        latest = [_ask(answer.member, connect) for answer in candidates]


def _has(status: MemberStatus, leader: MemberStatus) -> bool:
    """Servers that tell no indexes tell the revision, at least."""
    return status.applied_index >= leader.raft_index and status.revision >= leader.revision
