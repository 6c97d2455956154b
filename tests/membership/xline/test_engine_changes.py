"""What changes a cluster, on real etcd servers: members, leadership, alarms; and snapshots, users and certificates."""

from __future__ import annotations

import hashlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import pytest

from membership.xline.client import TLS, Alarm, Credentials, EngineClient, SnapshotChunk
from membership.xline.errors import (
    AlreadyExists,
    BadTransferee,
    Denied,
    EngineError,
    Failed,
    LearnerCannot,
    LearnerNotReady,
    NotEnoughStarted,
    NotFound,
    NotLeader,
    NotLearner,
    Timeout,
    TooManyLearners,
    Unavailable,
    Unhealthy,
)
from membership.xline.model import Start
from membership.xline.proto import engine_pb2 as messages
from runtime.tls.certs import Authority
from tests.support.etcd_files import FileServer
from tests.support.etcd_keys import etcdctl, fill
from tests.support.loopback import own_address
from tests.support.recorder import hash_at
from tests.support.waiting import eventually


class Cluster:
    """``count`` servers that run as one cluster, and more that may join."""

    def __init__(self, folder: Path, count: int, *flags: str) -> None:
        self.folder = folder
        self.flags = flags
        self.servers = [FileServer(f"m{number}", folder, *flags) for number in range(count)]
        entries = tuple(server.entry for server in self.servers)
        for server in self.servers:
            server.start(Start("bootstrap", entries))
        for server in self.servers:
            server.wait_for_leader()

    def another(self, name: str) -> FileServer:
        self.servers.append(FileServer(name, self.folder, *self.flags))
        return self.servers[-1]

    def leader(self) -> FileServer:
        def look() -> FileServer | None:
            for server in self.servers:
                try:
                    with server.client(1.0) as client:
                        if client.status().is_leader:
                            return server
                except EngineError:
                    continue
            return None

        return eventually(look, "a leader", 60.0)

    def close(self) -> None:
        for server in self.servers:
            server.close()


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Cluster]]:
    clusters: list[Cluster] = []

    def one(count: int, *flags: str) -> Cluster:
        clusters.append(Cluster(tmp_path, count, *flags))
        return clusters[-1]

    yield one
    for cluster in clusters:
        cluster.close()


def _refusal(change: Callable[[], Any]) -> EngineError:
    """What a change is refused with. etcd drops one that follows too closely on another, and never answers."""

    def attempt() -> EngineError | None:
        try:
            change()
        except EngineError as error:
            return None if error.ambiguous else error
        raise AssertionError("it was not refused")

    return eventually(attempt, "an answer", 60.0)


def _once_connected(change: Callable[[], Any]) -> Any:
    """etcd changes its members only once all have been connected for five seconds; and see :func:`_refusal`."""

    def attempt() -> Any:
        try:
            return (change(),)
        except EngineError as error:
            if isinstance(error, Unhealthy) or error.ambiguous:
                return None
            raise

    return eventually(attempt, "members connected to each other", 60.0)[0]


@pytest.mark.etcd
def test_a_member_is_added_promoted_led_by_and_removed(make: Callable[..., Cluster]) -> None:
    cluster = make(1)
    first, second = cluster.servers[0], cluster.another("m1")
    with first.client() as client:
        added, listed = client.member_add([second.peer_url])
        assert (added.name, added.peer_urls, added.is_learner) == ("", (second.peer_url,), True)
        assert listed.get(added.id) == added
        assert client.member_list() == listed

        # What must not be done is refused by name, and has had no effect.
        own = client.status().member_id
        refusals: list[tuple[type[EngineError], Callable[[], Any]]] = [
            (AlreadyExists, lambda: client.member_add([second.peer_url], timeout=1.0)),
            (TooManyLearners, lambda: client.member_add(["http://127.0.0.1:1"], timeout=1.0)),
            (LearnerNotReady, lambda: client.member_promote(added.id, timeout=1.0)),
            (NotFound, lambda: client.member_promote(1, timeout=1.0)),
            (NotLearner, lambda: client.member_promote(own, timeout=1.0)),
            (NotFound, lambda: client.member_remove(1, timeout=1.0)),
            (BadTransferee, lambda: client.move_leader(1)),
        ]
        for kind, change in refusals:
            refusal = _refusal(change)
            assert type(refusal) is kind
            assert not refusal.ambiguous
        assert client.member_list() == listed

        members = ((first.name, first.peer_url), second.entry)
        second.start(Start("join", members))
        second.wait_for_leader()
        with second.client() as learner:
            assert learner.status().is_learner
            with pytest.raises(LearnerCannot):
                learner.member_list()

        def promoted() -> bool:
            try:
                return any(m.id == added.id and m.voter for m in client.member_promote(added.id).members)
            except LearnerNotReady:
                return False

        eventually(promoted, "the learner having caught up", 60.0)

        client.move_leader(added.id)
        eventually(lambda: client.status().leader_id == added.id, "the new leader", 60.0)
        with pytest.raises(NotLeader):
            client.move_leader(client.status().member_id)
        left = _once_connected(lambda: client.member_remove(added.id, timeout=5.0))
        assert [member.id for member in left.members] == [client.status().member_id]
        assert type(_refusal(lambda: client.member_remove(added.id, timeout=1.0))) is NotFound


