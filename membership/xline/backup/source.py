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

    :ivar revision: every write acknowledged before we asked has this revision or a lower one, and the member has it.
    """

    member: ListedMember
    status: MemberStatus
    revision: int
    url: str

    @property
    def cluster_id(self) -> str:
        return f"{self.status.cluster_id:x}"


@dataclass(frozen=True, slots=True)
class _Answer:
    member: ListedMember
    url: str
    status: MemberStatus


def choose(endpoints: Sequence[str], connect: Connect) -> Source:
    """A voter that follows the leader, has no corruption alarm, and has caught up with where the leader was when this
    was called. The leader itself only if no other does: a snapshot costs it disk and network.

    :param endpoints: client URLs to begin with; the others are learned from the engine.
    :raises NoSource: none can be backed up; the message says why.
    """
    listing, corrupt = _ask_any(endpoints, connect)
    answers = list(_ask_all(listing, connect))
    leaders = {answer.status.leader_id for answer in answers if answer.status.has_leader}
    leader = next((answer for answer in answers if answer.status.is_leader and leaders == {answer.member.id}), None)
    if leader is None:
        raise NoSource(f"no leader that all members agree on ({len(answers)} of {len(listing.members)} answer)")
    wanted = leader.status.revision
    healthy = [answer for answer in answers if answer.member.id not in corrupt and answer.status.has_leader]
    followers = [answer for answer in healthy if answer.member.id != leader.member.id]
    followers.sort(key=lambda answer: (-answer.status.revision, answer.member.name))
    if followers:
        chosen = _caught_up(followers, wanted, connect)
        if chosen is not None:
            return chosen
    if leader in healthy:
        return Source(leader.member, leader.status, wanted, leader.url)
    raise NoSource("every member that could be backed up has the alarm CORRUPT")


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


def _ask_all(listing: MemberList, connect: Connect) -> Iterator[_Answer]:
    """The answers of voters of this cluster, asked at the same time."""
    voters = [member for member in listing.members if not member.is_learner and member.client_urls]
    if not voters:
        return
    with ThreadPoolExecutor(len(voters), thread_name_prefix="ask-member") as pool:
        for answer in pool.map(lambda member: _ask(member, connect), voters):
            if answer is not None and answer.status.cluster_id == listing.cluster_id:
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


def _caught_up(followers: Sequence[_Answer], revision: int, connect: Connect) -> Source | None:
    """The first follower that has ``revision``. They are asked until one has it, or the patience is over."""
    deadline = time.monotonic() + _CATCH_UP
    latest: Sequence[_Answer | None] = followers
    while True:
        for answer in latest:
            if answer is not None and answer.status.revision >= revision and answer.status.has_leader:
                return Source(answer.member, answer.status, revision, answer.url)
        if time.monotonic() > deadline or not any(latest):
            return None
        time.sleep(_POLL)
        latest = [_ask(answer.member, connect) for answer in followers]
