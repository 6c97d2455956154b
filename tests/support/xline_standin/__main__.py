"""``python -m tests.support.xline_standin``: one member."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc

from tests.support.xline_standin.flags import Flags, address, parse
from tests.support.xline_standin.service import FETCH_CLUSTER, Services
from tests.support.xline_standin.store import Refusal, Store, member_id

_TICK = 0.1  # seconds
_FETCH = 2.0  # seconds that the others have to answer a new member
_PUBLISH = 10.0  # seconds in which the name is told, or never
_PANIC = 101  # exit status of a panic in Rust


def main() -> int:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # as for process 1 of a container, which handles SIGINT alone
    interrupted = threading.Event()
    signal.signal(signal.SIGINT, lambda *_: os._exit(130) if interrupted.is_set() else interrupted.set())
    if not sys.argv[1:]:
        print("Error: configuration files are not for this stand-in: give flags", file=sys.stderr)
        return 1
    flags = parse(sys.argv[1:])
    path, own = _identity(flags)
    store = Store(path)
    servers = _serve(flags, Services(store, own))
    print(f"serving as member {own:x} of {path.stem}", flush=True)
    threading.Thread(target=_publish, args=(flags, store, own, interrupted), daemon=True).start()
    removed = _live(store, own, interrupted)
    for server in servers:
        server.stop(0.2).wait()
    if removed:
        print("removed from the cluster: ports closed, waiting for SIGINT", flush=True)
        interrupted.wait()
    else:
        store.leave(own)
    return 0


def _live(store: Store, own: int, interrupted: threading.Event) -> bool:
    """Until SIGINT, or its own removal: True."""
    while not interrupted.wait(_TICK):
        if not store.tick(own):
            return True
        if store.panics(own):
            print("thread 'tokio-runtime-worker' panicked: internal error: entered unreachable code", file=sys.stderr)
            sys.stderr.flush()
            os._exit(_PANIC)
    return False


# -- who it is


def _identity(flags: Flags) -> tuple[Path, int]:
    """The cluster's store and the own id: persisted, or found out now and persisted then."""
    record = flags.data_dir / "curp" / "cluster.json"
    with contextlib.suppress(FileNotFoundError):
        known = json.loads(record.read_text())
        return Path(known["store"]), int(known["id"])
    path, own = _join(flags) if flags.existing else _bootstrap(flags)
    record.parent.mkdir(parents=True, exist_ok=True)
    new = record.with_suffix(".new")
    new.write_text(json.dumps({"store": str(path), "id": own}))
    new.replace(record)
    (record.parent / "CURRENT").write_text("MANIFEST-000001\n")  # RocksDB's: by it a database is known
    return path, own


def _bootstrap(flags: Flags) -> tuple[Path, int]:
    """All members know their ids from the arguments alone, and so which cluster they make together."""
    members = list(flags.members.items())
    name = f"{member_id([url for _, peers in members for url in peers]):x}"
    folder = Path(os.environ["STANDIN_STATE"])
    with _locked(folder / f"{name}.lock"):
        current = folder / f"{name}.current"
        path = Path(current.read_text()) if current.exists() else None
        if path is None or (Store(path).established and not any(member.alive for member in Store(path).members())):
            path = folder / f"{name}-{uuid.uuid4().hex[:8]}.db"  # all have lost everything: it is another cluster
            Store(path).bootstrap(members)
            current.write_text(str(path))
    return path, member_id(flags.members[flags.name])


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _join(flags: Flags) -> tuple[Path, int]:
    """Ask the others, each once, and find itself by its URLs' text."""
    own = sorted(flags.peer_advertise)
    others = [url for name, urls in flags.members.items() if name != flags.name for url in urls]
    for url in others:
        with _channel(flags, address(url)) as channel, contextlib.suppress(grpc.RpcError):
            described = json.loads(channel.unary_unary(FETCH_CLUSTER, bytes, bytes)(b"", timeout=_FETCH))
            for number, peers in described["members"]:
                if sorted(peers) == own:
                    return Path(described["store"]), number
            print(f"thread 'main' panicked: self node {own} not found in cluster", file=sys.stderr)
            sys.exit(_PANIC)
    print("Error: failed to fetch the cluster from its members", file=sys.stderr)
    sys.exit(1)


def _publish(flags: Flags, store: Store, own: int, interrupted: threading.Event) -> None:
    if os.environ.get("STANDIN_PUBLISHES") == "no":
        return
    deadline = time.monotonic() + _PUBLISH
    while not interrupted.wait(_TICK):
        try:
            store.publish(own, flags.name, flags.client_advertise)
            return
        except Refusal as refusal:
            if time.monotonic() > deadline:
                print(f"WARN publish name to cluster failed: {refusal}", flush=True)
                return


# -- its ports


def _serve(flags: Flags, services: Services) -> list[grpc.Server]:
    servers = []
    for urls, handlers in (
        (flags.client_listen, services.client_port()),
        (flags.peer_listen, services.peer_port()),
    ):
        server = grpc.server(ThreadPoolExecutor(8), options=(("grpc.so_reuseport", 0),))
        server.add_generic_rpc_handlers(handlers)
        for url in urls:
            _listen(flags, server, address(url))
        server.start()
        servers.append(server)
    return servers


def _listen(flags: Flags, server: grpc.Server, at: str) -> None:
    authority, certificate, key = (Path(path).read_bytes() if path else None for path in flags.tls)
    if certificate is None or key is None:
        server.add_insecure_port(at)
        return
    credentials = grpc.ssl_server_credentials([(key, certificate)], authority, require_client_auth=bool(authority))
    server.add_secure_port(at, credentials)


def _channel(flags: Flags, to: str) -> grpc.Channel:
    authority, certificate, key = (Path(path).read_bytes() if path else None for path in flags.dial)
    options = (("grpc.enable_http_proxy", 0),)
    if authority is None and certificate is None:
        return grpc.insecure_channel(to, options=options)
    return grpc.secure_channel(to, grpc.ssl_channel_credentials(authority, key, certificate), options=options)


if __name__ == "__main__":
    sys.exit(main())
