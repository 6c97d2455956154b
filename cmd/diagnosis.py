"""Why a cluster does not come up here: what its Pods suffer from, the end of their logs, warnings, and the disk."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from membership.xline.model import member_selector_text
from runtime.client import Client, ClientError, Unstructured
from runtime.clock import SYSTEM, Clock
from runtime.types import GVR, JSONMapping

PODS: Final = GVR("", "v1", "pods")
EVENTS: Final = GVR("", "v1", "events")
# etcd sets aside two files of 64 MiB before it starts; a container's log that finds no room is lost, too.
ROOM: Final = 160 << 20  # bytes that a member takes at once
PATIENCE: Final = 45.0  # seconds that a cluster may go without serving before it is said why
_LINES = 5  # of each container's log
_TAIL = 200  # of which stack traces are left out first
_WIDTH = 400  # characters of a line that are shown: an agent's JSON has the message in front
_WARNINGS = 6


class Diagnosis:
    """Asks as kubectl would; what cannot be found out is said in its place.

    :param root: the folder that the local cluster runs in.
    """

    def __init__(self, client: Client, root: Path) -> None:
        self._client = client
        self._root = root

    def lines(self, namespace: str, cluster: str) -> list[str]:
        """What is wrong with the XlineCluster's Pods, for people; never raises for a server that does not answer."""
        found = [*short_of_room(self._root)]
        try:
            found += self._of_pods(namespace, cluster)
            found += self._warnings(namespace, cluster)
        except ClientError as error:
            found.append(f"the API server does not tell more: {error}")
        return found

    def _of_pods(self, namespace: str, cluster: str) -> Iterator[str]:
        selector = member_selector_text(cluster)
        pods = self._client.resource(PODS, namespace=namespace).list(label_selector=selector).items
        if not pods:
            yield "none of its Pods has been made"
        for pod in sorted(pods, key=lambda each: each.name):
            if not _is_ready(pod):
                yield from self._of_pod(pod)

    def _of_pod(self, pod: Unstructured) -> Iterator[str]:
        status: JSONMapping = pod.get("status") or {}
        yield f"Pod {pod.name} is not ready ({status.get('phase') or 'no phase'})"
        for each in status.get("conditions") or ():
            if each.get("type") == "PodScheduled" and each.get("status") == "False":
                yield f"  it cannot be scheduled: {each.get('message') or each.get('reason')}"
        for each in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
            yield f"  container {describe(each)}"
            yield from self._log(pod, each)

    def _log(self, pod: Unstructured, container: JSONMapping) -> Iterator[str]:
        # One that runs again has hardly logged why it ended before.
        previous = "running" in (container.get("state") or {}) and bool(container.get("restartCount"))
        query = {"container": str(container["name"]), "tailLines": str(_TAIL)}
        if previous:
            query["previous"] = "true"
        path = f"/api/v1/namespaces/{pod.namespace}/pods/{pod.name}/log"
        try:
            text = self._client.request("GET", path, query=query).body.decode(errors="replace")
        except ClientError as error:
            yield f"    its log cannot be read: {error}"
            return
        lines = without_stacks(text.splitlines())
        if not lines:
            yield "    it has logged nothing"
        for line in lines[-_LINES:]:
            yield f"    | {line if len(line) <= _WIDTH else line[:_WIDTH] + ' ...'}"

    def _warnings(self, namespace: str, cluster: str) -> Iterator[str]:
        """The last ones about the cluster and what is called after it, each once."""
        events = self._client.resource(EVENTS, namespace=namespace).list().items
        texts: dict[str, str] = {}
        for event in sorted(events, key=lambda each: each.creation_timestamp or datetime.fromtimestamp(0, UTC)):
            about = event.get("involvedObject") or {}
            name = str(about.get("name") or "")
            if event.get("type") == "Warning" and (name == cluster or name.startswith(f"{cluster}-")):
                text = f"  {about.get('kind')} {name}: {event.get('reason')}: {event.get('message')}"
                texts.pop(text, None)
                texts[text] = text
        if texts:
            yield "warnings:"
            yield from list(texts)[-_WARNINGS:]


class Watchman:
    """Says once, for each cluster that has not been served for :data:`PATIENCE` seconds, why that is.

    :param explain: ``Diagnosis.lines``.
    """

    def __init__(self, explain: Callable[[str, str], list[str]], clock: Clock = SYSTEM) -> None:
        self._explain = explain
        self._clock = clock
        self._since: dict[str, float] = {}
        self._told: set[str] = set()

    def look(self, clusters: Iterable[Unstructured]) -> list[str]:
        """What is to be said now; call it every now and then with all clusters."""
        now, said = self._clock.monotonic(), []
        out = {cluster.uid: cluster for cluster in clusters if not _is_served(cluster)}
        self._since = {uid: self._since.get(uid, now) for uid in out}
        self._told &= set(out)
        for uid, cluster in out.items():
            if uid not in self._told and now - self._since[uid] >= PATIENCE:
                self._told.add(uid)
                said.append(f"XlineCluster {cluster.name} is not served for {PATIENCE:.0f} s:")
                said += (f"  {line}" for line in self._explain(cluster.namespace, cluster.name))
        return said


def short_of_room(root: Path, members: int = 1) -> list[str]:
    """That the disk of a folder is too full for so many members, or cannot be looked at; nothing if it is not."""
    try:
        free = shutil.disk_usage(root).free
    except OSError as error:
        return [f"the disk of {root} cannot be looked at: {error}"]
    if free >= members * ROOM:
        return []
    return [f"the disk of {root} has {free >> 20} MiB left, and a member of etcd takes {ROOM >> 20} MiB to start"]


def without_stacks(lines: list[str]) -> list[str]:
    """A log up to where a Go program lists what its goroutines were at when it panicked: the reason stands before."""
    ends = (number for number, line in enumerate(lines) if re.match(r"goroutine \d+ .*:$", line))
    told = [line for line in lines[: next(ends, len(lines))] if line.strip()]
    return told or lines


def describe(container: JSONMapping) -> str:
    """One entry of ``containerStatuses``: its name, what it is at, and how it ended last."""
    state, last = container.get("state") or {}, (container.get("lastState") or {}).get("terminated")
    waiting, ended = state.get("waiting"), state.get("terminated")
    if waiting is not None:
        text = f"waits: {waiting.get('reason') or 'no reason given'}"
        text += f": {waiting['message']}" if waiting.get("message") else ""
    elif ended is not None:
        text, last = f"has ended: {_end(ended)}", None
    elif "running" in state:
        text = "runs" if container.get("ready") else "runs, and is not ready"
    else:
        text = "is in no state that is known"
    restarts = int(container.get("restartCount") or 0)
    times = f"; started {restarts + 1} times" if restarts else ""
    return f"{container.get('name')} {text}{times}{f'; ended last: {_end(last)}' if last else ''}"


def _end(terminated: JSONMapping) -> str:
    how = f"signal {terminated['signal']}" if terminated.get("signal") else f"exit status {terminated.get('exitCode')}"
    message = " / ".join(str(terminated.get("message") or "").split("\n")).strip()
    return f"{how} at {terminated.get('finishedAt')}{f': {message}' if message else ''}"


def _is_ready(pod: Unstructured) -> bool:
    return _is_true(pod, "Ready")


def _is_served(cluster: Unstructured) -> bool:
    return _is_true(cluster, "Available") or cluster.deletion_timestamp is not None


def _is_true(obj: Unstructured, kind: str) -> bool:
    conditions = (obj.get("status") or {}).get("conditions") or ()
    return any(each.get("type") == kind and each.get("status") == "True" for each in conditions)
