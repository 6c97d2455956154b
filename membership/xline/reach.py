"""Where the servers of a cluster are reached, and what they answer.

Addresses come from three places, of which any may fail: the Pods, by the API server; the client URLs of the member list
that was seen last, which is kept on the member's volume; and the addresses of the first members, from the flags.
"""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar
from urllib.parse import urlsplit

import msgspec

from membership.xline.client import Credentials, EngineClient, ListedMember, MemberList, MemberStatus
from membership.xline.datadir import DataDir
from membership.xline.errors import EngineError
from membership.xline.files import DiskError
from membership.xline.matching import Matching, host_of
from membership.xline.model import member_selector_text
from membership.xline.options import AgentOptions
from runtime.client import Client, ClientError
from runtime.clock import Clock
from runtime.logging import get_logger
from runtime.types import GVR

PROBE_TIMEOUT = 1.5  # seconds for the question how a server is
LIST_TIMEOUT = 2.0  # seconds for a linearizable list
_PODS_EVERY = 30.0  # seconds between two looks at the Pods while all is well,
_PODS_OFTEN = 3.0  # and while somebody does not answer: at first, then ever less often
_RENEW = 600.0  # seconds a connection is kept: certificates are renewed meanwhile
_COPY = "members.json"
_PODS = GVR("", "v1", "pods")

_log = get_logger(__name__)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Contact:
    """A server that answered just now."""

    name: str
    client: EngineClient
    status: MemberStatus


@dataclass(frozen=True, slots=True)
class Survey:
    """What the servers said about themselves.

    :ivar own: None: the own server does not answer.
    """

    own: Contact | None = None
    others: tuple[Contact, ...] = ()

    @property
    def all(self) -> tuple[Contact, ...]:
        return self.others if self.own is None else (self.own, *self.others)

    @property
    def leader(self) -> Contact | None:
        """Who leads, if it answers and says so in the highest term that anybody knows."""
        term = max((contact.status.term for contact in self.all), default=0)
        return next((c for c in self.all if c.status.is_leader and c.status.term == term), None)

    def healthy(self) -> frozenset[int]:
        """Ids of those that follow the leader of the highest term; without one, nobody."""
        known = [contact.status for contact in self.all if contact.status.has_leader]
        newest = max(known, key=lambda status: status.term, default=None)
        return frozenset(s.member_id for s in known if newest is not None and s.leader_id == newest.leader_id)

    def of(self, *clusters: int) -> Survey:
        """Without those of other clusters, who may have got an address that was ours, and lead there in a higher term.

        :param clusters: ids; the first of which somebody is counts, and 0 is none. If nobody is of any, all stay. The
            own server always does.
        """
        present = {contact.status.cluster_id for contact in self.all}
        ours = next((cluster for cluster in clusters if cluster and cluster in present), None)
        if ours is None:
            return self
        return Survey(self.own, tuple(contact for contact in self.others if contact.status.cluster_id == ours))

    def voters(self) -> list[Contact]:
        """Whom to ask about the cluster, and for changes: the leader first, others before ourselves."""
        able = [c for c in (*self.others, self.own) if c is not None and not c.status.is_learner]
        able = [contact for contact in able if contact.status.has_leader]
        return sorted(able, key=lambda contact: contact is not self.leader)


@dataclass(slots=True)
class _Place:
    """Where one member may be: the address that worked last, first."""

    addresses: list[tuple[str, str]] = field(default_factory=list)  # host:port, name in its certificate
    client: EngineClient | None = None
    opened: float = 0.0


