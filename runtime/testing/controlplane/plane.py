"""ControlPlane: a real API server for tests, with the interface of the fake one."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import shutil
import socket
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import orjson

from runtime.client import Client, ClientError, load_client
from runtime.client.client import DEFAULT_USER_AGENT
from runtime.testing.controlplane.applying import apply_object
from runtime.testing.controlplane.auditing import LoggedRequests
from runtime.testing.controlplane.binaries import Binaries, find_binaries
from runtime.testing.controlplane.programs import ControlPlaneFailed, Running, knows_flag
from runtime.testing.controlplane.settings import HOST, Credentials, Flags, Ports, apiserver_flags, etcd_flags
from runtime.testing.kubeconfig import write_kubeconfig
from runtime.testing.manifests import crds_first, documents
from runtime.testing.nodes.process import ProcessHost
from runtime.types import GVR, JSONObject

if TYPE_CHECKING:
    from runtime.tls.certs import KeyPair

_TIMEOUT = 60.0  # seconds; envtest's 20 are short where a machine is shared
_STOP_TIMEOUT = 20.0
_ATTEMPTS = 5  # with other ports each time
_ANSWER = 2.0  # seconds that a program may take to say whether it is ready
_ADMIN = ("admin", ("system:masters",))
_PROBE = "control-plane-probe"  # user agent of our own questions, which are not in `requests`


class ControlPlane:
    """etcd and kube-apiserver as processes of this machine (Linux), for tests that shall meet the real one::

        with ControlPlane() as server:
            server.apply_manifests("crds/")
            client = server.client()

    No controllers run, as with envtest: nothing is garbage collected, deleted namespaces stay Terminating, no service
    account is made. The processes end with this one, whatever ends it. Once stopped it cannot be started again.

    :param assets: the folder of the programs; default: as ``find_binaries`` finds them.
    :param token_auth_file: who may ask besides the administrator, as for a FakeAPIServer.
    :param authorization_mode: as kube-apiserver takes it.
    :param flags: of kube-apiserver, without the two dashes, besides ours or in place of them; None takes one away.
        Where the machine has no default route, it wants ``{"advertise-address": "127.0.0.1"}``.
    :param start_timeout: seconds for each of the two to be ready; default ``KUBEBUILDER_CONTROLPLANE_START_TIMEOUT``
        (as Go writes it: ``1m30s``) or 60.
    :param stop_timeout: seconds for each to end before it is killed; default ``KUBEBUILDER_CONTROLPLANE_STOP_TIMEOUT``
        or 20.
    :raises BinariesMissing: there are no such programs here.
    """

    def __init__(
        self,
        *,
        assets: str | Path | None = None,
        token_auth_file: str | Path | None = None,
        authorization_mode: str = "RBAC",
        flags: Flags | None = None,
        start_timeout: float | None = None,
        stop_timeout: float | None = None,
    ) -> None:
        self._binaries: Binaries = find_binaries(assets)
        self._token_auth_file = token_auth_file
        self._authorization_mode = authorization_mode
        self._flags = dict(flags or {})
        self._start_timeout = _seconds(start_timeout, "KUBEBUILDER_CONTROLPLANE_START_TIMEOUT", _TIMEOUT)
        self._stop_timeout = _seconds(stop_timeout, "KUBEBUILDER_CONTROLPLANE_STOP_TIMEOUT", _STOP_TIMEOUT)
        self._cleanup = contextlib.ExitStack()
        self._ports: Ports | None = None
        self._credentials: Credentials | None = None
        self._requests: LoggedRequests | None = None
        self._host: ProcessHost | None = None
        self._apiserver: Running | None = None

    # -- lifecycle

    def start(self) -> Self:
        """Returns when the API server is ready and the namespace ``default`` is there.

        :raises ControlPlaneFailed: it does not come up; nothing is left behind.
        :raises ImportError: the package ``cryptography`` is missing.
        """
        with contextlib.ExitStack() as stack:
            folder = Path(tempfile.mkdtemp(prefix="control-plane-"))
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            self._host = ProcessHost(folder / "processes")
            self._host.start()
            stack.callback(self._host.stop)
            self._credentials = Credentials(folder, self._token_auth_file)
            self._requests = LoggedRequests(self._credentials.audit_log, but_of=_PROBE)
            self._start_with_free_ports(stack)
            self._cleanup = stack.pop_all()
        return self

    def _start_with_free_ports(self, stack: contextlib.ExitStack) -> None:
        for attempt in range(1, _ATTEMPTS + 1):
            with contextlib.ExitStack() as tried:
                self._ports = Ports(*_free_ports(3))
                try:
                    self._start_etcd(tried)
                    self._start_apiserver()
                except ControlPlaneFailed as error:
                    self._stop_apiserver()
                    if not error.port_taken or attempt == _ATTEMPTS:
                        raise
                    continue
                stack.push(tried.pop_all())
                stack.callback(self._stop_apiserver)  # before etcd, without which it does not end in peace
                return

    def _start_etcd(self, stack: contextlib.ExitStack) -> None:
        assert self._host is not None
        ports, folder, program = self._running_ports(), self.folder, self._binaries.etcd
        can_skip_fsync = knows_flag(self._host, program, "unsafe-no-fsync", folder / "etcd-help.log")
        flags = etcd_flags(ports, folder / "etcd", can_skip_fsync=can_skip_fsync)
        etcd = Running(self._host, program, flags, folder / "etcd.log")
        stack.callback(etcd.stop, self._stop_timeout)
        etcd.wait_ready(functools.partial(_is_healthy, f"http://{HOST}:{ports.etcd}/health"), self._start_timeout)

    def _start_apiserver(self) -> None:
        assert self._host is not None
        assert self._credentials is not None
        flags = apiserver_flags(self._running_ports(), self._credentials, self._authorization_mode, self._flags)
        log = self.folder / "kube-apiserver.log"
        self._apiserver = Running(self._host, self._binaries.kube_apiserver, flags, log)
        with self._client(_PROBE) as client:
            self._apiserver.wait_ready(functools.partial(_is_ready, client), self._start_timeout)

    def _stop_apiserver(self) -> None:
        if self._apiserver is not None:
            self._apiserver.stop(self._stop_timeout)
            self._apiserver = None

    def stop(self) -> None:
        """End both processes and remove their folder. Idempotent."""
        self._cleanup.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # -- for clients

    @property
    def url(self) -> str:
        """``https://127.0.0.1:PORT``"""
        return f"https://{HOST}:{self.port}"

    @property
    def port(self) -> int:
        return self._running_ports().apiserver

    @property
    def ca_file(self) -> Path:
        """Whom clients are to trust, as a PEM file that goes when the control plane stops."""
        return self._known().ca_file

    @property
    def admin_token(self) -> str:
        return self._known().admin_token

    def client(self, user: str | None = None, groups: Iterable[str] = ()) -> Client:
        """A new client.

        :param user: whom it is to be, by a client certificate; default: an administrator.
        """
        if user is None:
            return self._client()
        return load_client(str(self._known().user_config(self.url, user, tuple(groups))))

    def _client(self, user_agent: str = DEFAULT_USER_AGENT) -> Client:
        return Client(self.url, token=self.admin_token, ca_file=str(self.ca_file), user_agent=user_agent)

    def kubeconfig(
        self,
        path: str | Path,
        *,
        namespace: str = "default",
        user: str | None = None,
        groups: Iterable[str] = (),
        certificate: bool = False,
    ) -> Path:
        """Write a kubeconfig whose current context is this server; returns its path.

        :param user: whom it is for, by a client certificate; default: an administrator.
        :param certificate: an administrator, too, shows a client certificate instead of a token.
        """
        ca, name = self.ca_file.read_bytes(), "control-plane"
        if user is None and not certificate:
            return write_kubeconfig(path, self.url, name=name, namespace=namespace, ca=ca, token=self.admin_token)
        pair = self.client_certificate(user, groups) if user is not None else self.client_certificate(*_ADMIN)
        return write_kubeconfig(
            path, self.url, name=name, namespace=namespace, ca=ca, certificate=pair.certificate, key=pair.key
        )

    def client_certificate(self, user: str, groups: Iterable[str] = ()) -> KeyPair:
        """A new client certificate with its key, both PEM. RBAC says what the user may.

        :raises ValueError: a name is longer than 64 characters.
        """
        return self._known().client_certificate(user, tuple(groups))

    def service_account_token(self, namespace: str, name: str, *, seconds: int = 3600) -> str:
        """A new token of a service account.

        :raises ApiError: there is no such service account.
        """
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token"
        asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest"}
        with self.client() as client:
            answer = client.request("POST", path, body={**asked, "spec": {"expirationSeconds": seconds}})
        return str(orjson.loads(answer.body)["status"]["token"])

    # -- for tests

    @property
    def folder(self) -> Path:
        """Where logs, certificates and etcd's data are until :meth:`stop`."""
        return self._known().folder

    @property
    def requests(self) -> LoggedRequests:
        """Every request that was answered, as the audit log tells it."""
        assert self._requests is not None, _NOT_STARTED
        return self._requests

    def pause(self) -> None:
        """The API server stands still, as a process that is stopped, until :meth:`resume`: connections are accepted and
        kept, and nothing is answered."""
        self._running_apiserver().pause()

    def resume(self) -> None:
        """End a pause: what was asked meanwhile is answered."""
        self._running_apiserver().resume()

    def go_down(self) -> None:
        """Kill kube-apiserver: every connection is cut, new ones are refused. The data and the port stay. No effect on
        a server that is down."""
        if self._apiserver is not None:
            self._apiserver.kill()
            self._apiserver = None

    def come_up(self) -> None:
        """Start it again on the same data. No effect on a server that is up.

        :raises ControlPlaneFailed: it does not come up again; it is down then.
        """
        if self._apiserver is None:
            try:
                self._start_apiserver()
            except ControlPlaneFailed:
                self._stop_apiserver()
                raise

    def restart(self, downtime: float = 0.0) -> None:
        """:meth:`go_down`, and :meth:`come_up` so many seconds later; blocks until then."""
        self.go_down()
        time.sleep(downtime)
        self.come_up()

    def apply_manifests(self, source: str | Path, *, namespace: str = "default") -> list[JSONObject]:
        """Create or update every object of a YAML or JSON file, or of all such files of a folder, by server-side apply;
        CRDs come first, then namespaces.

        Returns the stored objects. Kinds of a CRD are served when this returns.

        :param namespace: for objects of namespaced kinds that name none.
        :raises ValueError: a document that is no object or of a kind the server does not know; it names the file.
        :raises ApiError: an object was refused.
        """
        with self.client() as client:
            found = crds_first(documents(Path(source)))
            return [apply_object(client, path, obj, namespace) for path, obj in found]

    # -- what is there once it runs

    def _known(self) -> Credentials:
        assert self._credentials is not None, _NOT_STARTED
        return self._credentials

    def _running_ports(self) -> Ports:
        assert self._ports is not None, _NOT_STARTED
        return self._ports

    def _running_apiserver(self) -> Running:
        assert self._apiserver is not None, _NOT_STARTED
        return self._apiserver


_NOT_STARTED = "the control plane is not running: call start(), or use it in a with statement"


def _is_healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=_ANSWER) as answer:  # noqa: S310 - of our own making
            return bool(answer.status == 200)
    except (OSError, urllib.error.HTTPError):
        return False


def _is_ready(client: Client) -> bool:
    """Ready, and done with what it makes first: clients count on the namespace ``default``."""
    try:
        client.request("GET", "/readyz", timeout=_ANSWER)
        client.resource(GVR("", "v1", "namespaces")).get("default", timeout=_ANSWER)
    except ClientError:
        return False
    return True


def _free_ports(count: int) -> list[int]:
    """Held all at once, so that they differ."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind((HOST, 0))
        return [int(each.getsockname()[1]) for each in sockets]


_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|h|m|s)")


def _seconds(given: float | None, variable: str, default: float) -> float:
    """:raises ValueError: the environment's duration is not one as Go writes it."""
    text = os.environ.get(variable, "")
    if given is not None or not text:
        return default if given is None else given
    parts = _PART.findall(text)
    if "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"{variable}={text!r} is no duration: write 90s or 1m30s")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)
