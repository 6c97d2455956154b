"""FakeAPIServer: the API server that tests, and a laptop without Kubernetes, talk to."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from runtime.clock import SYSTEM, Clock
from runtime.testing.apiserver.access.authorization import ALWAYS_ALLOW
from runtime.testing.apiserver.access.gate import AccessOptions, Gate
from runtime.testing.apiserver.access.serviceaccounts import DEFAULT_ISSUER
from runtime.testing.apiserver.access.users import ADMIN, MASTERS, User
from runtime.testing.apiserver.audit import Audit
from runtime.testing.apiserver.context import Context, LogProvider, PodLocator
from runtime.testing.apiserver.faults import Faults
from runtime.testing.apiserver.faults.control import Control
from runtime.testing.apiserver.faults.freeze import Freeze
from runtime.testing.apiserver.faults.injector import Injector
from runtime.testing.apiserver.faults.outages import Outages
from runtime.testing.apiserver.faults.ruleset import Source as FaultSource
from runtime.testing.apiserver.faults.skew import SkewedClock
from runtime.testing.apiserver.garbage import GarbageCollector
from runtime.testing.apiserver.handler import Handler, bad_request, refusal
from runtime.testing.apiserver.lifecycle import Lifecycle
from runtime.testing.apiserver.listener import Listener
from runtime.testing.apiserver.namespaces import INITIAL
from runtime.testing.apiserver.routing import Target
from runtime.testing.apiserver.serving import Serving
from runtime.testing.apiserver.store import DEFAULT_HISTORY, Store
from runtime.testing.apiserver.verbs import Verbs
from runtime.testing.kinds.model import Kind, Registry
from runtime.testing.kinds.registry import DefaultRegistry
from runtime.testing.kinds.services import ServiceAddresses
from runtime.types import GVR, JSONObject

if TYPE_CHECKING:
    from runtime.client import Client
    from runtime.testing.apiserver.auditlog import AuditFile
    from runtime.tls.certs import KeyPair


class FakeAPIServer:
    """A real HTTP API server in this process::

        with FakeAPIServer() as server:
            server.apply_manifests("crds/")
            client = server.client()

    Once stopped it cannot be started again.

    :param port: 0 for any free one.
    :param registry: the kinds it knows; default the built-in ones.
    :param token_auth_file: who may ask, as lines of ``token,user,uid[,"group1,group2"]``; default everybody.
    :param authorization_mode: who may do what: ``AlwaysAllow``, ``RBAC``, ``AlwaysDeny``, or several with commas. With
        RBAC there are the roles and bindings of a new cluster.
    :param anonymous_auth: whether who sends no credentials is served, as ``system:anonymous``; default: where anything
        is authorized, as by a real server.
    :param client_ca_file: PEM; accept client certificates of this authority, and nobody without credentials. Implies
        TLS.
    :param tls: serve TLS, with an authority made for this server, which clients find in :attr:`ca_file`.
    :param tls_cert_file: PEM; serve TLS with this certificate and the key in ``tls_private_key_file``.
    :param service_account_issuer: who issues service account tokens, and whom they are for if they name nobody.
    :param enable_admission_plugins: that are off by default, with commas: ``OwnerReferencesPermissionEnforcement``.
    :param audit_log_path: append the audit log to this file, a line of JSON per event as a real server's; ``-`` is the
        standard output. Default: only :attr:`requests`.
    :param clock: of timestamps and timeouts.
    :param history: changes per resource that watches can go back to.
    :param bookmark_interval: seconds between bookmarks of a watch that allows them.
    :param future_version_wait: seconds for which a list or get at a version that is yet to come waits for it; then 504.
    :param namespace_deletion_delay: seconds that a deleted namespace keeps its contents, as a real one does for some
        time.
    :param garbage_collection_delay: seconds from the deletion of an owner until its dependents follow; None: they stay,
        and so does what is deleted in the foreground or orphans its dependents, as with a real API server that has no
        controller manager.
    :param faults: what goes wrong from the start: a YAML file, or the same as dicts and lists; see :attr:`faults`.
    :param seed: of what is left to chance in them.
    :raises ValueError: a fault, a mode, a line of the token file or a certificate cannot be understood, or a number is
        out of range.
    :raises ImportError: TLS is asked for, and the package ``cryptography`` is missing.
    :raises OSError: the address cannot be listened on.
    :raises AuditLogError: the audit log cannot be opened.
    """

    def __init__(
        self,
        port: int = 0,
        host: str = "127.0.0.1",
        registry: Registry | None = None,
        *,
        token_auth_file: str | Path | None = None,
        authorization_mode: str = ALWAYS_ALLOW,
        anonymous_auth: bool | None = None,
        client_ca_file: str | Path | None = None,
        tls: bool = False,
        tls_cert_file: str | Path | None = None,
        tls_private_key_file: str | Path | None = None,
        service_account_issuer: str = DEFAULT_ISSUER,
        enable_admission_plugins: str = "",
        audit_log_path: str | Path | None = None,
        clock: Clock | None = None,
        history: int = DEFAULT_HISTORY,
        bookmark_interval: float = 60.0,
        future_version_wait: float = 3.0,
        namespace_deletion_delay: float = 0.5,
        garbage_collection_delay: float | None = 1.0,
        faults: FaultSource = (),
        seed: int = 0,
    ) -> None:
        _check_numbers(
            history, bookmark_interval, future_version_wait, namespace_deletion_delay, garbage_collection_delay or 0.0
        )
        self._serving = Serving(
            host,
            tls=tls,
            cert_file=tls_cert_file,
            key_file=tls_private_key_file,
            client_ca_file=client_ca_file,
        )
        self._access = AccessOptions(
            token_auth_file,
            authorization_mode,
            anonymous_auth,
            client_ca_file is not None,
            service_account_issuer,
            enable_admission_plugins,
        )
        self._clock = SkewedClock(clock or SYSTEM)
        store = Store(history, self._clock)
        if registry is None:
            in_use = ServiceAddresses(in_use=lambda: [each.obj for each in store.snapshot(("", "services"))[0]])
            registry = DefaultRegistry(self._clock, in_use)
        self._context = Context(
            store,
            registry,
            self._clock,
            bookmark_interval=bookmark_interval,
            future_version_wait=future_version_wait,
        )
        self._audit = Audit()
        self._faults = Faults(seed, lambda: store.version, store.wake)
        self._faults.load(faults)
        self._freeze = Freeze(self._clock, self._context.stopping)
        self._outages = Outages(self._context, self._freeze)
        injector = Injector(self._context, self._faults, self._freeze, self._clock, self._outages, refusal)
        control = Control(self._faults, self._freeze, self._outages, self._clock, store, self.close_connections)
        self._gate = Gate(self._context, self._access)
        self._verbs = Verbs(self._context, self._gate)
        self._audit_file = _audit_file(audit_log_path)
        self._handler = Handler(
            self._context, self._verbs, self._gate, self._audit, injector, control, self._audit_file
        )
        try:
            self._listener = Listener(host, port, self._handler.handle, bad_request, self._serving.context)
        except OSError:
            self._close_audit_file()
            raise
        self._outages.attach(self._listener)
        self._lifecycle = Lifecycle(self._context, namespace_deletion_delay)
        self._garbage: GarbageCollector | None = None
        if garbage_collection_delay is not None:
            self._garbage = GarbageCollector(self._context, garbage_collection_delay)
        self._started = False
        self._stopped = False
        self._last_kind: Kind | None = None  # of what was made in the process: most often the next is of the same
        self._begin()

    def _begin(self) -> None:
        """Make what every server has, where it is missing."""
        for name in INITIAL:
            self._verbs.put(self._target(GVR("", "v1", "namespaces"), ""), {"metadata": {"name": name}})
        if self._access.uses_rbac:
            from runtime.testing.apiserver.access.policy import store_policy

            store_policy(self._context)

    # -- lifecycle

    def start(self) -> FakeAPIServer:
        """:raises RuntimeError: it has been stopped, or started before."""
        if self._stopped or self._started:
            raise RuntimeError(f"the server {'was stopped' if self._stopped else 'is running'}: make another one")
        self._lifecycle.start()
        if self._garbage is not None:
            self._garbage.start()
        self._listener.start()
        self._started = True
        return self

    def stop(self) -> None:
        """End every watch and connection, join every thread. Idempotent."""
        if self._stopped:
            return
        self._stopped = True
        self._context.stopping.set()
        self._freeze.resume()
        self._outages.stop()
        self._context.store.wake()
        if self._started:
            self._lifecycle.stop()
            if self._garbage is not None:
                self._garbage.stop()
        self._listener.stop()
        self._close_audit_file()
        self._serving.close()

    def _close_audit_file(self) -> None:
        if self._audit_file is not None:
            self._audit_file.close()

    def __enter__(self) -> FakeAPIServer:
        return self.start()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    # -- for clients

    @property
    def url(self) -> str:
        """``http://127.0.0.1:PORT``, or ``https``"""
        host = self._listener.host
        return f"{self._serving.scheme}://{f'[{host}]' if ':' in host else host}:{self._listener.port}"

    @property
    def port(self) -> int:
        return int(self._listener.port)

    def client(self, user: str | None = None, groups: Iterable[str] = ()) -> Client:
        """A new client of this server.

        :param user: whom it is to be, as for :meth:`token`. Default: the first user of the token file if there is one,
            else an administrator.
        """
        from runtime.client import Client

        ca_file = self.ca_file
        return Client(self.url, token=self._token(user, groups), ca_file=str(ca_file) if ca_file else None)

    def kubeconfig(
        self,
        path: str | Path,
        *,
        namespace: str = "default",
        user: str | None = None,
        groups: Iterable[str] = (),
        certificate: bool = False,
        url: str | None = None,
    ) -> Path:
        """Write a kubeconfig whose current context is this server; returns its path.

        :param user: whom it is for, as for :meth:`client`.
        :param url: of a proxy to take instead of the server's own.
        :param certificate: the user (default: an administrator) shows a client certificate instead of a token.
        :raises ValueError: this server cannot sign certificates.
        """
        from runtime.testing.kubeconfig import write_kubeconfig

        if certificate:
            pair = self.client_certificate(*((user, groups) if user is not None else (ADMIN.name, [MASTERS])))
            return write_kubeconfig(
                path,
                url or self.url,
                namespace=namespace,
                ca=self._serving.ca,
                certificate=pair.certificate,
                key=pair.key,
            )
        token = self._token(user, groups)
        return write_kubeconfig(path, url or self.url, namespace=namespace, ca=self._serving.ca, token=token)

    @property
    def ca_file(self) -> Path | None:
        """Whom clients are to trust, as a PEM file that goes when the server stops. None without TLS."""
        return self._serving.ca_file

    def token(self, user: str, groups: Iterable[str] = (), *, uid: str = "") -> str:
        """A new token for a user, as if the token file had it; he is in ``system:authenticated``, too."""
        return self._gate.authenticator.add(User(user, uid, tuple(groups)))

    def client_certificate(self, user: str, groups: Iterable[str] = ()) -> KeyPair:
        """A new client certificate with its key, both PEM.

        :raises ValueError: this server was not started with ``tls=True``, or a name is longer than 64 characters.
        """
        return self._serving.client_certificate(user, groups)

    def service_account_token(self, namespace: str, name: str, *, seconds: int = 3600) -> str:
        """A new token of a service account, as a TokenRequest gives it.

        :raises StatusError: 404: there is no such service account.
        """
        issued = self._gate.accounts.issue(namespace, name, {"spec": {"expirationSeconds": seconds}})
        return str(issued["status"]["token"])

    def _token(self, user: str | None, groups: Iterable[str]) -> str | None:
        return self._gate.authenticator.any_token if user is None else self.token(user, groups)

    # -- for tests

    @property
    def requests(self) -> Audit:
        """Every request that was answered, or whose connection was dropped: who asked for what, and the code."""
        return self._audit

    @property
    def faults(self) -> Faults:
        """Failures on demand, see ``docs/faults.md``."""
        return self._faults

    @property
    def skew(self) -> float:
        """Seconds by which the wall clock of this server is ahead of its machine's; may be set at any time.

        :raises ValueError: more than 30 years either way.
        """
        return self._clock.skew

    @skew.setter
    def skew(self, seconds: float) -> None:
        self._clock.skew = seconds

    def pause(self, seconds: float = float("inf")) -> None:
        """Stand still for so long, or until :meth:`resume`, as a process that is stopped: connections are accepted and
        kept, and nothing is answered or sent. Reading and writing :attr:`store` goes on."""
        self._freeze.pause(seconds)

    def resume(self) -> None:
        """End a pause: what was asked meanwhile is answered."""
        self._freeze.resume()

    def go_down(self) -> None:
        """Be as a process that was killed: every connection is cut, new ones are refused. The data and the port stay.
        No effect on a server that is down."""
        self._outages.go_down()

    def come_up(self) -> None:
        """Be as a new process on the same data: watches that want to resume from before are answered 410, for the cache
        of changes was lost. No effect on a server that is up."""
        self._outages.come_up()

    def restart(self, downtime: float = 0.0) -> None:
        """:meth:`go_down`, and :meth:`come_up` so many seconds later; blocks until then."""
        self._outages.restart(downtime)

    @property
    def store(self) -> Store:
        """The objects themselves, for tests and benchmarks that need no HTTP."""
        return self._context.store

    @property
    def registry(self) -> Registry:
        return self._context.registry

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return self._listener.connections

    def close_connections(self) -> None:
        """Cut every open connection; clients may come again at once."""
        self._listener.close_connections()

    def compact(self) -> int:
        """Forget history: resuming a watch or a list from any version up to now is answered 410. Open watches go on."""
        return self._context.store.compact()

    def set_log_provider(self, provider: LogProvider | None) -> None:
        """Where ``pods/log`` comes from; without one every log is empty."""
        self._context.log_provider = provider

    def set_pod_locator(self, locator: PodLocator | None) -> None:
        """Where ``pods/portforward`` leads; without one it is refused."""
        self._context.pod_locator = locator

    def create(self, obj: JSONObject, *, namespace: str = "default") -> JSONObject:
        """Create one object as a POST of it would, defaults, validation and events included, but without HTTP: to fill
        a server with thousands. Returns the stored object; ``obj`` stays as it is.

        :param namespace: for an object of a namespaced kind that names none.
        :raises ValueError: the server does not know its kind.
        :raises StatusError: it was refused.
        """
        metadata = obj.get("metadata") or {}
        kind = self._kind_of(str(metadata.get("name", "")), obj)
        target_namespace = metadata.get("namespace") or namespace if kind.namespaced else ""
        return self._verbs.insert(Target(kind, target_namespace, "", ""), obj)

    def apply_manifests(self, source: str | Path, *, namespace: str = "default") -> list[JSONObject]:
        """Create or update every object of a YAML or JSON file, or of all such files of a folder; CRDs come first,
        then namespaces.

        Returns the stored objects. Kinds of a CRD are served when this returns. What a server has set (uid,
        resourceVersion ...) is not looked at.

        :param namespace: for objects of namespaced kinds that name none.
        :raises ValueError: a document that is no object or of a kind the server does not know; it names the file.
        :raises StatusError: an object was refused.
        """
        from runtime.testing.manifests import as_written, crds_first, documents

        return [self._put(path, as_written(obj), namespace) for path, obj in crds_first(documents(Path(source)))]

    def save(self, folder: str | Path) -> None:
        """Write every object to a folder of YAML files, as of one moment and exactly as it is: with uid, versions,
        status and what belongs to a deletion under way. A folder that was saved before is replaced.

        :raises ValueError: the folder holds something else than a saved state.
        :raises OSError: it cannot be written.
        """
        from runtime.testing.apiserver.state import write_state

        write_state(self._context, Path(folder))

    def load(self, folder: str | Path) -> None:
        """Replace all objects by those of a folder, as when a real server's etcd is restored from a backup: objects
        that were saved are what they were, open watches end with 410, and versions go on from the saved one. Objects
        that were added to the folder, without uid and resourceVersion, are created; CRDs first. What every server has
        (its first namespaces) is made where it is missing.

        :raises ValueError: a file holds something else than objects, or one of an unknown kind: nothing has changed.
        :raises StatusError: an object that was added was refused.
        :raises OSError: a file cannot be read.
        """
        from runtime.testing.apiserver.state import read_state, restore

        saved = read_state(self._context, Path(folder))
        restore(self._context, saved)
        self._begin()
        for path, obj in saved.new:
            self._put(path, obj, "default")

    def _put(self, path: Path, obj: JSONObject, namespace: str) -> JSONObject:
        kind = self._kind_of(str(path), obj)
        metadata = obj.setdefault("metadata", {})
        target_namespace = metadata.get("namespace") or namespace if kind.namespaced else ""
        return self._verbs.put(Target(kind, target_namespace, "", ""), obj)

    def _kind_of(self, where: str, obj: JSONObject) -> Kind:
        api_version, name = obj.get("apiVersion"), obj.get("kind")
        last = self._last_kind
        if last is not None and (last.gvr.api_version, last.kind) == (api_version, name):
            found = self._context.registry.lookup(last.gvr)
            if found is last:
                return last
        for kind in self._context.registry.kinds():
            if kind.gvr.api_version == api_version and kind.kind == name:
                self._last_kind = kind
                return kind
        raise ValueError(f"{where}: the server knows no kind {name} in {api_version}; apply its CRD first")

    def _target(self, gvr: GVR, namespace: str) -> Target:
        kind = self._context.registry.lookup(gvr)
        if kind is None:
            raise ValueError(f"the registry knows no {gvr}")
        return Target(kind, namespace, "", "")


def _check_numbers(history: int, bookmark_interval: float, *delays: float) -> None:
    if history < 1:
        raise ValueError(f"history={history}: keep 1 change or more")
    if bookmark_interval <= 0:
        raise ValueError(f"bookmark_interval={bookmark_interval:g}: seconds, more than 0")
    if min(delays) < 0:
        raise ValueError(f"a delay of {min(delays):g} s: seconds, 0 or more")


def _audit_file(path: str | Path | None) -> AuditFile | None:
    if path is None:
        return None
    from runtime.testing.apiserver.auditlog import AuditFile

    return AuditFile(path)