@pytest.mark.etcd
def test_the_servers_own_guards_are_told_apart(make: Callable[..., Cluster]) -> None:
    cluster = make(3)
    leader = cluster.leader()
    followers = [server for server in cluster.servers if server is not leader]
    with leader.client() as client:
        ids = {member.name: member.id for member in client.member_list().members}
    followers[0].stop(signal.SIGKILL)
    with leader.client() as client:

        def refused() -> EngineError | None:
            try:
                client.member_remove(ids[followers[1].name])
            except (Unhealthy, NotEnoughStarted) as error:
                return error
            return None

        refusal = refused()
        assert refusal is not None
        assert refusal.retryable
        assert not refusal.ambiguous
        assert len(client.member_list().members) == 3


@pytest.mark.etcd
def test_a_change_without_a_majority_may_have_taken_effect(make: Callable[..., Cluster]) -> None:
    cluster = make(3)
    leader = cluster.leader()
    with leader.client() as client:
        ids = {member.name: member.id for member in client.member_list().members}
        for server in cluster.servers:
            if server is not leader:
                server.stop(signal.SIGKILL)
        down = next(id for name, id in ids.items() if name != leader.name)
        with pytest.raises((Timeout, Unavailable)) as lost:
            client.member_remove(down, timeout=1.0)
        assert lost.value.retryable
        assert lost.value.ambiguous or isinstance(lost.value, Unhealthy)


@pytest.mark.etcd
def test_alarms_are_listed_and_taken_back(make: Callable[..., Cluster]) -> None:
    server = make(1, f"--quota-backend-bytes={2 << 20}").servers[0]
    with server.client() as client:
        assert client.alarms() == ()
        for _ in range(4):
            etcdctl(server.address, "put", "big", stdin=b"x" * (1 << 20), check=False)
        own = client.status()
        alarm = Alarm(own.member_id, "NOSPACE")
        assert client.alarms() == (alarm,)
        assert own.alarms == ("NOSPACE",)
        client.disarm(alarm)
        client.disarm(alarm)
        assert client.alarms() == ()
        assert client.status().alarms == ()
        with pytest.raises(ValueError, match="7"):
            client.disarm(Alarm(own.member_id, "7"))


@pytest.mark.etcd
def test_a_defragmentation_gives_back_what_is_free_and_keeps_the_rest(make: Callable[..., Cluster]) -> None:
    server = make(1).servers[0]
    address = f"{server.address}:2379"
    fill(server.address, 4)
    with server.client() as client:
        before = client.status()
        digest = hash_at(address, before.revision)
        client.defragment(timeout=60.0)
        assert client.status().db_size < before.db_size
    assert hash_at(address, before.revision) == digest


# ---- snapshots


@pytest.mark.etcd
def test_a_snapshot_ends_with_the_digest_of_its_content(make: Callable[..., Cluster]) -> None:
    server = make(1).servers[0]
    etcdctl(server.address, "put", "big", stdin=b"x" * 200_000)
    with server.client() as client:
        pieces = list(client.snapshot(idle_timeout=30.0))
        size = client.status().db_size
    content = b"".join(piece.blob for piece in pieces)
    assert len(content) == size + 32
    assert content[-32:] == hashlib.sha256(content[:-32]).digest()
    total = 0
    for piece in pieces[:-1]:
        total += len(piece.blob)
        assert piece.remaining == size - total


