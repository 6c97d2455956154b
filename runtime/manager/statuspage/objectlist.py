"""A list of objects: each a line that opens, with its last runs behind it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

from runtime.manager.statuspage.document import ControllerStatus, ObjectStatus, RunStatus
from runtime.manager.statuspage.frame import pill
from runtime.manager.statuspage.markup import Child, Html, element
from runtime.manager.statuspage.words import count, duration

__all__ = ["object_list", "reason"]

_STATES: Final[Mapping[str, tuple[str, str]]] = {
    "running": ("running", "calm"),
    "parked": ("parked", "warn"),
    "queued": ("queued", "calm"),
    "backing_off": ("backing off", "bad"),
    "failed": ("failed", "bad"),
    "scheduled": ("scheduled", "good"),
    "idle": ("done", "good"),
}
_STRIP: Final = 10  # runs
_TALLEST: Final = 16
_SHORTEST: Final = 3


def object_list(objects: Sequence[ObjectStatus], controllers: Mapping[str, ControllerStatus], where: str) -> Html:
    """:param where: tells this list from others: an object may be in several."""
    return element(
        "ul", [_item(each, controllers.get(each.controller), where) for each in objects], class_=f"objects {where}"
    )


def reason(status: ObjectStatus, controller: ControllerStatus | None) -> str:
    """Why it is not done, in a sentence."""
    since = "" if status.since is None else duration(status.since)
    if status.state == "backing_off":
        times = "time" if status.failures == 1 else "times"
        due = "now" if not status.due else f"in {duration(status.due)}"
        return f"failed {count(status.failures)} {times} in a row, in trouble for {since}; next try {due}"
    if status.state == "failed":
        return f"failed for good {since} ago; tried again when it, or something it watches, changes"
    told = f", after {count(status.failures)} failures" if status.failures else ""
    if status.state == "running":
        return f"running for {since}{told}"
    if status.state == "queued":
        busy = controller is not None and controller.active >= controller.workers
        who = (
            "its worker is"
            if controller is None or controller.workers == 1
            else f"all {controller.workers} workers are"
        )
        return f"queued for {since}{told}" + (f": {who} busy" if busy else "")
    if status.state == "parked":
        return f"parked for {since}{told}, until a cache shows what its last run wrote{_cache_of(status)}"
    ran = f"ran {since} ago" if since else "has not run"
    return f"{ran}; due in {duration(status.due)}" if status.due is not None else ran


def _cache_of(status: ObjectStatus) -> str:
    wait = status.waits_for
    if wait is None:
        return ""
    lost = "; that cache has lost its watch" if wait.watch_lost else ""
    return f": {wait.resource}{f' in {wait.namespace}' if wait.namespace else ''}, {wait.missing}{lost}"


def _item(status: ObjectStatus, controller: ControllerStatus | None, where: str) -> Html:
    state, kind = _STATES[status.state]
    name = f"{status.namespace}/{status.name}" if status.namespace else status.name
    key = f"{where} {status.controller} {name}"
    if status.error and kind in ("calm", "good"):
        kind = "bad"  # whatever it is doing now, it failed last
    return element(
        "li",
        element(
            "details",
            element(
                "summary",
                pill(state, kind),
                element(
                    "span",
                    element("bdi", name, class_="name"),
                    element("span", status.controller, class_="of"),
                    class_="what",
                ),
                element(
                    "span",
                    element("span", reason(status, controller), class_="reason"),
                    element("span", status.error.partition("\n")[0], class_="error") if status.error else None,
                    class_="why",
                ),
                _strip(status.runs),
            ),
            element("div", _opened(status), class_="opened"),
        ),
        data_key=key,
    )


def _strip(runs: Sequence[RunStatus]) -> Html:
    """A bar for each run, the latest at the right; the taller, the longer it took, by orders of magnitude."""
    shown = list(reversed(runs[:_STRIP]))
    failed = sum(bool(run.error) for run in shown)
    bars = []
    for number, run in enumerate(shown, start=_STRIP - len(shown)):
        # From a tenth of a millisecond to ten seconds.
        height = _SHORTEST + (_TALLEST - _SHORTEST) * min(1.0, max(0.0, (math.log10(max(run.seconds, 1e-9)) + 4) / 5))
        bars.append(
            element(
                "rect",
                class_="bad" if run.error else "good",
                x=number * 5,
                y=f"{_TALLEST - height:.1f}",
                width=4,
                height=f"{height:.1f}",
                rx=1,
            )
        )
    told = f"last {len(shown)} runs, {failed} failed" if shown else "no runs yet"
    return element("svg", bars, class_="strip", viewBox=f"0 0 {_STRIP * 5} {_TALLEST}", role="img", aria_label=told)


def _opened(status: ObjectStatus) -> list[Child]:
    parts: list[Child] = []
    if status.stack:
        parts.append(element("h4", "Where it is"))
        parts.append(element("pre", "\n".join(status.stack), tabindex=0))
    if status.error:
        parts.append(element("h4", "What went wrong last"))
        parts.append(element("pre", status.error, class_="error", tabindex=0))
    if status.runs:
        parts.append(
            element(
                "table",
                element("caption", "Last runs"),
                element("thead", element("tr", [element("th", name, scope="col") for name in _RUN_COLUMNS])),
                element("tbody", [_run(run, status.error) for run in status.runs]),
                class_="runs",
            )
        )
    if not parts:
        parts.append(element("p", "It has not run since this process began.", class_="nothing"))
    return parts


_RUN_COLUMNS: Final = ("Ended", "Result", "Took", "Error", "reconcileID")


def _run(run: RunStatus, told: str) -> Html:
    """:param told: the error that is shown in full already."""
    result = run.result.replace("_", " ")
    cells: tuple[Child, ...] = (
        f"{duration(run.ago)} ago",
        pill(result, "bad" if run.error else "good"),
        duration(run.seconds),
        "-" if not run.error else "as above" if run.error == told else element("span", run.error, class_="message"),
        element("span", run.reconcile_id, class_="mono") if run.reconcile_id else "-",
    )
    return element("tr", [element("td", cell, data_label=name) for name, cell in zip(_RUN_COLUMNS, cells, strict=True)])