class Reach:
    """Connections to all servers of one cluster. Used in one thread."""

    def __init__(self, options: AgentOptions, client: Client, data: DataDir, clock: Clock) -> None:
        identity = options.identity
        self._options = options
        self._identity = identity
        self._data = data
        self._clock = clock
        self._pods = client.resource(_PODS, namespace=identity.namespace)
        self._selector = member_selector_text(identity.cluster)
        self._pool = ThreadPoolExecutor(8, thread_name_prefix="reach")
        self._places: dict[str, _Place] = {}
        self._pod_addresses: dict[str, str] = {}
        self._pods_due = 0.0
        self._pods_wait = _PODS_OFTEN
        self._missing: set[str] = set()
        self._alone = False  # nobody answered the last time, of those that were asked
        self._urls: dict[str, str] | None = self._read_copy()  # member's name -> client URL, of the last list
        self._own = _Place([(_joined(options.local_host, _port(identity.client_url)), host_of(identity.client_url))])

    def close(self) -> None:
        """Ends all connections, and the threads."""
        self._pool.shutdown()
        for place in (self._own, *self._places.values()):
            _close(place)

    @property
    def matching(self) -> Matching:
        """By what the members of this cluster are recognized."""
        base = self._identity.pod.rpartition("-")[0]
        return Matching(base, dict(self._pod_addresses), dict(self._identity.initial))

    def survey(self) -> Survey:
        """Ask all servers how they are, all at once; each has :data:`PROBE_TIMEOUT`."""
        self._find_pods()
        self._places = self._merged()
        names = list(self._places)
        futures = [self._pool.submit(self._probe, name, self._places[name]) for name in names]
        own = self._pool.submit(self._probe, self._identity.pod, self._own).result()
        found = [contact for future in futures if (contact := future.result()) is not None]
        self._note_answers(set(names), {contact.name for contact in found})
        if own is not None:  # two addresses may lead to one server
            found = [contact for contact in found if contact.status.member_id != own.status.member_id]
        return Survey(own, tuple({contact.status.member_id: contact for contact in found}.values()))

    def listing(self, survey: Survey, *, without_own: bool = False) -> tuple[MemberList, Contact]:
        """A linearizable list, and who gave it: a voter.

        :param without_own: ask others only.
        :raises EngineError: nobody of two who were asked gives it.
        :raises NobodyAnswers: there is nobody to ask.
        """
        voters = [c for c in survey.voters() if not (without_own and c is survey.own)]
        failure: EngineError | None = None
        for contact in voters[:2]:
            try:
                listing = contact.client.member_list(timeout=LIST_TIMEOUT)
            except EngineError as error:
                failure = error
                continue
            return listing, contact
        raise failure or NobodyAnswers("no voter answers that knows a leader")

    def dial_own(self) -> EngineClient:
        """A connection of its own to the own server, for the caller to close.

        :raises OSError: certificates or credentials cannot be read.
        """
        return self._dial(*self._own.addresses[0])

    def remember(self, listing: MemberList) -> None:
        """Keep the addresses of a list of our cluster, here and on the volume."""
        urls = {_key(member): member.client_urls[0] for member in listing.members if member.client_urls}
        urls.pop(self._identity.pod, None)
        if urls == self._urls:
            return
        self._urls = urls
        try:
            self._data.write_copy(_COPY, msgspec.json.encode(urls))
        except DiskError as error:
            _log.warning("the member list cannot be kept", error=str(error))

    # ---- where they are

    def _note_answers(self, asked: set[str], answered: set[str]) -> None:
        """Whoever does not answer may have another address by now; one that stays away is not asked about for ever."""
        missing = asked - answered
        if missing != self._missing:
            self._missing, self._pods_wait = missing, _PODS_OFTEN
        if missing:
            self._pods_due = min(self._pods_due, self._clock.monotonic() + self._pods_wait)
        self._alone = bool(asked) and not answered

    def _find_pods(self) -> None:
        now = self._clock.monotonic()
        if now < self._pods_due:
            return
        self._pods_due = now + _PODS_EVERY * random.uniform(0.8, 1.2)  # noqa: S311  # spreads agents
        self._pods_wait = min(self._pods_wait * 2, _PODS_EVERY)
        try:
            pods = self._pods.list(label_selector=self._selector, timeout=PROBE_TIMEOUT).items
        except ClientError as error:
            _log.debug("Pods cannot be listed", error=str(error))
            self._pods_due = now + _PODS_OFTEN
            return
        self._pod_addresses = {
            pod.name: address for pod in pods if (address := (pod.get("status") or {}).get("podIP") or "")
        }

    def _merged(self) -> dict[str, _Place]:
        """All members that are known of, but the own one, with their addresses; connections are kept.

        The first members of the cluster may have left long ago: they count only where nothing newer is known, or
        nobody answers that is.
        """
        identity = self._identity
        first = dict(identity.addresses)
        listed = self._urls or {}
        known = {*listed, *self._pod_addresses}
        names = {*known, *first} if self._alone or self._urls is None else known
        port = _port(identity.client_url)
        places: dict[str, _Place] = {}
        for name in sorted(names - {identity.pod}):
            urls = [source[name] for source in (listed, first) if name in source]
            wanted: dict[tuple[str, str], None] = {}
            if name in self._pod_addresses:
                host = host_of(urls[0]) if urls else self._host_like_ours(name)
                wanted[_joined(self._pod_addresses[name], port), host] = None
            for url in urls:
                wanted[_joined(host_of(url), _port(url)), host_of(url)] = None
            places[name] = self._kept(name, list(wanted))
        for name, place in self._places.items():
            if name not in places:
                _close(place)
        return places

    def _host_like_ours(self, name: str) -> str:
        """What the certificate of a member is made out to that is in no list yet."""
        own, rest = host_of(self._identity.client_url), self._identity.pod.lower() + "."
        return f"{name}.{own.removeprefix(rest)}" if own.startswith(rest) else self._pod_addresses[name]

    def _kept(self, name: str, wanted: list[tuple[str, str]]) -> _Place:
        old = self._places.get(name)
        if old is None:
            return _Place(wanted)
        if sorted(old.addresses) != sorted(wanted):
            _close(old)
            old.addresses = wanted
        return old

    def _read_copy(self) -> dict[str, str] | None:
        try:
            content = self._data.read_copy(_COPY)
            return None if content is None else _urls_of(content)
        except (DiskError, msgspec.DecodeError) as error:
            _log.warning("the member list that was kept cannot be read", error=str(error))
            return None

    # ---- asking

    def _probe(self, name: str, place: _Place) -> Contact | None:
        """Ask at the first address; if it does not answer, the next time at the next one."""
        if not place.addresses:
            return None
        try:
            client = self._connected(place)
            return Contact(name, client, client.status(timeout=PROBE_TIMEOUT))
        except (EngineError, OSError) as error:
            _log.debug("a server does not answer", member=name, address=place.addresses[0][0], error=str(error))
            _close(place)
            place.addresses.append(place.addresses.pop(0))
            return None

    def _connected(self, place: _Place) -> EngineClient:
        now = self._clock.monotonic()
        if place.client is not None and now - place.opened > _RENEW:
            _close(place)
        if place.client is None:
            place.client = self._dial(*place.addresses[0])
            place.opened = now
        return place.client

    def _dial(self, address: str, host: str) -> EngineClient:
        access = self._options.access
        user = access.user()
        return EngineClient(
            address,
            tls=access.tls(None if _is_address(host) else host),
            credentials=None if user is None else Credentials(*user),
            timeout=LIST_TIMEOUT,
        )


class NobodyAnswers(Exception):
    """There is no server to ask. Nothing is known about the cluster."""


def entries_of(listing: MemberList, name: str, same: Callable[[ListedMember], bool]) -> list[ListedMember]:
    """All entries of one member: those with its name, and those for which ``same`` holds."""
    return [member for member in listing.members if member.name == name or (not member.name and same(member))]


_urls_of: Callable[[bytes], dict[str, str]] = msgspec.json.Decoder(dict[str, str]).decode


def _key(member: ListedMember) -> str:
    return member.name or f"{member.id:x}"


def _close(place: _Place) -> None:
    if place.client is not None:
        place.client.close()
        place.client = None


def _port(url: str) -> int:
    return urlsplit(url if "://" in url else f"//{url}").port or 2379


def _joined(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


__all__: Sequence[str] = ["Contact", "NobodyAnswers", "Reach", "Survey", "entries_of"]
