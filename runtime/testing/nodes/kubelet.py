"""A node whose containers are processes of this machine."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path

from runtime.client import Client, NotFound, Unstructured
from runtime.client.errors import ClientError
from runtime.clock import SYSTEM, Clock
from runtime.informer import DeletedFinalStateUnknown, ResourceEventHandler, SharedInformerFactory
from runtime.record import EventBroadcaster, EventRecorder
from runtime.testing.nodes.backoff import RestartPolicy
from runtime.testing.nodes.claims import CLAIMS, Claims
from runtime.testing.nodes.host import Host
from runtime.testing.nodes.images import ImageMap
from runtime.testing.nodes.keyloop import KeyLoop
from runtime.testing.nodes.links import Links, declared_ports
from runtime.testing.nodes.logs import NoLogs
from runtime.testing.nodes.lookups import CONFIGMAPS, SECRETS, CachedLookups
from runtime.testing.nodes.network import Network, require_linux
from runtime.testing.nodes.pod_worker import PodWorker
from runtime.testing.nodes.process import ProcessHost
from runtime.testing.nodes.proxy import Proxy
from runtime.testing.nodes.registration import NODES, capacity, mark_stopped, register
from runtime.testing.nodes.services import SERVICES, Services
from runtime.testing.nodes.status_writer import PODS, StatusWriter
from runtime.types import GVR

_SYNC_TIMEOUT = 60.0  # seconds for the caches to fill
_STATUS_DRAIN = 2.0
_AFTER_FAILURE = 5.0  # seconds until another worker takes a Pod over whose worker had a bug
_UNSCHEDULABLE = 1.0  # seconds until a Pod that could not be bound is looked at again
_HEARTBEAT = 10.0  # seconds between looks whether the API still has our Node
_STOP_MARGIN = 5.0  # real seconds beyond the grace period until a stop does without the supervisor's help
_NAMESPACES = GVR("", "v1", "namespaces")


class LocalNode:
    """Registers a Node, binds Pods that no scheduler has, and runs those bound to it as local processes. Linux only.

    It ignores what would keep a Pod off this machine (resources, affinity, taints, node selectors), so that any
    manifest runs; only scheduling gates are waited for, and claims that are missing or on their way out. What a
    container sees of the machine say the modules ``rewrite`` (names, addresses, mount paths) and ``images`` (programs).

    A node started again on the same ``root``, against the same API, runs the same Pods again on their data. Two nodes
    never share a root. After :meth:`stop` no process is left, nor is any if this program is killed.

    :param root: folder for volumes, logs and records; made if need be.
    :param images: which local program an image means.
    :param restarts: back-off of containers that end again and again.
    :param env: set in every container (below its own ``env``), such as a KUBECONFIG.
    :param recorder: where events go; by default to the API.
    :param domain: the cluster's DNS domain.
    :param links: let :attr:`links` cut Pods off from each other. They are then reached through a proxy, on the ports
        that they declare, and listen on another address than ``status.podIP``: a program must not bind to that.
    :raises NodeUnsupported: this is not Linux.
    """

    def __init__(
        self,
        client: Client,
        root: Path,
        *,
        node_name: str = "local",
        images: ImageMap | None = None,
        clock: Clock | None = None,
        restarts: RestartPolicy | None = None,
        env: Mapping[str, str] | None = None,
        recorder: EventRecorder | None = None,
        domain: str = "cluster.local",
        links: bool = False,
    ) -> None:
        require_linux()
        self.name = node_name
        self.root = root.resolve()
        self._client = client
        self._images = images or ImageMap()
        self._clock = clock or SYSTEM
        self._restarts = restarts or RestartPolicy()
        self._env = dict(env or {})
        self._given_recorder = recorder
        self._domain = domain
        self._network = Network(self.root, fronts=links)
        self._links = self._make_links() if links else None
        self._stack = ExitStack()
        self._lock = threading.Lock()  # guards what follows
        self._workers: dict[str, PodWorker] = {}  # by namespace/name
        self._ended: dict[str, str] = {}  # namespace/name -> uid of a Pod that is over and must not run again
        self._stopping = False

    # -- life

    def start(self) -> None:
        """Returns when the node is registered and its caches have filled; Pods start in the background.

        :raises NodeInUse: another node uses the root.
        :raises AddressesExhausted: the root's addresses are in use.
        :raises ApiError: the node could not be registered.
        :raises TimeoutError: the API server's objects could not be listed within a minute.
        """
        with ExitStack() as stack:
            self._start(stack)
            self._stack = stack.pop_all()

    def stop(self, grace: float = 3.0) -> None:
        """End every process: SIGTERM, and SIGKILL after ``grace`` seconds, or the Pod's own if they are fewer.

        The Pods' objects stay as they are, for the next node on this root.
        """
        with self._lock:
            self._stopping = True
            workers = list(self._workers.values())
        for worker in workers:
            worker.stop(grace)
        deadline = time.monotonic() + grace + _STOP_MARGIN
        for worker in workers:
            worker.join(max(0.0, deadline - time.monotonic()))
        if workers and not all(worker.finished.is_set() for worker in workers):
            self._host.processes.stop()  # the supervisor does not answer: what runs under it goes with it
        for worker in workers:
            worker.join()
        self._stack.close()

    def __enter__(self) -> LocalNode:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _start(self, stack: ExitStack) -> None:
        """What is entered last stops first."""
        self.root.mkdir(parents=True, exist_ok=True)
        self._network.open()
        stack.callback(self._network.close)
        if self._links is not None:
            self._links.start()
            stack.callback(self._links.stop)
        processes = ProcessHost(self.root, keep_fds=[self._network.holder_fd])
        stack.callback(processes.stop)
        processes.start()
        recorder = self._given_recorder
        if recorder is None:
            broadcaster = EventBroadcaster(self._client, clock=self._clock)
            stack.callback(broadcaster.shutdown, timeout=2.0)
            recorder = broadcaster.new_recorder("kubelet")
        factory = SharedInformerFactory(self._client, clock=self._clock)
        self._nodes = factory.informer(NODES)
        self._pods = factory.informer(PODS)
        self._services = factory.informer(SERVICES)
        self._claims = Claims(self.root, self._client, self._cluster())
        self._status = StatusWriter(self._client, self._pods.indexer.get, self._clock, f"{self._tag}-status")
        self._host = Host(
            node_name=self.name,
            root=self.root,
            clock=self._clock,
            processes=processes,
            network=self._network,
            images=self._images,
            claims=self._claims,
            lookups=CachedLookups(factory),
            recorder=recorder,
            restarts=self._restarts,
            publish=self._status.publish,
            env=self._env,
            allocatable=capacity(),
            domain=self._domain,
        )
        self._start_loops(stack, factory)
        self._node_uid = register(self._client, self.name, self._network, self.root, self._clock)
        stack.callback(self._unregister)
        factory.start()
        synced = factory.wait_for_cache_sync(_SYNC_TIMEOUT)
        missing = [str(gvr) for gvr, done in synced.items() if not done]
        if missing:
            raise TimeoutError(f"{self._client.url}: could not list {', '.join(missing)} within {_SYNC_TIMEOUT:g} s")
        self._connect_handlers(factory)

    def _start_loops(self, stack: ExitStack, factory: SharedInformerFactory) -> None:
        proxy = Proxy(f"{self._tag}-proxy", self._service_unreachable)
        proxy.start()
        stack.callback(proxy.stop)
        services = Services(
            self._client, self._network, proxy, lambda namespace: self._pods.lister.namespace(namespace).list()
        )
        self._service_loop: KeyLoop[str] = KeyLoop(
            f"{self._tag}-services", lambda key: services.sync(key, self._services.indexer.get(key)), self._clock
        )
        claims = factory.informer(CLAIMS)
        self._claim_loop: KeyLoop[str] = KeyLoop(
            f"{self._tag}-claims", lambda key: self._sync_claim(claims.indexer.get(key)), self._clock
        )
        self._pod_loop: KeyLoop[str] = KeyLoop(f"{self._tag}-pods", self._sync_pod, self._clock)
        self._status.start()
        stack.callback(self._status.stop, _STATUS_DRAIN)
        self._node_loop: KeyLoop[str] = KeyLoop(f"{self._tag}-node", self._sync_node, self._clock)
        for loop in (self._service_loop, self._claim_loop, self._pod_loop, self._node_loop):
            loop.start()
            stack.callback(loop.stop)
        stack.callback(factory.shutdown)

    def _connect_handlers(self, factory: SharedInformerFactory) -> None:
        """Only now, so that the first Pods to start find what they refer to in the caches."""
        self._pods.add_event_handler(_each(self._pod_changed))
        self._nodes.add_event_handler(_each(lambda node: self._node_loop.add(node.key)))
        self._node_loop.add(self.name)
        self._services.add_event_handler(_each(lambda service: self._service_loop.add(service.key)))
        factory.informer(CLAIMS).add_event_handler(
            _each(lambda claim: self._claim_loop.add(claim.key), deleted=self._claims.deleted)
        )
        for gvr in (CONFIGMAPS, SECRETS):
            factory.informer(gvr).add_event_handler(_each(self._config_changed))

    def _sync_node(self, key: str) -> None:
        """A heartbeat: if our Node is gone, somebody deleted it, or the API server has lost its state.

        The latter an informer need not notice: its watch may go on from a version the new state has as well.
        """
        if key != self.name:
            return
        try:
            uid = self._client.resource(NODES).get(self.name).uid
        except NotFound:
            uid = ""
        if uid != self._node_uid:
            self._node_uid = register(self._client, self.name, self._network, self.root, self._clock)
            self._end_unknown_pods()
        self._node_loop.add_after(key, _HEARTBEAT)

    def _end_unknown_pods(self) -> None:
        with self._lock:
            workers = list(self._workers.values())
        for worker in workers:
            try:
                uid = self._client.resource(PODS, worker.namespace).get(worker.name).uid
            except NotFound:
                uid = ""
            if uid != worker.uid:
                worker.vanish()

    def _unregister(self) -> None:
        with suppress(ClientError):
            mark_stopped(self._client, self.name, self._clock)

    @property
    def _tag(self) -> str:
        return f"node-{self.name}"

    def _cluster(self) -> str:
        """What tells one API server's state from another's."""
        try:
            return self._client.resource(_NAMESPACES).get("kube-system").uid
        except NotFound:
            return ""

    # -- Pods

    def _pod_changed(self, pod: Unstructured) -> None:
        self._pod_loop.add(pod.key)
        for service in self._services.indexer.list():
            if service.namespace == pod.namespace:
                self._service_loop.add(service.key)

    def _service_unreachable(self, key: str, address: tuple[str, int], error: str) -> None:
        service = self._services.indexer.get(key)
        if service is not None:
            message = (
                f"cannot listen on {address[0]}:{address[1]}: {error}; does another program of this machine use "
                f"port {address[1]} on all addresses?"
            )
            self._host.recorder.event(service, "Warning", "CannotListen", message)

    def _config_changed(self, config: Unstructured) -> None:
        with self._lock:
            workers = [worker for worker in self._workers.values() if worker.namespace == config.namespace]
        for worker in workers:
            worker.refresh()

    def _sync_pod(self, key: str) -> None:
        pod = self._pods.indexer.get(key)
        with self._lock:
            if self._stopping:
                return
            worker = self._workers.get(key)
            if pod is None or self._ended.get(key) != pod.uid:
                self._ended.pop(key, None)
            elif worker is None:
                return  # over; its object is about to go
        if worker is not None:
            if pod is None or pod.uid != worker.uid:
                worker.vanish()  # its successor, if any, starts when it has ended
            else:
                worker.update(pod)
        elif pod is not None:
            spec = pod["spec"]
            if spec.get("nodeName") == self.name:
                self._run(key, pod)
            elif not spec.get("nodeName") and not spec.get("schedulingGates") and pod.deletion_timestamp is None:
                self._bind(pod)

    def _run(self, key: str, pod: Unstructured) -> None:
        worker = PodWorker(self._host, pod, self._worker_ended)
        with self._lock:
            if self._stopping:
                return
            self._workers[key] = worker
            if self._links is not None:
                self._links.expose(key, worker.address, declared_ports(pod["spec"]))
            worker.start()

    def _bind(self, pod: Unstructured) -> None:
        lacking = self._lacking_claim(pod)
        if lacking:
            self._unschedulable(pod, lacking)
            self._pod_loop.add_after(pod.key, _UNSCHEDULABLE)
            return
        binding = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": pod.name, "namespace": pod.namespace, "uid": pod.uid},
            "target": {"apiVersion": "v1", "kind": "Node", "name": self.name},
        }
        pods = self._client.resource(PODS, pod.namespace)
        with suppress(NotFound):  # a conflict is tried again with what the watch has brought by then
            pods.create(binding, name=pod.name, subresource="binding")
            message = f"Successfully assigned {pod.namespace}/{pod.name} to {self.name}"
            self._host.recorder.event(pod, "Normal", "Scheduled", message)

    def _lacking_claim(self, pod: Unstructured) -> str:
        """Why the Pod cannot be bound yet. Not by the cache: one that is bound to a claim on its way out keeps it."""
        claims = self._client.resource(CLAIMS, pod.namespace)
        for volume in pod["spec"].get("volumes") or ():
            if name := (volume.get("persistentVolumeClaim") or {}).get("claimName"):
                try:
                    going = claims.get(name).deletion_timestamp is not None
                except NotFound:
                    return f'persistentvolumeclaim "{name}" not found'
                if going:
                    return f'persistentvolumeclaim "{name}" is being deleted'
        return ""

    def _unschedulable(self, pod: Unstructured, message: str) -> None:
        conditions = (pod.get("status") or {}).get("conditions") or ()
        if any(told["type"] == "PodScheduled" and told.get("message") == message for told in conditions):
            return
        condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
        body = {"metadata": {"uid": pod.uid}, "status": {"conditions": [condition]}}
        with suppress(NotFound):
            self._client.resource(PODS, pod.namespace).patch(pod.name, body, type="strategic", subresource="status")
            self._host.recorder.event(pod, "Warning", "FailedScheduling", message)

    def _worker_ended(self, worker: PodWorker) -> None:
        key = f"{worker.namespace}/{worker.name}"
        if not (worker.left or worker.failed):
            worker.remove_folder()
        with self._lock:
            if self._links is not None:
                self._links.withdraw(key)
            if self._stopping:
                return
            del self._workers[key]
            if not worker.failed:
                self._ended[key] = worker.uid
        self._pod_loop.add_after(key, _AFTER_FAILURE if worker.failed else 0.0)

    def _sync_claim(self, claim: Unstructured | None) -> None:
        if claim is not None and claim.deletion_timestamp is None:
            with suppress(NotFound):
                self._claims.bind(claim)

    # -- for whoever runs the node

    def service_address(self, namespace: str, name: str) -> str:
        """The local address that stands for a Service; known also before it exists."""
        return self._network.service(namespace, name)

    def pod_address(self, namespace: str, hostname: str, subdomain: str = "") -> str:
        """The local address of a Pod, by its host name and the headless Service it is part of, or by its own name."""
        return self._network.pod(namespace, hostname, subdomain)

    def pids(self, namespace: str, pod: str) -> dict[str, int]:
        """The processes of a Pod that run now, by container; empty if it does not run here."""
        worker = self._worker(namespace, pod)
        return worker.pids if worker is not None else {}

    def _worker(self, namespace: str, pod: str) -> PodWorker | None:
        with self._lock:
            return self._workers.get(f"{namespace}/{pod}")

    def _make_links(self) -> Links:
        return Links(
            f"{self._tag}-links", self._network, self._pids_of_all, ancestor=lambda: self._host.processes.root_pid
        )

    def processes(self) -> list[int]:
        """The processes of all Pods that run now."""
        return [pid for pids in self._pids_of_all().values() for pid in pids]

    def _pids_of_all(self) -> dict[str, list[int]]:
        with self._lock:
            workers = dict(self._workers)
        return {key: list(worker.pids.values()) for key, worker in workers.items()}

    @property
    def links(self) -> Links:
        """:raises RuntimeError: the node was made without ``links=True``."""
        if self._links is None:
            raise RuntimeError("this LocalNode has no links to cut: make it with links=True")
        return self._links

    def pod_locator(self, namespace: str, pod: str, uid: str) -> str:
        """For ``FakeAPIServer.set_pod_locator``: the address that the Pod's programs listen on. No cut of
        :attr:`links` is in the way, as none is in the way of probes.

        :raises LookupError: there is no such Pod on this node.
        """
        worker = self._worker(namespace, pod)
        if worker is None or worker.uid != uid:
            raise LookupError(f'pod "{pod}" does not run on node {self.name}')
        return self._network.bound(worker.address)

    def log_provider(
        self,
        namespace: str,
        pod: str,
        container: str | None,
        *,
        follow: bool,
        tail_lines: int | None,
        previous: bool,
        since_seconds: float | None,
        timestamps: bool,
        stop: threading.Event,
    ) -> Iterator[bytes]:
        """For ``FakeAPIServer.set_log_provider``.

        :raises LookupError: there is no such Pod on this node, container or log.
        """
        worker = self._worker(namespace, pod)
        if worker is None:
            raise NoLogs(f'pod "{pod}" does not run on node {self.name}')
        name = container or worker.default_container
        if name not in worker.containers:
            raise NoLogs(f"container {name} is not valid for pod {pod}: it has {', '.join(worker.containers)}")
        return worker.logs.read(
            name,
            previous=previous,
            follow=follow,
            tail_lines=tail_lines,
            since_seconds=since_seconds,
            timestamps=timestamps,
            stop=stop,
            running=lambda run: worker.is_running(name, run),
        )


def _each(
    changed: Callable[[Unstructured], None], deleted: Callable[[Unstructured], None] | None = None
) -> ResourceEventHandler:
    """A handler which treats all news of an object alike, deletions perhaps apart."""

    def on_delete(obj: Unstructured | DeletedFinalStateUnknown) -> None:
        (deleted or changed)(obj.obj if isinstance(obj, DeletedFinalStateUnknown) else obj)

    return ResourceEventHandler(
        on_add=lambda obj, _: changed(obj), on_update=lambda _, new: changed(new), on_delete=on_delete
    )
