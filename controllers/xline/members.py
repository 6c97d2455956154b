"""What the members themselves say: who leads, who belongs, who answers."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from membership.xline.client import EngineClient, ListedMember, MemberStatus
from membership.xline.engines import CLIENT_PORT
from membership.xline.errors import EngineError


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A member that can be asked: its name, and the address of its Pod."""

    name: str
    address: str


@dataclass(frozen=True, slots=True)
class EngineView:
    """The cluster as its members describe it.

    :ivar statuses: by name, of those that answered.
    :ivar errors: by name, why the others did not.
    :ivar leader: name of the leader; None unless a majority of all members names it and it agrees.
    :ivar listed: the engine's own member list; empty if nobody could give one.
    """

    statuses: dict[str, MemberStatus] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    leader: str | None = None
    listed: tuple[ListedMember, ...] = ()

    @property
    def cluster_id(self) -> int:
        """0 if there is no leader to vouch for it."""
        return self.statuses[self.leader].cluster_id if self.leader else 0


Observe: TypeAlias = Callable[[Sequence[Endpoint], int, float], EngineView]


def observe(endpoints: Sequence[Endpoint], size: int, timeout: float) -> EngineView:
    """Ask all members at once, then the leader for the member list.

    :param size: how many members the cluster has: a majority is one of these, not of those that answered.
    :param timeout: seconds for each call; the whole takes at most twice that.
    """
    statuses, errors = _ask_all(endpoints, timeout)
    leader = _agreed_leader(statuses, size)
    listed: tuple[ListedMember, ...] = ()
    if leader:
        address = next(endpoint.address for endpoint in endpoints if endpoint.name == leader)
        listed = _list_members(address, timeout)
    return EngineView(statuses, errors, leader, listed)


def _ask_all(endpoints: Sequence[Endpoint], timeout: float) -> tuple[dict[str, MemberStatus], dict[str, str]]:
    answers: dict[str, MemberStatus | Exception] = {}

    def ask(endpoint: Endpoint) -> None:
        try:
            with EngineClient(f"{_host(endpoint.address)}:{CLIENT_PORT}", timeout=timeout) as client:
                answers[endpoint.name] = client.status()
        except Exception as error:  # raised again below, in the thread that reconciles
            answers[endpoint.name] = error

    threads = [
        threading.Thread(target=ask, args=(endpoint,), name=f"xline-ask-{endpoint.name}", daemon=True)
        for endpoint in endpoints
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    statuses: dict[str, MemberStatus] = {}
    errors: dict[str, str] = {}
    for endpoint in endpoints:
        answer = answers[endpoint.name]
        if isinstance(answer, MemberStatus):
            statuses[endpoint.name] = answer
        elif isinstance(answer, EngineError):
            errors[endpoint.name] = str(answer)
        else:
            raise answer
    return statuses, errors


def _host(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _agreed_leader(statuses: dict[str, MemberStatus], size: int) -> str | None:
    """Who says of itself that it leads, in the newest term, and is named by a majority of all members."""
    if not statuses:
        return None
    term = max(status.term for status in statuses.values())
    votes = Counter(status.leader_id for status in statuses.values() if status.has_leader)
    for name, status in statuses.items():
        if status.is_leader and status.term == term and votes[status.member_id] > size // 2:
            return name
    return None


def _list_members(address: str, timeout: float) -> tuple[ListedMember, ...]:
    try:
        with EngineClient(f"{_host(address)}:{CLIENT_PORT}", timeout=timeout) as client:
            return client.member_list().members
    except EngineError:
        return ()  # it has just lost its majority; the next look tells
