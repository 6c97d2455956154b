"""One client for both engines: what a member says about itself and about its cluster.

Every call has a deadline. A client belongs to one member and is cheap: open it, ask, close it. It may be used from
several threads at once.

>>> with EngineClient("10.0.0.7:2379") as member:
...     status = member.status()
...     if status.is_leader: ...
"""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, TypeVar, cast

from membership.xline.errors import NO_LEADER, from_grpc

if TYPE_CHECKING:
    import grpc

DEFAULT_TIMEOUT = 2.0  # seconds

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
    """

    ca: bytes | None = None
    certificate: bytes | None = None
    key: bytes | None = None


@dataclass(frozen=True, slots=True)
class MemberStatus:
    """What a member says about itself. Ids are the engine's, never reused.

    :ivar leader_id: the member that leads as this one sees it; 0 if it knows none.
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
    is_learner: bool
    errors: tuple[str, ...]

    @property
    def is_leader(self) -> bool:
        return self.leader_id == self.member_id != 0

    @property
    def has_leader(self) -> bool:
        return self.leader_id != 0 and NO_LEADER not in self.errors


@dataclass(frozen=True, slots=True)
class ListedMember:
    """One entry of a cluster's member list.

    :ivar name: empty until the member has started for the first time.
    """

    id: int
    name: str
    peer_urls: tuple[str, ...]
    client_urls: tuple[str, ...]
    is_learner: bool

    @property
    def started(self) -> bool:
        return bool(self.name)


@dataclass(frozen=True, slots=True)
class MemberList:
    """A cluster's members, in order of their ids."""

    cluster_id: int
    answered_by: int
    members: tuple[ListedMember, ...]


class EngineClient:
    """A connection to one member. All calls raise :class:`membership.xline.errors.EngineError`.

    :param address: ``host:port`` of its client port, ``[v6]:port``, or a URL of these.
    :param tls: for an ``https`` member.
    :param timeout: seconds each call may take if it names none, connecting included.
    """

    def __init__(self, address: str, *, tls: TLS | None = None, timeout: float = DEFAULT_TIMEOUT) -> None:
        import grpc  # as protobuf below: some 50 ms and 15 MiB, which only those pay who ask a member

        self.address = address.removeprefix("http://").removeprefix("https://").rstrip("/")
        self._timeout = timeout
        self._rpc_error = grpc.RpcError
        self._channel: grpc.Channel
        if tls is None:
            self._channel = grpc.insecure_channel(self.address, options=_OPTIONS)
        else:
            credentials = grpc.ssl_channel_credentials(tls.ca, tls.key, tls.certificate)
            self._channel = grpc.secure_channel(self.address, credentials, options=_OPTIONS)

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
            is_learner=answer.is_learner,
            errors=tuple(answer.errors),
        )

    def member_list(self, *, linearizable: bool = True, timeout: float | None = None) -> MemberList:
        """The cluster's members.

        :param linearizable: answered through the leader, hence true now and impossible without a quorum. Do not
            ask a learner: etcd's refuse.
        """
        from membership.xline.proto import engine_pb2 as messages

        answer = self._call(
            "/etcdserverpb.Cluster/MemberList",
            messages.MemberListRequest(linearizable=linearizable),
            messages.MemberListResponse,
            timeout,
        )
        members = [
            ListedMember(
                id=member.id,
                name=member.name,
                peer_urls=tuple(sorted(member.peer_urls)),
                client_urls=tuple(sorted(member.client_urls)),
                is_learner=member.is_learner,
            )
            for member in answer.members
        ]
        members.sort(key=lambda member: member.id)
        return MemberList(answer.header.cluster_id, answer.header.member_id, tuple(members))

    def close(self) -> None:
        """Ends the connection; calls under way fail."""
        self._channel.close()

    def __enter__(self) -> EngineClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _call(self, method: str, request: _Message, answer: type[Answer], timeout: float | None) -> Answer:
        call = self._channel.unary_unary(
            method,
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=answer.FromString,  # type: ignore[attr-defined]  # a classmethod of every message
        )
        try:
            return cast("Answer", call(request, timeout=self._timeout if timeout is None else timeout))
        except self._rpc_error as error:
            raise from_grpc(self.address, method.rpartition("/")[2], error) from None
