"""The operator together with a cluster of its own on this machine: ``--standalone``, and what ``--demo`` runs on."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import TextIO

import yaml

from runtime.client import ApiError, Client, ClientError
from runtime.logging import configure
from runtime.manager import Manager
from runtime.testing.apiserver import StatusError
from runtime.testing.localcluster import LocalCluster
from runtime.testing.nodes import MissingBinary, NodeInUse, NodeUnsupported, find_etcd
from runtime.testing.nodes.controllers import ADVANCED_STATEFULSET_CRD
from runtime.types import JSONObject

from .controller import build_manager
from .diagnosis import Diagnosis, short_of_room
from .options import Options

SAMPLE = Path(__file__).parent / "sample.yaml"
_MARKER = ".made-by-standalone"
_MEMBERS = 3  # that want room on the disk, where nothing else is known
_LOOK = 0.05  # seconds between looks whether the operator serves yet
_BEYOND_GRACE = 5.0  # seconds that the operator has to end after its own grace period

Say = Callable[[str], None]


class StandaloneError(Exception):
    """Why a cluster cannot be brought up here, and what to do about it."""


class Standalone:
    """A running local cluster with the operator on it. Made by :func:`standalone`.

    :param serves: the manager serves metrics.
    """

    def __init__(self, cluster: LocalCluster, manager: Manager, *, serves: bool) -> None:
        self.cluster = cluster
        self._serves = serves
        self.client: Client = cluster.client()
        self.diagnosis = Diagnosis(self.client, cluster.root)
        self._manager = manager
        self._error: Exception | None = None

    def operate(self, stop: threading.Event, ended: threading.Event) -> None:
        """Run the operator until ``stop`` is set; set ``ended`` if it ends by itself."""
        try:
            self._manager.run(stop)
        except Exception as error:
            self._error = error
        if not stop.is_set():
            ended.set()

    def status_url(self, interrupt: threading.Event) -> str | None:
        """Where its status page is, once it is served; None: there is none, or ``interrupt`` was set before."""
        while self._serves and self._manager.metrics_address is None and not interrupt.wait(_LOOK):
            pass
        return self._manager.status_url

    def check(self) -> None:
        """:raises StandaloneError: the operator has ended by itself; the message says why."""
        if self._error is not None:
            raise StandaloneError(f"the operator ended: {self._error}") from self._error

    def create(self, manifest: Path) -> list[JSONObject]:
        """Create every object of a YAML file; returns them as the server stored them.

        :raises StandaloneError: the file is no manifest, or the server refused it (the message names the field).
        """
        created = []
        try:
            documents = [d for d in yaml.safe_load_all(manifest.read_text()) if d]
        except yaml.YAMLError as error:
            raise StandaloneError(f"{manifest}: not YAML: {error}") from error
        for body in documents:
            if not isinstance(body, dict) or "kind" not in body or "apiVersion" not in body:
                raise StandaloneError(f"{manifest}: each document needs apiVersion and kind")
            found = self.client.discovery.resource_for(body["apiVersion"], body["kind"])
            if found is None:
                raise StandaloneError(f"{manifest}: the API server has no {body['kind']} in {body['apiVersion']}")
            namespace = (body.get("metadata") or {}).get("namespace", "default") if found.namespaced else None
            try:
                created.append(self.client.resource(found.gvr, namespace=namespace).create(body).to_dict())
            except ApiError as error:
                raise StandaloneError(f"{manifest}: {error}") from error
        return created


@contextlib.contextmanager
def standalone(options: Options, root: Path, say: Say, interrupt: threading.Event) -> Iterator[Standalone]:
    """Bring everything up, telling each step through ``say``, and take it down again at the end.

    :param interrupt: set if the operator ends by itself, so that nobody waits for what it will not do.
    :raises StandaloneError: something that is needed is missing or taken, or the operator ended by itself.
    """
    import crds

    manifests = sorted(Path(crds.__file__).parent.glob("*.yaml"))
    if options.kruise:
        manifests.append(ADVANCED_STATEFULSET_CRD)
    for line in short_of_room(root, _MEMBERS):
        say(f"warning      {line}")
    with contextlib.ExitStack() as stack:
        try:
            cluster = stack.enter_context(LocalCluster(root, port=options.standalone_port, manifests=manifests))
        except (OSError, NodeInUse, NodeUnsupported, StatusError, ImportError) as error:
            raise StandaloneError(f"cannot start a cluster on this machine: {error}") from error
        say(f"API server   {cluster.server.url}")
        say(f"resources    {', '.join(m.stem for m in manifests)}")
        local = Standalone(
            cluster, build_manager(cluster.client(), options), serves=options.metrics_bind_address != "0"
        )
        stop = threading.Event()
        operator = threading.Thread(target=local.operate, args=(stop, interrupt), name="operator")
        operator.start()
        say("operator     running")
        try:
            yield local
        finally:
            say("stopping ...")
            stop.set()
            operator.join(options.graceful_shutdown_timeout + _BEYOND_GRACE)
        local.check()


def run_standalone(options: Options) -> int:
    """``--standalone``: until SIGINT or SIGTERM. Returns the exit status."""
    from .view import watch

    try:
        if not options.no_sample and options.sample is None:
            find_etcd()  # before anything is started: it is the one thing that a fresh machine may lack
        with folder(options) as root, log_to(root / "operator.log", options), interrupted() as stop:
            with standalone(options, root, _say, stop) as local:
                _say(f"kubeconfig   {local.cluster.kubeconfig}")
                if (url := local.status_url(stop)) is not None:
                    _say(f"status page  {url}")
                _say(f"logs         {root / 'operator.log'} (operator), {root / 'node'} (Pods)")
                if not options.no_sample:
                    for obj in local.create(options.sample or SAMPLE):
                        _say(f"created      {obj['kind']} {obj['metadata']['namespace']}/{obj['metadata']['name']}")
                watch(local.client, stop, local.diagnosis.lines, kubeconfig=local.cluster.kubeconfig)
            _say("stopped; no process is left")
    except (StandaloneError, MissingBinary, ClientError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


@contextlib.contextmanager
def folder(options: Options) -> Iterator[Path]:
    """The folder to run in, locked and emptied of what an earlier run left there.

    :raises StandaloneError: somebody else runs in it, or it holds files that are not ours to remove.
    """
    if options.standalone_dir is None:
        with tempfile.TemporaryDirectory(prefix="xline-standalone-") as name:
            yield Path(name)
        return
    root = options.standalone_dir.absolute()
    root.mkdir(parents=True, exist_ok=True)
    names = {path.name for path in root.iterdir()}
    if names and _MARKER not in names:
        raise StandaloneError(f"--standalone-dir {root} holds files that no earlier run made; name an empty folder")
    with (root / _MARKER).open("a+") as marker:
        _lock(marker, root)
        for path in root.iterdir():
            if path.name != _MARKER:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        yield root


def _lock(marker: TextIO, root: Path) -> None:
    try:
        fcntl.flock(marker, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        marker.seek(0)
        raise StandaloneError(
            f"--standalone-dir {root} is in use by process {marker.read().strip() or 'unknown'}; "
            "stop that one or name another folder"
        ) from error
    marker.truncate(0)
    marker.write(str(os.getpid()))
    marker.flush()


@contextlib.contextmanager
def log_to(path: Path, options: Options) -> Iterator[None]:
    """Send the operator's logs to a file, so that the terminal shows what happens and not how."""
    with path.open("a", buffering=1) as stream:
        configure(options.log_level, options.log_format, stream, levels=options.logger_level)
        try:
            yield
        finally:
            configure(options.log_level, options.log_format, levels=options.logger_level)


@contextlib.contextmanager
def interrupted() -> Iterator[threading.Event]:
    """An event that SIGINT or SIGTERM sets. A second signal does what it does by default."""
    stop = threading.Event()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def handler(number: int, _frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        stop.set()

    for number in before:
        signal.signal(number, handler)
    try:
        yield stop
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


def _say(text: str) -> None:
    print(text, flush=True)
