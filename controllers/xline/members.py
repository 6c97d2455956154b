"""What the members themselves say: who leads, who belongs, who answers."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from membership.xline.client import TLS, Credentials, EngineClient, ListedMember, MemberStatus
from membership.xline.engines import CLIENT_PORT
from membership.xline.errors import EngineError


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A member that can be asked: its name, the address of its Pod, and how to prove who we are."""

    name: str
    address: str
    tls: TLS | None = None
    credentials: Credentials | None = None

    def connect(self, timeout: float) -> EngineClient:
        """:param timeout: seconds for each call that names none."""
        host = f"[{self.address}]" if ":" in self.address else self.address
        return EngineClient(f"{host}:{CLIENT_PORT}", tls=self.tls, credentials=self.credentials, timeout=timeout)


@dataclass(frozen=True, slots=True)
class EngineView:
    """The cluster as its members describe it.

    :ivar statuses: by name, of those that answered.
    :ivar errors: by name, why the others did not.
    :ivar leader: name of the leader; None unless it says so itself, in the newest term anybody knows, and a majority
        of the voters names it.
    :ivar listed: the engine's own member list, read through the leader; empty if nobody could give one.
    :ivar hearsay: the statuses are what agents have written down: the members themselves could not be asked.
    """

    statuses: dict[str, MemberStatus] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    leader: str | None = None
    listed: tuple[ListedMember, ...] = ()
    hearsay: bool = False

    @property
    def cluster_id(self) -> int:
        """0 if there is no leader to vouch for it."""
        return self.statuses[self.leader].cluster_id if self.leader else 0


Observe: TypeAlias = Callable[[Sequence[Endpoint], int, float], EngineView]


def observe(endpoints: Sequence[Endpoint], size: int, timeout: float) -> EngineView:
    """Ask all members at once, then the one that leads for the member list.

    :param size: how many members there are to have a majority of, as long as the list does not tell.
    :param timeout: seconds for each call; the whole takes at most twice that.
    """
    statuses, errors = _ask_all(endpoints, timeout)
    candidate = claimed_leader(statuses)
    if candidate is None:
        return EngineView(statuses, errors)
    listed = _list_members(next(endpoint for endpoint in endpoints if endpoint.name == candidate), timeout)
    leader = candidate if has_majority(candidate, statuses, listed, size) else None
    return EngineView(statuses, errors, leader, listed if leader else ())


def claimed_leader(statuses: dict[str, MemberStatus]) -> str | None:
    """Who says of itself that it leads, in the newest term that anybody knows."""
    newest = max((status.term for status in statuses.values()), default=0)
    return next((name for name, status in statuses.items() if status.is_leader and status.term == newest), None)


def has_majority(candidate: str, statuses: dict[str, MemberStatus], listed: Sequence[ListedMember], size: int) -> bool:
    """Whether a majority of all voters names the candidate. Those that do not answer count as not naming it."""
    votes = Counter(status.leader_id for status in statuses.values() if status.has_leader and not status.is_learner)
    voters = sum(1 for member in listed if member.voter) or size
    return votes[statuses[candidate].member_id] > voters // 2


def _ask_all(endpoints: Sequence[Endpoint], timeout: float) -> tuple[dict[str, MemberStatus], dict[str, str]]:
    answers: dict[str, MemberStatus | Exception] = {}

    def ask(endpoint: Endpoint) -> None:
        try:
            with endpoint.connect(timeout) as client:
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


def _list_members(endpoint: Endpoint, timeout: float) -> tuple[ListedMember, ...]:
    try:
        with endpoint.connect(timeout) as client:
            return client.member_list().members
    except EngineError:
        return ()  # it has just lost its majority; the next look tells