class _Snapshots:
    """A server that sends so many pieces, and then whatever the test lets it do."""

    def __init__(self, pieces: int, then: Callable[[grpc.ServicerContext], None]) -> None:
        self.ended = threading.Event()

        def snapshot(_request: object, context: grpc.ServicerContext) -> Iterator[messages.SnapshotResponse]:
            context.add_callback(self.ended.set)
            for number in range(pieces):
                yield messages.SnapshotResponse(remaining_bytes=pieces - number, blob=b"x")
            then(context)

        handler = grpc.unary_stream_rpc_method_handler(
            snapshot,
            request_deserializer=messages.SnapshotRequest.FromString,
            response_serializer=lambda message: message.SerializeToString(),
        )
        self._pool = futures.ThreadPoolExecutor(2)
        self._server = grpc.server(self._pool)
        methods = grpc.method_handlers_generic_handler("etcdserverpb.Maintenance", {"Snapshot": handler})
        self._server.add_generic_rpc_handlers((methods,))
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()

    def close(self) -> None:
        self._server.stop(0).wait()
        self._pool.shutdown()


def test_a_snapshot_that_stalls_is_given_up_and_one_that_is_read_slowly_is_not() -> None:
    ended = threading.Event()

    def stall(context: grpc.ServicerContext) -> None:
        context.add_callback(ended.set)
        ended.wait(60)

    server = _Snapshots(2, stall)
    try:
        with EngineClient(f"127.0.0.1:{server.port}") as client:
            pieces = client.snapshot(idle_timeout=0.5)
            assert next(pieces) == SnapshotChunk(b"x", 2)
            threading.Event().wait(1.0)  # longer than a piece may take to come: it is ours to be slow
            assert next(pieces) == SnapshotChunk(b"x", 1)
            with pytest.raises(Timeout) as late:
                next(pieces)
            assert late.value.retryable
    finally:
        server.close()


def test_a_snapshot_that_nobody_reads_on_ends_at_the_server_too() -> None:
    server = _Snapshots(1000, lambda _context: None)
    try:
        with EngineClient(f"127.0.0.1:{server.port}") as client:
            pieces = client.snapshot(idle_timeout=30.0)
            next(pieces)
            pieces.close()
            assert server.ended.wait(60)
    finally:
        server.close()


def test_a_snapshot_that_breaks_off_says_so() -> None:
    server = _Snapshots(1, lambda context: context.abort(grpc.StatusCode.UNAVAILABLE, "going down"))
    try:
        with EngineClient(f"127.0.0.1:{server.port}") as client, pytest.raises(Unavailable, match="going down"):
            list(client.snapshot(idle_timeout=30.0))
    finally:
        server.close()


def test_a_snapshot_that_is_refused_halfway_is_not_begun_again() -> None:
    """Whoever reads it has the first half already."""
    server = _Snapshots(1, lambda context: context.abort(grpc.StatusCode.UNAUTHENTICATED, "invalid auth token"))
    try:
        root = Credentials("root", "secret")
        with EngineClient(f"127.0.0.1:{server.port}", credentials=root) as client, pytest.raises(Denied, match="token"):
            list(client.snapshot(idle_timeout=30.0))
    finally:
        server.close()


def test_an_addition_whose_answer_names_nobody_may_have_taken_effect() -> None:
    """Xline's, when the new member is gone again before it answers."""
    handler = grpc.unary_unary_rpc_method_handler(
        lambda _request, _context: messages.MemberAddResponse(),
        request_deserializer=messages.MemberAddRequest.FromString,
        response_serializer=lambda message: message.SerializeToString(),
    )
    with futures.ThreadPoolExecutor(1) as pool:
        server = grpc.server(pool)
        methods = grpc.method_handlers_generic_handler("etcdserverpb.Cluster", {"MemberAdd": handler})
        server.add_generic_rpc_handlers((methods,))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            with EngineClient(f"127.0.0.1:{port}") as client, pytest.raises(Failed) as unclear:
                client.member_add(["http://x:2380"])
            assert unclear.value.ambiguous
        finally:
            server.stop(0).wait()


# ---- users


