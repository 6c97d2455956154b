"""One client for both engines: asks a member about itself and its cluster, and has it change the cluster.

Every call has a deadline. A client belongs to one member and is cheap: open it, ask, close it. It may be used from
several threads at once. It never repeats a call by itself: whether a change that failed may be asked for again is the
caller's to find out, by listing the members.

>>> with EngineClient("10.0.0.7:2379") as member:
...     status = member.status()
...     if status.is_leader: ...
"""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, TypeAlias, TypeVar, cast

from membership.xline.errors import (
    NO_LEADER,
    AuthDisabled,
    Denied,
    Failed,
    Timeout,
    from_grpc,
)
from membership.xline.watchdog import Watchdog

if TYPE_CHECKING:
    import grpc

    from membership.xline.proto import engine_pb2

DEFAULT_TIMEOUT = 2.0  # seconds
# etcd's own limit for a change of the membership is 7 s, from its election timeout: waiting less makes answers
# ambiguous that need not be. It never answers a change that follows too closely on another: raft drops that.
CHANGE_TIMEOUT = 10.0  # seconds

_OPTIONS = (
    # Members are reached directly; a proxy set for the Internet is none for them.
    ("grpc.enable_http_proxy", 0),
    # A new client must not inherit the back-off of an earlier one to the same address.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_receive_message_length", 16 << 20),
)


class _Message(Protocol):
    def SerializeToString(self) -> bytes: ...


Answer = TypeVar("Answer", bound=_Message)


@dataclass(frozen=True, slots=True)
class TLS:
    """What to trust and who to be, as PEM.

    :param ca: certificates that sign the servers'; ``None`` for the system's.
    :param certificate: our own, with ``key``; ``None`` if the servers ask for none.
    :param server_name: what the server's certificate must name, where that is not the host that is dialled: an
        address of a Pod.
    """

    ca: bytes | None = None
    certificate: bytes | None = None
    key: bytes | None = None
    server_name: str | None = None


@dataclass(frozen=True, slots=True)
class Credentials:
    """User and password, for clusters that ask for them. The others are served as if none were given."""

    user: str
    password: str


@dataclass(frozen=True, slots=True)
class MemberStatus:
    """What a member says about itself. Ids are the engine's, never reused.

    :ivar leader_id: the member that leads as this one sees it; 0 if it knows none.
    :ivar db_size: bytes of the database's file; ``db_size_in_use`` of these hold data, and a defragmentation gives the
        rest back. Xline reports the same number twice; old servers report 0 or -1 where they do not know.
    :ivar term: raft term; of two answers the one with the higher term is the newer view of who leads.
    """

    cluster_id: int
    member_id: int
    version: str
    leader_id: int
    term: int
    revision: int
    raft_index: int
    applied_index: int
    db_size: int
    db_size_in_use: int
    is_learner: bool
    errors: tuple[str, ...]

    @property
    def alarms(self) -> tuple[str, ...]:
        """Kinds of the alarms that are raised by any member: ``NOSPACE``, ``CORRUPT``."""
        said = " ".join(self.errors).upper()
        return tuple(kind for kind in ("CORRUPT", "NOSPACE") if kind in said)

    @property
    def is_leader(self) -> bool:
        return self.leader_id == self.member_id != 0

    @property
    def has_leader(self) -> bool:
        return self.leader_id != 0 and NO_LEADER not in self.errors


@dataclass(frozen=True, slots=True)
class ListedMember:
    """One entry of a cluster's member list.

    :ivar name: empty until a member that was added has started for the first time; those that a cluster is
        bootstrapped with have one from the beginning.
    :ivar client_urls: empty until the member has started for the first time.
    """

    id: int
    name: str
    peer_urls: tuple[str, ...]
    client_urls: tuple[str, ...]
    is_learner: bool

    @property
    def voter(self) -> bool:
        return not self.is_learner

    @property
    def started(self) -> bool:
        """Whether it has ever run."""
        return bool(self.name and self.client_urls)


