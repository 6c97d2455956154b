"""The manager: one object that owns a program's client, caches, controllers, servers and election.

::

    mgr = Manager(load_client())
    mgr.controller("foo").for_(FOO).owns(DEPLOYMENTS).complete(reconcile)
    mgr.run()
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.client import Client, Interrupt
from runtime.clock import SYSTEM, Clock
from runtime.controller import Controller, ControllerBuilder, Environment, Options, Reconciler
from runtime.controller.sources import Source
from runtime.informer import SharedIndexInformer
from runtime.informer.projection import FieldPath, Transform
from runtime.logging import get_logger
from runtime.manager.cache import Cache, CacheOptions
from runtime.manager.caches import Caches
from runtime.manager.election import Election, ElectionConfig
from runtime.manager.errors import BadOption
from runtime.manager.health import DEFAULT_TIMEOUT, Check, HealthChecks, NamedCheck
from runtime.manager.kinds import DiscoveredKinds
from runtime.manager.lifecycle import Lifecycle
from runtime.manager.metrics_server import metrics_server, shows_status
from runtime.manager.numbers import metric_source
from runtime.manager.readiness import ReadinessChecks
from runtime.manager.routes import health_routes
from runtime.manager.servers import HttpServer
from runtime.manager.units import FunctionUnit, RunnableFn
from runtime.metrics.registry import Registry
from runtime.record import EventBroadcaster, EventRecorder
from runtime.types import GVR

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from runtime.manager.statuspage.document import Document
    from runtime.manager.statuspage.survey import Survey

__all__ = ["Manager"]

_log = get_logger("runtime.manager")


class Manager:
    """Runs controllers over one shared cache. Constructing it starts nothing and sends nothing.

    :param client: for everything; always asks the server, never a cache. The manager does not close it.
    :param metrics_bind_address: where ``/metrics`` is served; ``":0"`` takes a free port, ``"0"`` switches it off.
    :param metrics_secure: serve metrics by HTTPS, and only to those whom the API server knows by their bearer token
        (TokenReview) and allows to ``get /metrics`` (SubjectAccessReview).
    :param metrics_cert_dir: has ``tls.crt`` and ``tls.key``, which may be renewed at any time; None: a certificate is
        made at the start, which needs the package ``cryptography``.
    :param metrics_authorization: False: serve HTTPS to everybody; None: as ``metrics_secure``.
    :param status_page: serve a page for people at ``/`` of the metrics' server, and its figures at ``/status/v1``:
        names of objects and errors of their reconciles, too. Needs ``get /status`` where metrics are authorized.
        None: where metrics are bound to a loopback address.
    :param health_probe_bind_address: the same for ``/healthz`` and ``/readyz``.
    :param max_cache_age: seconds; while the server has told nothing of a cache for longer, no change and no bookmark,
        ``/readyz`` fails. Servers send a bookmark about each minute. None: the age is shown, and fails nothing.
    :param leader_election: run controllers only while holding a Lease.
    :param leader_election_id: name of the Lease; needed if it is on.
    :param leader_election_namespace: of the Lease; ``""``: the namespace of the client's configuration.
    :param lease_duration: seconds, as are ``renew_deadline`` and ``retry_period``; rules L1 to L3.
    :param namespaces: to watch; None or empty: all.
    :param graceful_shutdown_timeout: seconds that running reconciles and runnables get to end; 0: none, below 0: for
        ever (M3).
    :param resync_period: seconds between redeliveries of the whole cache to the controllers; 0.0 never.
    :param transform: changes each object, a dict, before it is cached: of all resources to which :meth:`cache` gives no
        other one (K8).
    :param events: who takes the events of recorders, with other numbers or the API of one's choice; shut down at the
        end, as the manager's own is.
    :param registry: a prometheus_client registry to share with the application's metrics; it has the manager's while
        that runs, be ``/metrics`` on or off.
    :param name: of the informers' series; only one manager of a process publishes those of a name (I24).
    :param clock: the time for delays, back-off and deadlines.
    :raises BadOption: an option that makes no sense; the message names it.
    """

    def __init__(
        self,
        client: Client,
        *,
        metrics_bind_address: str = ":8080",
        metrics_secure: bool = False,
        metrics_cert_dir: str | Path | None = None,
        metrics_authorization: bool | None = None,
        status_page: bool | None = None,
        health_probe_bind_address: str = ":8081",
        max_cache_age: float | None = None,
        leader_election: bool = False,
        leader_election_id: str = "",
        leader_election_namespace: str = "",
        lease_duration: float = 15.0,
        renew_deadline: float = 10.0,
        retry_period: float = 2.0,
        namespaces: Iterable[str] | None = None,
        graceful_shutdown_timeout: float = 30.0,
        resync_period: float = 0.0,
        transform: Transform | None = None,
        events: EventBroadcaster | None = None,
        registry: CollectorRegistry | None = None,
        name: str = "manager",
        clock: Clock | None = None,
    ) -> None:
        self.client = client
        self.clock = clock or SYSTEM
        self.registry = Registry(registry)
        self.healthz = HealthChecks()
        self.readyz = HealthChecks()
        self._cancel, ending = Interrupt(), Interrupt()
        self._kinds = DiscoveredKinds(client.bound(stop=ending))  # who begins something asks it, and only then
        self._caches = Caches(
            client, self._kinds, _namespaces(namespaces), resync_period, self.clock, transform=transform, name=name
        )
        self._events = events or EventBroadcaster(client, clock=self.clock)
        self._controllers: dict[str, Controller] = {}
        self._names_lock = threading.Lock()  # guards _controllers and _reserved
        self._reserved: set[str] = set()
        self._metrics_secure = metrics_secure
        self._shows_status = shows_status(metrics_bind_address, status_page)
        self._metrics_server = metrics_server(
            metrics_bind_address,
            self.registry,
            client.bound(stop=self._cancel),
            self.clock,
            self._status if self._shows_status else None,
            secure=metrics_secure,
            cert_dir=metrics_cert_dir,
            authorization=metrics_authorization,
        )
        self._health_server = self._probes(health_probe_bind_address)
        self._lifecycle = Lifecycle(
            caches=self._caches,
            servers=[server for server in (self._health_server, self._metrics_server) if server is not None],
            events=self._events,
            ending=ending,
            cancel=self._cancel,
            grace=graceful_shutdown_timeout,
        )
        self._survey: Survey | None = None
        if self._shows_status:
            from runtime.manager.statuspage.survey import Survey  # most programs in a cluster do without

            self._survey = Survey(name, self._caches, self.controllers, self._events, self._lifecycle, self.clock)
            unit = FunctionUnit("status-page", self._survey.run, lambda _stop: True, self._lifecycle.fail)
            self._lifecycle.add(unit, needs_leader_election=False)
        if leader_election:
            if not leader_election_id:
                raise BadOption("leader_election needs a leader_election_id: the name of the Lease")
            self._elect(
                ElectionConfig(
                    leader_election_id,
                    leader_election_namespace or client.namespace,
                    lease_duration,
                    renew_deadline,
                    retry_period,
                )
            )
        ReadinessChecks(self._caches, self._lifecycle, self.controllers, max_cache_age).install(self.readyz)
        self.registry.add_source(client.metrics)
        self.registry.add_source(metric_source(self._caches, self.controllers, self._events, self._lifecycle))

    def controller(self, name: str) -> ControllerBuilder:
        """Begin a controller; its name is in its metrics, logs and events, and owns what it applies.

        :raises ValueError: another controller of this manager has that name (C11).
        """
        with self._names_lock:
            if not name or name in self._reserved:
                raise ValueError(f"controller name {name!r} is {'taken' if name else 'empty'}: names must be unique")
            self._reserved.add(name)
        return ControllerBuilder(name, self._register)

    def controllers(self) -> Sequence[Controller]:
        """Those completed so far."""
        with self._names_lock:
            return list(self._controllers.values())

    def cache(
        self,
        gvr: GVR,
        *,
        namespaces: Iterable[str] | None = None,
        label_selector: str | None = None,
        field_selector: str | None = None,
        transform: Transform | None = None,
        projection: Iterable[FieldPath] | None = None,
        resync_period: float | None = None,
        required: bool = True,
    ) -> Cache:
        """The cache of a resource, shared by all controllers; declared by this, if no controller watches it.

        Without options the cache as it is. Options may be given once, in any order with the controllers that watch the
        resource, but before the manager runs and before :meth:`informer`. They are for everybody: what a selector
        leaves out does not exist for any controller, and what a projection drops is not there to be read.

        :param namespaces: to watch this resource in, instead of the manager's (K7); for namespaced resources only.
        :param label_selector: cache only what matches, as ``"app=web,tier in (a,b)"``.
        :param field_selector: likewise, as ``"spec.nodeName=n1"``.
        :param transform: changes each object, a dict, before it is cached; instead of the manager's. It has to leave
            labels and ownerReferences to those who select and own by them.
        :param projection: cache only these fields, as ``["spec.replicas", "status"]``, besides the metadata that
            identifies an object.
        :param resync_period: seconds, instead of the manager's.
        :param required: False: do without it while the server refuses it, because we may not list it (403) or nobody
            has installed it (404). Readiness, the election and the controllers then wait for it no longer; its lister
            raises ``CacheNotReady``; and it is watched as soon as that is possible.
        :raises BadOption: the options make no sense, others were given before, or the resource is cached already.
        """
        options = CacheOptions(
            namespaces=None if namespaces is None else _names(namespaces),
            label_selector=label_selector,
            field_selector=field_selector,
            transform=transform,
            projection=None if projection is None else tuple(projection),
            resync_period=resync_period,
            required=required,
        )
        return self._caches.cache(GVR(*gvr), options)

    def informer(self, gvr: GVR) -> SharedIndexInformer:
        """The shared informer of a resource; :meth:`cache` has the same for any number of namespaces.

        :raises RuntimeError: several namespaces are watched, so there are several.
        """
        found = self.informers(gvr)
        if len(found) > 1:
            raise RuntimeError(f"{gvr} is watched in {len(found)} namespaces, each with an informer: use cache()")
        return found[0]

    def informers(self, gvr: GVR) -> Sequence[SharedIndexInformer]:
        """The shared informers of a resource, one per namespace watched.

        :raises ClientError: several namespaces are watched, and the server cannot be asked whether this resource
            is namespaced.
        """
        return self._caches.informers(GVR(*gvr))

    def recorder(self, name: str) -> EventRecorder:
        """A recorder of events from the component ``name``.

        :raises ValueError: the API server would refuse that name.
        """
        return self._events.new_recorder(name)

    def add_runnable(self, name: str, fn: RunnableFn, *, needs_leader_election: bool = True) -> None:
        """Run ``fn(stop)`` in a thread beside the controllers, once the caches are complete, until it returns.

        It must return soon after ``stop`` is set. If it raises before that, the manager stops and
        :meth:`run` raises it. Added while the manager runs, it starts at once (M4).

        :param needs_leader_election: where the manager elects, run it only while leading; it should write through
            :attr:`leader_client`.
        :raises RuntimeError: the manager is stopping.
        """
        lifecycle = self._lifecycle
        unit = FunctionUnit(name, fn, lambda stop: lifecycle.wait_for_cache_sync(None, stop), lifecycle.fail)
        lifecycle.add(unit, needs_leader_election)

    def add_health_check(self, name: str, fn: Check, *, timeout: float = DEFAULT_TIMEOUT) -> None:
        """Add a check to ``/healthz`` and ``/readyz``: it fails by raising, by returning False, or by not answering.

        It runs in a thread of its own, never twice at the same time.

        :param timeout: seconds that its answer is waited for.
        :raises ValueError: the name is taken.
        """
        check = NamedCheck(name, fn, timeout)
        self.healthz.add(check)
        self.readyz.add(check)

    def add_ready_check(self, name: str, fn: Check, *, timeout: float = DEFAULT_TIMEOUT) -> None:
        """Add a check to ``/readyz`` only, see :meth:`add_health_check`.

        :raises ValueError: the name is taken.
        """
        self.readyz.add(NamedCheck(name, fn, timeout))

    @property
    def metrics_address(self) -> str | None:
        """``host:port`` where metrics are served; None while they are not."""
        return self._metrics_server.address if self._metrics_server else None

    @property
    def status_url(self) -> str | None:
        """Where the status page is to be seen from this machine; None while it is not served."""
        address = self.metrics_address
        if address is None or not self._shows_status:
            return None
        host, _, port = address.rpartition(":")
        reachable = "localhost" if host in ("[::]", "0.0.0.0") else host
        return f"{'https' if self._metrics_secure else 'http'}://{reachable}:{port}/"

    @property
    def health_address(self) -> str | None:
        """``host:port`` where health is served; None while it is not."""
        return self._health_server.address if self._health_server else None

    @property
    def elected(self) -> threading.Event:
        """Set once this manager may act: at its start, or with election on when it leads (M5)."""
        return self._lifecycle.elected

    @property
    def leader_client(self) -> Client:
        """:attr:`client` for what only the leader may do: its writes raise :class:`NotLeading` before this manager
        leads, and once another might, whatever hinders us from noticing. See :meth:`Client.fenced`.

        Controllers that need the election have it as ``ctx.client``; take it for runnables that do. Without election it
        is :attr:`client`. Clients of other clusters: ``other.fenced(mgr.fence)``.
        """
        return self.client if self._lifecycle.election is None else self.client.fenced(self.fence)

    def fence(self) -> float:
        """Seconds for which this manager may still do what only the leader may, 0 or less: it may not; without election
        infinite. From any thread. For :meth:`Client.fenced`, and for whatever else must not be done by two."""
        election = self._lifecycle.election
        return math.inf if election is None else election.elector.fence()

    def wait_for_cache_sync(self, timeout: float | None = None) -> bool:
        """Wait until every declared cache is complete; False when ``timeout`` seconds pass or the manager stops."""
        return self._lifecycle.wait_for_cache_sync(timeout)

    def run(self, stop: threading.Event | None = None) -> None:
        """Run until ``stop`` is set, a SIGTERM or SIGINT arrives, or something fails. Only once per manager.

        Order of start (M1): servers, caches, then what needs no election, then the election, then the rest. Order of
        stop (M2): no new reconciles; runnables without election, then the rest, with a grace period for what runs;
        caches; servers; the lease is released; events are flushed. Signals are only heard in the main thread; a
        second one ends the process at once.

        :raises BindError: a server cannot listen.
        :raises LeaderElectionLost: another leads; the process should end.
        :raises ShutdownTimeout: something still ran when the grace period was over.
        :raises Exception: what a runnable raised.
        :raises RuntimeError: it has run before.
        """
        self._lifecycle.begin()
        self.registry.open()
        try:
            self._lifecycle.run(stop)
        finally:
            self.registry.close()

    def stop(self) -> None:
        """Have :meth:`run` return. From any thread; does not wait."""
        self._lifecycle.request_stop()

    def _register(self, name: str, sources: list[Source], reconcile: Reconciler, options: Options) -> Controller:
        environment = Environment(
            client=self.leader_client if options.needs_leader_election else self.client,
            caches=self._caches,
            kinds=self._kinds,
            recorder=self._events.new_recorder(name),
            clock=self.clock,
            cancel=self._cancel,
            fail=self._lifecycle.fail,
            keep_history=self._shows_status,
        )
        controller = Controller(name, sources, reconcile, options, environment)
        if options.warm_up or not options.needs_leader_election or self._lifecycle.election is None:
            for source in sources:
                if source.cache is None:
                    self._caches.cache(source.gvr)
        with self._names_lock:
            self._controllers[name] = controller
        self._lifecycle.add(controller, options.needs_leader_election)
        return controller

    def _status(self, wanted: str) -> Document:
        assert self._survey is not None
        return self._survey.document(wanted)

    def _probes(self, address: str) -> HttpServer | None:
        if address in ("0", ""):
            return None
        # /livez is what Kubernetes' own components call it by now.
        checks = {"healthz": self.healthz, "livez": self.healthz, "readyz": self.readyz}
        return HttpServer("health_probe_bind_address", address, health_routes(checks))

    def _elect(self, config: ElectionConfig) -> None:
        recorder, lifecycle = self._events.new_recorder("leader-election"), self._lifecycle
        try:
            election = Election(self.client, config, recorder, self.clock, lead=lifecycle.lead, failed=lifecycle.fail)
        except ValueError as error:
            raise BadOption(f"leader election: {error}") from error
        lifecycle.elect(election)
        self.healthz.add(NamedCheck("leaderElection", election.elector.check))


def _namespaces(given: Iterable[str] | None) -> tuple[str, ...]:
    names = _names(given or ())
    return () if "" in names else names  # "" is how the API says "all"


def _names(given: Iterable[str]) -> tuple[str, ...]:
    if isinstance(given, str):
        raise BadOption(f"namespaces must be a list of names, not the text {given!r}")
    return tuple(dict.fromkeys(given))
