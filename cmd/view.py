"""What is happening, on the terminal: a table that redraws itself, or plain lines where there is no terminal."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from crds.xlinecluster import XLINECLUSTERS
from membership.xline.model import ROLE
from runtime.client import Client, Unstructured
from runtime.informer import SharedInformerFactory
from runtime.types import GVR, JSONObject

from .diagnosis import Watchman

if TYPE_CHECKING:
    from rich.console import Group

PODS = GVR("", "v1", "pods")
EVENTS = GVR("", "v1", "events")
_PERIOD = 0.5  # seconds between looks at the caches
_EVENT_LINES = 12


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the caches hold at one moment, in the order in which it is shown."""

    clusters: list[Unstructured]
    pods: list[Unstructured]
    events: list[Unstructured]


Snapshotter = Callable[[], Snapshot]


def watch(client: Client, stop: threading.Event, explain: Callable[[str, str], list[str]], *, kubeconfig: Path) -> None:
    """Show clusters, Pods and events until ``stop`` is set.

    :param explain: ``explain(namespace, name)``: why a cluster does not come up, asked for one that takes long.
    """
    factory = SharedInformerFactory(client)
    informers = [factory.informer(gvr) for gvr in (XLINECLUSTERS, PODS, EVENTS)]
    factory.start()

    def snapshot() -> Snapshot:
        clusters, pods, events = (list(informer.lister.list()) for informer in informers)
        return Snapshot(sorted(clusters, key=_key), sorted(pods, key=_key), sorted(events, key=event_time))

    watchman = Watchman(explain)
    try:
        if sys.stdout.isatty():
            _draw(snapshot, stop, watchman, kubeconfig)
        else:
            _print(snapshot, stop, watchman, kubeconfig)
    finally:
        factory.shutdown()


def _draw(snapshot: Snapshotter, stop: threading.Event, watchman: Watchman, kubeconfig: Path) -> None:
    try:
        from rich.live import Live
    except ImportError:
        print("for a live table: pip install 'xline-operator[local]'")
        _print(snapshot, stop, watchman, kubeconfig)
        return
    with Live(render(snapshot(), kubeconfig), refresh_per_second=4, transient=False) as live:
        while not stop.wait(_PERIOD):
            now = snapshot()
            for line in watchman.look(now.clusters):
                live.console.print(line, markup=False, highlight=False, soft_wrap=True)  # above the table
            live.update(render(now, kubeconfig))


def _print(snapshot: Snapshotter, stop: threading.Event, watchman: Watchman, kubeconfig: Path) -> None:
    """A line for each event, and for each change of a cluster's message."""
    print(f"try: kubectl --kubeconfig {kubeconfig} get xlineclusters,pods    (Ctrl-C ends everything)", flush=True)
    shown: dict[str, str] = {}
    while True:
        now = snapshot()
        for line in (*new_lines(now, shown), *watchman.look(now.clusters)):
            print(line, flush=True)
        if stop.wait(_PERIOD):
            return


def new_lines(now: Snapshot, shown: dict[str, str]) -> Iterable[str]:
    """The lines for what ``shown`` (uid to text, kept by the caller between calls) does not have yet."""
    for event in now.events:
        text = event_line(event)
        if shown.get(event.uid) != text:
            shown[event.uid] = text
            yield text
    for cluster in now.clusters:
        text = f"{_key(cluster)}: {status_of(cluster).get('message') or 'no status yet'}"
        if shown.get(cluster.uid) != text:
            shown[cluster.uid] = text
            yield f"{datetime.now(UTC).astimezone():%H:%M:%S}  {text}"


def render(now: Snapshot, kubeconfig: Path) -> Group:
    """The whole picture, for rich to draw."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    clusters = Table(
        "XLINECLUSTER", "ENGINE", "READY", "VOTERS", "LEADER", "PHASE", "MESSAGE", box=None, pad_edge=False
    )
    for cluster in now.clusters:
        clusters.add_row(*cluster_row(cluster))
    pods = Table("POD", "STATUS", "ROLE", "READY", "RESTARTS", "ADDRESS", "AGE", box=None, pad_edge=False)
    for pod in now.pods:
        pods.add_row(*pod_row(pod))
    events = Table("TIME", "EVENT", box=None, pad_edge=False, show_header=bool(now.events))
    for event in now.events[-_EVENT_LINES:]:
        time, _, text = event_line(event).partition("  ")
        events.add_row(time, Text(text, overflow="ellipsis", no_wrap=True))
    hint = Text(f"kubectl --kubeconfig {kubeconfig} get xlineclusters,pods    Ctrl-C ends everything", style="dim")
    return Group(hint, "", clusters, "", pods, "", events)


def cluster_row(cluster: Unstructured) -> tuple[str, ...]:
    status = status_of(cluster)
    ready = f"{status.get('readyReplicas', 0)}/{cluster['spec'].get('replicas', '?')}"
    return (
        _key(cluster),
        cluster["spec"].get("engine", "xline"),
        ready,
        str(status.get("voters", "-")),
        status.get("leader") or "-",
        status.get("phase") or "-",
        status.get("message") or "",
    )


def pod_row(pod: Unstructured) -> tuple[str, ...]:
    status = status_of(pod)
    containers = status.get("containerStatuses") or []
    waiting = [
        c["state"]["waiting"].get("reason", "Waiting") for c in containers if (c.get("state") or {}).get("waiting")
    ]
    phase = "Terminating" if pod.deletion_timestamp else (waiting[0] if waiting else status.get("phase", "Pending"))
    return (
        _key(pod),
        phase,
        pod.labels.get(ROLE, "-"),
        f"{sum(bool(c.get('ready')) for c in containers)}/{len(pod['spec']['containers'])}",
        str(sum(int(c.get("restartCount", 0)) for c in containers)),
        status.get("podIP") or "-",
        age(pod.creation_timestamp),
    )


def event_line(event: Unstructured) -> str:
    about = event.get("involvedObject") or {}
    count = int((event.get("series") or event).get("count") or 1)
    times = f" (x{count})" if count > 1 else ""
    text = f"{about.get('kind')} {about.get('name')}: {event.get('reason')}: {event.get('message')}{times}"
    return f"{event_time(event).astimezone():%H:%M:%S}  {text}"


def event_time(event: Unstructured) -> datetime:
    series = event.get("series") or {}
    text = series.get("lastObservedTime") or event.get("lastTimestamp") or event.get("eventTime")
    when = datetime.fromisoformat(text) if text else event.creation_timestamp
    return when or datetime.fromtimestamp(0, UTC)


def age(since: datetime | None) -> str:
    if since is None:
        return "-"
    seconds = int((datetime.now(UTC) - since).total_seconds())
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size}{unit}"
    return f"{max(seconds, 0)}s"


def status_of(obj: Unstructured) -> JSONObject:
    status: JSONObject = obj.get("status") or {}
    return status


def _key(obj: Unstructured) -> str:
    return f"{obj.namespace}/{obj.name}"