@dataclass(frozen=True, slots=True)
class MemberList:
    """A cluster's members, in order of their ids."""

    cluster_id: int
    members: tuple[ListedMember, ...]

    def get(self, member_id: int) -> ListedMember | None:
        """The member with that id, if it is listed."""
        return next((member for member in self.members if member.id == member_id), None)


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something that keeps the cluster from serving.

    :ivar kind: ``NOSPACE`` or ``CORRUPT``; the number of a kind that is newer than us.
    """

    member_id: int
    kind: str


@dataclass(frozen=True, slots=True)
class SnapshotChunk:
    """A piece of a snapshot, and how many bytes of content follow it; the digest after the content is not counted."""

    blob: bytes
    remaining: int


Metadata: TypeAlias = tuple[tuple[str, str], ...]


class EngineClient:
    """A connection to one member. All calls raise :class:`membership.xline.errors.EngineError`.

    :param address: ``host:port`` of its client port, ``[v6]:port``, or a URL of these.
    :param tls: for an ``https`` member. Read once: after a change of the certificates, make a new client.
    :param credentials: used once the member refuses a call without them. What it says about itself it tells anybody;
        a learner could not even check a password, and for the others that takes most of a second of CPU.
    :param timeout: seconds each call may take if it names none, connecting included.
    """

    def __init__(
        self,
        address: str,
        *,
        tls: TLS | None = None,
        credentials: Credentials | None = None,
        timeout: float = DEFAULT_TIMEOUT,
    ) -> None:
        import grpc  # as protobuf below: some 50 ms and 15 MiB, which only those pay who ask a member

        self.address = address.removeprefix("http://").removeprefix("https://").rstrip("/")
        self._timeout = timeout
        self._credentials = credentials
        self._token: str | None = None
        self._authenticating = threading.Lock()
        self._rpc_error = grpc.RpcError
        self._channel: grpc.Channel
        if tls is None:
            self._channel = grpc.insecure_channel(self.address, options=_OPTIONS)
        else:
            secrets = grpc.ssl_channel_credentials(tls.ca, tls.key, tls.certificate)
            name = () if tls.server_name is None else (("grpc.ssl_target_name_override", tls.server_name),)
            self._channel = grpc.secure_channel(self.address, secrets, options=(*_OPTIONS, *name))

    def status(self, timeout: float | None = None) -> MemberStatus:
        """What the member says about itself, from its own memory: answered without a quorum, and by learners."""
        from membership.xline.proto import engine_pb2 as messages

        answer = self._call(
            "/etcdserverpb.Maintenance/Status",
            messages.StatusRequest(),
            messages.StatusResponse,
            timeout,
        )
        return MemberStatus(
            cluster_id=answer.header.cluster_id,
            member_id=answer.header.member_id,
            version=answer.version,
            leader_id=answer.leader,
            term=answer.raft_term,
            revision=answer.header.revision,
            raft_index=answer.raft_index,
            applied_index=answer.raft_applied_index,
            db_size=answer.db_size,
            db_size_in_use=answer.db_size_in_use,
            is_learner=answer.is_learner,
            errors=tuple(answer.errors),
        )

    def member_list(self, *, linearizable: bool = True, timeout: float | None = None) -> MemberList:
        """The cluster's members.

        :param linearizable: answered through the leader, hence true now and impossible without a quorum. Do not
            ask a learner: etcd's refuse.
        """
        from membership.xline.proto import engine_pb2 as messages

        return self._members(
            "MemberList",
            messages.MemberListRequest(linearizable=linearizable),
            self._timeout if timeout is None else timeout,
        )

    def member_add(
        self, peer_urls: Iterable[str], *, learner: bool = True, timeout: float = CHANGE_TIMEOUT
    ) -> tuple[ListedMember, MemberList]:
        """Adds a member; it must be started next, with the list that is returned.

        After an ambiguous error list the members before calling again: Xline makes a second member of the same URL.

        :returns: the new member, and all members including it.
        """
        from membership.xline.proto import engine_pb2 as messages

        answer = self._call(
            "/etcdserverpb.Cluster/MemberAdd",
            messages.MemberAddRequest(peer_urls=peer_urls, is_learner=learner),
            messages.MemberAddResponse,
            timeout,
        )
        if not answer.HasField("member"):
            raise Failed(self.address, "MemberAdd", "OK", "the answer does not name the new member")
        return _listed(answer.member), _list(answer.header, answer.members)

    def member_remove(self, member_id: int, *, timeout: float = CHANGE_TIMEOUT) -> MemberList:
        """Removes a member for good. Repeating it does no harm: the second raises NotFound."""
        from membership.xline.proto import engine_pb2 as messages

        return self._members("MemberRemove", messages.MemberRemoveRequest(id=member_id), timeout)

    def member_promote(self, member_id: int, *, timeout: float = CHANGE_TIMEOUT) -> MemberList:
        """Gives a learner a vote. Only ever for an id that is listed as a learner just now: asked for the leader's own,
        Xline's server dies.

        :raises LearnerNotReady: it has not caught up yet.
        :raises NotLearner: it has a vote already, or (Xline) never: there the call succeeds without effect.
        """
        from membership.xline.proto import engine_pb2 as messages

        return self._members("MemberPromote", messages.MemberPromoteRequest(id=member_id), timeout)

    def move_leader(self, target_id: int, *, timeout: float = CHANGE_TIMEOUT) -> None:
        """Hands leadership to a voter. To be sent to the leader: etcd's others refuse.

        :raises NotLeader: the member that was asked does not lead.
        :raises NotSupported: Xline before 0.7.
        """
        from membership.xline.proto import engine_pb2 as messages

        self._call(
            "/etcdserverpb.Maintenance/MoveLeader",
            messages.MoveLeaderRequest(target_id=target_id),
            messages.DoneResponse,
            timeout,
        )

    def alarms(self, timeout: float | None = None) -> tuple[Alarm, ...]:
        """The alarms of all members that are raised, in order of the members' ids."""
        from membership.xline.proto import engine_pb2 as messages

        return self._alarms(messages.AlarmRequest(action=messages.GET), timeout)

    def disarm(self, alarm: Alarm, *, timeout: float = CHANGE_TIMEOUT) -> None:
        """Takes an alarm back. One that is not raised is taken back without an error.

        :raises ValueError: for a kind that is not known.
        """
        from membership.xline.proto import engine_pb2 as messages

        request = messages.AlarmRequest(action=messages.DEACTIVATE, member_id=alarm.member_id, alarm=alarm.kind)
        self._alarms(request, timeout)

    def defragment(self, *, timeout: float) -> None:
        """Gives back what the member's database holds without need. The member serves nobody meanwhile: etcd takes
        about a second for 100 MiB.

        :raises NotSupported: by Xline.
        """
        from membership.xline.proto import engine_pb2 as messages

        self._call("/etcdserverpb.Maintenance/Defragment", messages.DefragmentRequest(), messages.DoneResponse, timeout)

    def snapshot(self, *, idle_timeout: float) -> Generator[SnapshotChunk]:
        """The member's database as it is now, as it comes: never more than one piece is held. Unverified: its last 32
        bytes are the SHA-256 of all before them, where all arrived. Closing the iterator ends the call.

        :param idle_timeout: seconds to wait for each piece; how long all of it takes depends on the database.
        :raises Timeout: when a piece did not come in time.
        """
        begun = False
        try:
            for piece in self._snapshot(idle_timeout, self._token_in_hand()):
                begun = True
                yield piece
        except Denied:
            if begun or self._credentials is None:
                raise
            yield from self._snapshot(idle_timeout, self._new_token(idle_timeout))

    def _snapshot(self, idle_timeout: float, metadata: Metadata) -> Iterator[SnapshotChunk]:
        from membership.xline.proto import engine_pb2 as messages

        call = self._channel.unary_stream(
            "/etcdserverpb.Maintenance/Snapshot",
            request_serializer=_serialize,
            response_deserializer=messages.SnapshotResponse.FromString,
        )(messages.SnapshotRequest(), metadata=metadata)
        # grpc's own deadline is for the whole stream, and nobody knows how long that may take.
        with Watchdog(idle_timeout, call.cancel) as watchdog:
            try:
                for answer in call:
                    watchdog.rest()
                    yield SnapshotChunk(answer.blob, answer.remaining_bytes)
                    watchdog.watch()
            except self._rpc_error as error:
                if watchdog.bitten:
                    reason = f"no piece of it came for {idle_timeout:g} s"
                    raise Timeout(self.address, "Snapshot", "DEADLINE_EXCEEDED", reason) from None
                raise from_grpc(self.address, "Snapshot", error) from None
            finally:
                call.cancel()  # type: ignore[no-untyped-call]  # grpc-stubs leaves it out

    def close(self) -> None:
        """Ends the connection; calls under way fail."""
        self._channel.close()

    def __enter__(self) -> EngineClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _members(self, call: str, request: _Message, timeout: float | None) -> MemberList:
        from membership.xline.proto import engine_pb2 as messages

        answer = self._call(f"/etcdserverpb.Cluster/{call}", request, messages.MemberListResponse, timeout)
        return _list(answer.header, answer.members)

    def _alarms(self, request: _Message, timeout: float | None) -> tuple[Alarm, ...]:
        from membership.xline.proto import engine_pb2 as messages

        answer = self._call("/etcdserverpb.Maintenance/Alarm", request, messages.AlarmResponse, timeout)
        names = {number: name for name, number in messages.AlarmType.items()}
        alarms = [Alarm(alarm.member_id, names.get(alarm.alarm, str(alarm.alarm))) for alarm in answer.alarms]
        return tuple(sorted(alarms, key=lambda alarm: (alarm.member_id, alarm.kind)))

    def _call(self, method: str, request: _Message, answer: type[Answer], timeout: float | None) -> Answer:
        seconds = self._timeout if timeout is None else timeout
        end = time.monotonic() + seconds
        try:
            return self._once(method, request, answer, seconds, self._token_in_hand())
        except Denied:
            if self._credentials is None:
                raise
            # Of one deadline: whoever changes something holds a lock that does not last for three of them.
            token = self._new_token(end - time.monotonic())
            return self._once(method, request, answer, end - time.monotonic(), token)

    def _once(self, method: str, request: _Message, answer: type[Answer], timeout: float, metadata: Metadata) -> Answer:
        call = self._channel.unary_unary(
            method,
            request_serializer=_serialize,
            response_deserializer=answer.FromString,  # type: ignore[attr-defined]  # a classmethod of every message
        )
        try:
            return cast("Answer", call(request, timeout=timeout, metadata=metadata))
        except self._rpc_error as error:
            raise from_grpc(self.address, method.rpartition("/")[2], error) from None

    def _token_in_hand(self) -> Metadata:
        with self._authenticating:
            return (("token", self._token),) if self._token is not None else ()

    def _new_token(self, timeout: float) -> Metadata:
        """What proves who we are: nothing where the cluster knows no users."""
        from membership.xline.proto import engine_pb2 as messages

        if self._credentials is None:
            return ()
        with self._authenticating:
            request = messages.AuthenticateRequest(name=self._credentials.user, password=self._credentials.password)
            self._token = None
            try:
                self._token = self._once(
                    "/etcdserverpb.Auth/Authenticate", request, messages.AuthenticateResponse, timeout, ()
                ).token
            except AuthDisabled:
                return ()
            return (("token", self._token),)


def _serialize(message: _Message) -> bytes:
    return message.SerializeToString()


def _listed(member: engine_pb2.Member) -> ListedMember:
    return ListedMember(
        id=member.id,
        name=member.name,
        peer_urls=tuple(sorted(member.peer_urls)),
        client_urls=tuple(sorted(member.client_urls)),
        is_learner=member.is_learner,
    )


def _list(header: engine_pb2.ResponseHeader, members: Iterable[engine_pb2.Member]) -> MemberList:
    listed = sorted((_listed(member) for member in members), key=lambda member: member.id)
    return MemberList(header.cluster_id, tuple(listed))