@pytest.mark.etcd
def test_users_prove_who_they_are_where_they_have_to_and_again_when_their_token_counts_no_more(
    make: Callable[..., Cluster],
) -> None:
    server = make(1).servers[0]
    with EngineClient(f"{server.address}:2379", credentials=Credentials("root", "secret"), timeout=5.0) as client:
        client.defragment(timeout=30.0)  # nobody asks yet
        for command in (["user", "add", "root:secret"], ["user", "grant-role", "root", "root"], ["auth", "enable"]):
            etcdctl(server.address, *command)
        with server.client() as stranger:
            for call in (lambda: stranger.member_remove(1), lambda: stranger.defragment(timeout=5.0)):
                with pytest.raises(Denied):
                    call()
            with pytest.raises(Denied):
                list(stranger.snapshot(idle_timeout=5.0))
            assert stranger.status().is_leader
        client.defragment(timeout=30.0)
        with pytest.raises(NotFound):
            client.member_remove(1)
        for forget in range(2):
            client._token = "run-out.7"
            if forget:
                client.defragment(timeout=30.0)
            else:
                assert b"".join(piece.blob for piece in client.snapshot(idle_timeout=30.0))
            assert client._token != "run-out.7"
    for wrong in (Credentials("root", "wrong"), Credentials("nobody", "secret")):
        with EngineClient(f"{server.address}:2379", credentials=wrong) as client, pytest.raises(Denied):
            client.defragment(timeout=5.0)


def test_a_call_that_needs_a_token_first_has_one_deadline_for_all_of_it() -> None:
    """The lock under which members are changed lasts for one."""
    left: list[float] = []

    def add(_request: object, context: grpc.ServicerContext) -> messages.MemberAddResponse:
        left.append(context.time_remaining())
        if "token" not in dict(context.invocation_metadata()):
            time.sleep(1.2)
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "etcdserver: user name is empty")
        return messages.MemberAddResponse(member=messages.Member(id=1))

    def authenticate(_request: object, context: grpc.ServicerContext) -> messages.AuthenticateResponse:
        left.append(context.time_remaining())
        time.sleep(1.2)
        return messages.AuthenticateResponse(token="t")

    handlers: dict[str, dict[str, tuple[Callable[..., Any], Any]]] = {
        "Cluster": {"MemberAdd": (add, messages.MemberAddRequest)},
        "Auth": {"Authenticate": (authenticate, messages.AuthenticateRequest)},
    }
    with futures.ThreadPoolExecutor(1) as pool:
        server = grpc.server(pool)
        for service, calls in handlers.items():
            methods = {
                name: grpc.unary_unary_rpc_method_handler(
                    work,
                    request_deserializer=request.FromString,
                    response_serializer=lambda message: message.SerializeToString(),
                )
                for name, (work, request) in calls.items()
            }
            server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(f"etcdserverpb.{service}", methods),))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            with EngineClient(f"127.0.0.1:{port}", credentials=Credentials("root", "secret")) as client:
                added, _ = client.member_add(["http://x:2380"], timeout=30.0)
        finally:
            server.stop(0).wait()
    assert added.id == 1
    # grpc rounds up what it tells the server, to whole seconds here.
    assert [seconds < 30.5 - number for number, seconds in enumerate(left)] == [True, True, True]


# ---- certificates


@pytest.mark.etcd
def test_certificates_are_checked_by_the_name_that_is_asked_for(tmp_path: Path) -> None:
    authority, other = Authority.create(), Authority.create()
    address = own_address()
    pair = authority.serving(["m0.c-svc"])
    for name, content in (("ca", authority.certificate), ("crt", pair.certificate), ("key", pair.key)):
        (tmp_path / name).write_bytes(content)
    server = FileServer(
        "m0",
        tmp_path,
        f"--listen-client-urls=https://{address}:2379",
        f"--advertise-client-urls=https://{address}:2379",
        f"--cert-file={tmp_path / 'crt'}",
        f"--key-file={tmp_path / 'key'}",
        f"--trusted-ca-file={tmp_path / 'ca'}",
        "--client-cert-auth",
        "--log-level=error",
    )
    try:
        server.start(Start("bootstrap", (server.entry,)))
        trusted, ours = authority.certificate, authority.client("agent")
        good = TLS(trusted, ours.certificate, ours.key, "m0.c-svc")

        def answered() -> bool:
            try:
                with EngineClient(f"https://{address}:2379", tls=good, timeout=2.0) as client:
                    return client.status().is_leader
            except EngineError:
                return False

        eventually(answered, "the server", 60.0)
        bad = [
            TLS(trusted, ours.certificate, ours.key),  # the address is not in the certificate
            TLS(trusted, ours.certificate, ours.key, "m1.c-svc"),
            TLS(other.certificate, ours.certificate, ours.key, "m0.c-svc"),
            TLS(trusted, server_name="m0.c-svc"),
            None,
        ]
        for tls in bad:
            with EngineClient(f"{address}:2379", tls=tls, timeout=2.0) as client, pytest.raises(EngineError):
                client.status()
    finally:
        server.close()
