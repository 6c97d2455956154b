"""Clients that write a numbered sequence and read it all the time, over real gRPC, and a verdict on what they saw."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from types import TracebackType
from typing import Self, TypeAlias, TypeVar

import grpc

from membership.xline.client import EngineClient
from tests.support import kv_pb2 as kv
from tests.support.history import History, Operation, longest_gap
from tests.support.linearizability import check_log, check_register
from tests.support.waiting import eventually

_TIMEOUT = 1.0  # seconds that one call may take; what is not answered by then may be done or not
_PAUSE = 0.01  # seconds between two calls of one client
_AFTER_ERROR = 0.02
_PAGE = 1000
_REGISTER = b"register"
_LOG = b"log/"
_OPTIONS = (("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1))
Message = TypeVar("Message")


@dataclass(frozen=True, slots=True)
class Verdict:
    """:ivar unavailable: longest time without an acknowledged write, in milliseconds."""

    writes: int
    reads: int
    unanswered: int
    unavailable: float


class Recorder:
    """One writer and some readers, from ``start`` to ``stop``; a context manager.

    The writer sets the register to 1, 2, 3, ... and puts a log entry for each number in the same transaction. It keeps
    to an address until that fails, as a client does. Each reader asks another member every time.

    :param addresses: ``host:port`` of whom may be asked now; called often, from several threads.
    """

    def __init__(self, addresses: Callable[[], Sequence[str]], *, readers: int = 2) -> None:
        self.history = History()
        self._addresses = addresses
        self._stop = threading.Event()
        self.failures: list[tuple[float, str, str]] = []  # of writes: when called, address, gRPC code
        self._began = self._ended = 0.0
        self._failure: BaseException | None = None
        bodies = [self._write, *(lambda name=f"reader-{n}": self._read(name) for n in range(readers))]
        self._threads = [
            threading.Thread(target=self._guarded, args=(body,), name=f"recorder-{n}") for n, body in enumerate(bodies)
        ]

    def __enter__(self) -> Self:
        self._began = time.monotonic()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        self._ended = self._ended or time.monotonic()
        self._stop.set()
        for thread in self._threads:
            thread.join()

    @property
    def stopped(self) -> bool:
        return self._stop.is_set()

    @property
    def acknowledged(self) -> int:
        return len(self.history.acknowledged_writes())

    def wait_progress(self, writes: int = 5, timeout: float = 60.0) -> None:
        """Until this many more writes were acknowledged."""
        before = self.acknowledged
        eventually(lambda: self.acknowledged >= before + writes, f"{writes} more acknowledged writes", timeout)

    def verdict(self) -> Verdict:
        """After :meth:`stop`. Reads the log from the cluster, which must answer.

        :raises AssertionError: an acknowledged write is lost or out of order, or a read was not consistent.
        """
        assert self._stop.is_set(), "stop the recorder first"
        assert self._failure is None, f"the recorder broke: {self._failure!r}"
        writes = self.history.acknowledged_writes()
        check_log([write.value for write in writes if write.value is not None], self._stored())
        check_register(self.history.operations)
        gap = longest_gap([write.returned for write in writes], self._began, self._ended)
        reads = sum(operation.kind == "read" for operation in self.history.operations)
        return Verdict(len(writes), reads, len(self.failures), gap * 1000)

    # -- the clients

    def _guarded(self, body: Callable[[], None]) -> None:
        try:
            body()
        except BaseException as error:
            self._failure = error

    def _write(self) -> None:
        turn = 0
        connection: _Connection | None = None
        for number in count(1):
            if self._stop.wait(_PAUSE):
                break
            if connection is None:
                connection = self._connect(turn)
                turn += 1
            entry = _LOG + b"%010d" % number
            puts = [kv.PutRequest(key=key, value=b"%d" % number) for key in (_REGISTER, entry)]
            request = kv.TxnRequest(success=[kv.RequestOp(request_put=put) for put in puts])
            called = time.monotonic()
            try:
                connection.call("Txn", request, kv.TxnResponse)
            except grpc.RpcError as error:
                self.failures.append((called, connection.address, str(error.code().name)))
                self.history.add(Operation("writer", "write", number, called))
                connection.close()
                connection = None
                self._stop.wait(_AFTER_ERROR)
            else:
                self.history.add(Operation("writer", "write", number, called, time.monotonic()))
        if connection is not None:
            connection.close()

    def _read(self, name: str) -> None:
        connections: dict[str, _Connection] = {}
        for turn in count():
            if self._stop.wait(_PAUSE):
                break
            address = self._pick(turn)
            connection = connections.get(address) or connections.setdefault(address, _Connection(address))
            called = time.monotonic()
            try:
                answer = connection.call("Range", kv.RangeRequest(key=_REGISTER), kv.RangeResponse)
            except grpc.RpcError:
                connections.pop(address).close()
                self._stop.wait(_AFTER_ERROR)
                continue
            value = int(answer.kvs[0].value) if answer.kvs else None
            self.history.add(Operation(name, "read", value, called, time.monotonic()))
        for connection in connections.values():
            connection.close()

    def _pick(self, turn: int) -> str:
        addresses = self._addresses()
        return addresses[turn % len(addresses)]

    def _connect(self, turn: int) -> _Connection:
        return _Connection(self._pick(turn))

    # -- what the cluster holds at the end

    def _stored(self) -> dict[int, int]:
        def look() -> dict[int, int] | None:
            for address in self._addresses():
                connection = _Connection(address, timeout=10.0)
                try:
                    return _log_of(connection)
                except grpc.RpcError:
                    continue
                finally:
                    connection.close()
            return None

        return eventually(look, "a member that tells what is stored", 60.0)


def _log_of(connection: _Connection) -> dict[int, int]:
    """Number -> revision, of all log entries."""
    found: dict[int, int] = {}
    start = _LOG
    while True:
        request = kv.RangeRequest(key=start, range_end=b"log0", limit=_PAGE)
        answer = connection.call("Range", request, kv.RangeResponse)
        found |= {int(entry.value): entry.mod_revision for entry in answer.kvs}
        if not answer.more:
            return found
        start = answer.kvs[-1].key + b"\0"


_Request: TypeAlias = kv.TxnRequest | kv.RangeRequest | kv.HashKVRequest


class _Connection:
    def __init__(self, address: str, timeout: float = _TIMEOUT) -> None:
        self.address = address
        self._channel = grpc.insecure_channel(address, options=_OPTIONS)
        self._timeout = timeout

    def call(self, method: str, request: _Request, answer: type[Message], service: str = "KV") -> Message:
        """:raises grpc.RpcError:"""
        invoke = self._channel.unary_unary(
            f"/etcdserverpb.{service}/{method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=answer.FromString,  # type: ignore[attr-defined]
        )
        done: Message = invoke(request, timeout=self._timeout)
        return done

    def close(self) -> None:
        self._channel.close()


def put(address: str, key: bytes, value: bytes) -> None:
    """:raises grpc.RpcError: it was not acknowledged."""
    connection = _Connection(address)
    try:
        request = kv.RequestOp(request_put=kv.PutRequest(key=key, value=value))
        connection.call("Txn", kv.TxnRequest(success=[request]), kv.TxnResponse)
    finally:
        connection.close()


def same_data(addresses: Sequence[str]) -> bool:
    """Whether these members hold the same keys and values at the newest revision that all of them have."""
    revisions = []
    for address in addresses:
        with EngineClient(address, timeout=5.0) as client:
            revisions.append(client.status().revision)
    return len({hash_at(address, min(revisions)) for address in addresses}) == 1


def hash_at(address: str, revision: int) -> int:
    """Of the member's own keys and values up to that revision. Members that have forgotten as much agree on it.

    :raises grpc.RpcError: it was not told.
    """
    connection = _Connection(address, timeout=5.0)
    try:
        request = kv.HashKVRequest(revision=revision)
        return connection.call("HashKV", request, kv.HashKVResponse, "Maintenance").hash
    finally:
        connection.close()
