"""The gRPC services, on the store."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import grpc
from google.protobuf.message import Message

from membership.xline.proto import engine_pb2 as engine
from tests.support import kv_pb2 as kv
from tests.support.xline_standin.store import Entry, Member, Refusal, Store

VERSION = "0.7.0"
FETCH_CLUSTER = "/commandpb.Protocol/FetchCluster"
_SERVING = b"\x08\x01"  # grpc.health.v1.HealthCheckResponse{status: SERVING}
_PAGE = 512
_PIECE = 64 * 1024
Request = TypeVar("Request", bound=Message)


class Services:
    """What one member answers."""

    def __init__(self, store: Store, own: int) -> None:
        self._store = store
        self._own = own

    def client_port(self) -> list[grpc.GenericRpcHandler[Any, Any]]:
        unary = _unary
        cluster = {
            "MemberAdd": unary(engine.MemberAddRequest, self._add),
            "MemberRemove": unary(engine.MemberRemoveRequest, self._remove),
            "MemberPromote": unary(engine.MemberPromoteRequest, self._promote),
            "MemberList": unary(engine.MemberListRequest, self._list),
        }
        maintenance = {
            "Status": unary(engine.StatusRequest, self._status),
            "MoveLeader": unary(engine.MoveLeaderRequest, self._move_leader),
            "HashKV": unary(kv.HashKVRequest, self._hash),
            "Alarm": unary(engine.AlarmRequest, self._alarm),
            "Snapshot": grpc.unary_stream_rpc_method_handler(
                self._snapshot, engine.SnapshotRequest.FromString, lambda message: message.SerializeToString()
            ),
        }
        keys = {
            "Range": unary(kv.RangeRequest, self._range),
            "Put": unary(kv.PutRequest, self._put),
            "Txn": unary(kv.TxnRequest, self._txn),
        }
        health = {"Check": grpc.unary_unary_rpc_method_handler(lambda _request, _context: _SERVING)}
        return [
            grpc.method_handlers_generic_handler(name, methods)
            for name, methods in (
                ("etcdserverpb.Cluster", cluster),
                ("etcdserverpb.Maintenance", maintenance),
                ("etcdserverpb.KV", keys),
                ("grpc.health.v1.Health", health),
            )
        ]

    def peer_port(self) -> list[grpc.GenericRpcHandler[Any, Any]]:
        """A new member asks the others whom they know; the store's place is part of what it needs here."""
        service, _, method = FETCH_CLUSTER[1:].partition("/")
        fetch = grpc.unary_unary_rpc_method_handler(lambda _request, _context: self.describe())
        return [grpc.method_handlers_generic_handler(service, {method: fetch})]

    def describe(self) -> bytes:
        members = [(member.id, list(member.peers)) for member in self._store.members()]
        return json.dumps({"store": str(self._store.path), "members": members}).encode()

    # -- Cluster

    def _add(self, request: engine.MemberAddRequest) -> Message:
        new = self._store.add(request.peer_urls, learner=request.is_learner)
        members = self._store.members()
        added = next(_listed(member) for member in members if member.id == new)
        return engine.MemberAddResponse(header=self._header(), member=added, members=map(_listed, members))

    def _remove(self, request: engine.MemberRemoveRequest) -> Message:
        self._store.remove(request.id)
        return self._members()

    def _promote(self, request: engine.MemberPromoteRequest) -> Message:
        self._store.promote(request.id)
        return self._members()

    def _list(self, request: engine.MemberListRequest) -> Message:
        return self._members(linearizable=request.linearizable)

    def _members(self, *, linearizable: bool = False) -> Message:
        members = self._store.members(linearizable=linearizable)
        return engine.MemberListResponse(header=self._header(), members=map(_listed, members))

    # -- Maintenance

    def _status(self, _request: engine.StatusRequest) -> Message:
        _, leader, term, index, _ = self._store.look()
        me = next((member for member in self._store.members() if member.id == self._own), None)
        size = self._store.path.stat().st_size
        return engine.StatusResponse(
            header=self._header(),
            version=VERSION,
            db_size=size,
            db_size_in_use=size,
            leader=leader,
            raft_index=index,
            raft_term=term,
            raft_applied_index=me.applied if me is not None else 0,
            is_learner=me is not None and me.learner,
            errors=[] if leader else ["etcdserver: no leader"],
        )

    def _move_leader(self, request: engine.MoveLeaderRequest) -> Message:
        self._store.move_leader(request.target_id)
        return engine.DoneResponse(header=self._header())

    def _hash(self, request: kv.HashKVRequest) -> Message:
        digest = hashlib.sha256()
        for entry in self._store.range(b"\0", b"\0", local=True):
            if not request.revision or entry.modified <= request.revision:
                digest.update(b"%d %d %b %b\n" % (entry.modified, entry.version, entry.key, entry.value))
        return kv.HashKVResponse(header=self._header(), hash=int.from_bytes(digest.digest()[:4], "big"))

    def _alarm(self, _request: engine.AlarmRequest) -> Message:
        return engine.AlarmResponse(header=self._header())

    def _snapshot(self, _request: engine.SnapshotRequest, _context: object) -> Iterator[Message]:
        """Pieces, each padded up to the next page (by a whole page where it ends at one), and last the digest of all
        that. ``remaining_bytes`` counts the bare content."""
        text = b"".join(b"%b\0%b\n" % (e.key, e.value) for e in self._store.range(b"\0", b"\0", local=True))
        digest, left = hashlib.sha256(), len(text)
        for start in range(0, len(text), _PIECE):
            piece = text[start : start + _PIECE]
            left -= len(piece)
            blob = piece + bytes(_PAGE - len(piece) % _PAGE)
            digest.update(blob)
            yield engine.SnapshotResponse(remaining_bytes=left, blob=blob)
        yield engine.SnapshotResponse(remaining_bytes=0, blob=digest.digest())

    # -- KV

    def _range(self, request: kv.RangeRequest) -> Message:
        entries = self._store.range(request.key, request.range_end, local=request.serializable)
        shown = entries[: request.limit] if request.limit else entries
        found = [_key_value(entry) for entry in shown]
        more = len(shown) < len(entries)
        return kv.RangeResponse(header=self._header(), kvs=found, more=more, count=len(entries))

    def _put(self, request: kv.PutRequest) -> Message:
        self._store.put([(request.key, request.value)])
        return kv.PutResponse(header=self._header())

    def _txn(self, request: kv.TxnRequest) -> Message:
        """Of unconditional puts."""
        if not all(operation.HasField("request_put") for operation in request.success):
            raise Refusal("UNIMPLEMENTED", "this server's transactions only put")
        puts = [operation.request_put for operation in request.success]
        self._store.put([(put.key, put.value) for put in puts])
        done = [kv.ResponseOp(response_put=kv.PutResponse()) for _ in puts]
        return kv.TxnResponse(header=self._header(), succeeded=True, responses=done)

    # -- parts

    def _header(self) -> engine.ResponseHeader:
        cluster, _, term, _, revision = self._store.look()
        return engine.ResponseHeader(cluster_id=cluster, member_id=self._own, revision=revision, raft_term=term)


def _listed(member: Member) -> engine.Member:
    return engine.Member(
        id=member.id,
        name=member.name,
        peer_urls=member.peers,
        client_urls=member.clients,
        is_learner=member.learner,
    )


def _key_value(entry: Entry) -> kv.KeyValue:
    return kv.KeyValue(
        key=entry.key,
        value=entry.value,
        create_revision=entry.created,
        mod_revision=entry.modified,
        version=entry.version,
    )


def _unary(request: type[Request], answer: Callable[[Request], Message]) -> grpc.RpcMethodHandler[Any, Any]:
    def handle(message: Request, context: grpc.ServicerContext) -> Message:
        try:
            return answer(message)
        except Refusal as refusal:
            context.abort(grpc.StatusCode[refusal.code], str(refusal))
            raise AssertionError("abort returns") from refusal

    return grpc.unary_unary_rpc_method_handler(handle, request.FromString, lambda message: message.SerializeToString())
