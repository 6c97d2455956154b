"""The document as HTML: a function of the document and of nothing else, so that what is seen is what the JSON says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from runtime.manager.statuspage.document import (
    ControllerStatus,
    Document,
    ElectionStatus,
    EventStatus,
    InformerStatus,
)
from runtime.manager.statuspage.frame import framed, pill
from runtime.manager.statuspage.markup import Child, Html, element
from runtime.manager.statuspage.objectlist import object_list
from runtime.manager.statuspage.plots import Line, plot
from runtime.manager.statuspage.words import count, duration, size

__all__ = ["render"]

_SHORT: Final = ("Objects", "JSON", "Last event", "Last bookmark", "Stale at most", "Relists", "Backlog", "From")
_EVENTS: Final = 20  # the document has more
_STATES: Final[Mapping[str, tuple[str, str]]] = {
    "working": ("working", "good"),
    "standby": ("standing by", "calm"),
    "waiting": ("waiting", "bad"),
    "not_started": ("not started", "calm"),
    "running": ("running", "good"),
    "stopping": ("stopping", "warn"),
    "new": ("starting", "calm"),
}


def render(document: Document) -> bytes:
    """The whole page, as UTF-8."""
    header = element(
        "header",
        element("h1", document.name),
        element("p", pill(*_STATES[document.state]), _leadership(document.election), class_="pills"),
        element("p", _whereabouts(document), class_="sub"),
        class_="top",
    )
    main = element(
        "main",
        _trouble(document),
        _section("controllers", "Controllers", [_controller(each) for each in document.controllers], "cards"),
        _recent(document),
        _informers(document.informers),
        _events(document),
        id="main",
    )
    title = f"({len(document.stuck) + len(document.problems)}) " if document.stuck or document.problems else ""
    return framed(f"{title}{document.name} on {document.host}", header, main)


def _whereabouts(document: Document) -> str:
    up = "" if document.up is None else f" · up {duration(document.up)}"
    return f"{document.host} · process {document.pid}{up} · {document.at[:10]} {document.at[11:19]} UTC"


def _leadership(election: ElectionStatus | None) -> Child:
    if election is None:
        return None
    lease = f"{election.namespace}/{election.lease}"
    if election.leads:
        text = f"leads · lease {lease}, good for {duration(round(election.expires_in))}"
        return pill(text, "good")
    if election.leader:
        return pill(f"{election.leader} leads · lease {lease}", "calm")
    return pill(f"nobody leads · lease {lease}", "warn")


def _section(key: str, title: str, body: Child, class_: str | None = None) -> Html:
    return element(
        "section",
        element("h2", title, id=f"{key}-title"),
        element("div", body, class_=class_),
        id=key,
        aria_labelledby=f"{key}-title",
    )


def _trouble(document: Document) -> Html:
    found = len(document.stuck) + document.stuck_left_out + len(document.problems)
    told = "Nothing is stuck." if not found else f"{count(found)} in trouble"
    controllers = {each.name: each for each in document.controllers}
    body: list[Child] = [element("p", told, class_="verdict " + ("bad" if found else "good"), role="status")]
    if document.problems:
        body.append(
            element(
                "ul",
                [
                    element("li", element("strong", problem.about), element("span", problem.why), class_="problem")
                    for problem in document.problems
                ],
                class_="problems",
            )
        )
    if document.stuck:
        body.append(object_list(document.stuck, controllers, "stuck"))
    if document.stuck_left_out:
        body.append(element("p", f"and {count(document.stuck_left_out)} more objects", class_="more"))
    return _section("trouble", "Needs attention", body)


def _controller(controller: ControllerStatus) -> Html:
    series = controller.series
    return element(
        "article",
        element("h3", element("bdi", controller.name), pill(*_STATES[controller.state])),
        [element("p", f"waits for {gvr}: {why}", class_="waits") for gvr, why in controller.waits_for.items()],
        element(
            "div",
            plot("Queue", series.ago, [Line("queued", series.depth)], count, at_least=10),
            plot(
                f"Busy of {controller.workers}",
                series.ago,
                [Line("busy", series.busy)],
                _hundredths,
                at_least=controller.workers,
            ),
            plot(
                "Runs",
                series.ago,
                [Line("runs", series.rate), Line("errors", series.errors, "bad")],
                _per_second,
                at_least=1,
            ),
            plot(
                "Latency",
                series.ago,
                [Line("median", series.p50), Line("p99", series.p99, "other")],
                duration,
                at_least=0.001,
            ),
            class_="plots",
        ),
        _facts(
            {
                "queued": count(controller.depth),
                "running": f"{controller.active} of {controller.workers}",
                "scheduled": count(controller.delayed),
                "parked": count(controller.parked),
                "succeeded": count(controller.totals["success"] + controller.totals["requeue_after"]),
                "failed": _failed(controller),
                "timed out": count(controller.timeouts),
            }
        ),
        class_="card",
        data_key=controller.name,
    )


def _failed(controller: ControllerStatus) -> str:
    for_good = controller.totals["terminal_error"]
    return count(controller.totals["error"]) + (f", {count(for_good)} for good" if for_good else "")


def _facts(facts: Mapping[str, str]) -> Html:
    return element(
        "dl",
        [element("div", element("dt", name), element("dd", value)) for name, value in facts.items()],
        class_="facts",
    )


def _hundredths(number: float) -> str:
    return f"{number:.3g}" if number >= 0.01 or not number else f"{number:.2f}"


def _per_second(number: float) -> str:
    return f"{count(number)}/s"


def _recent(document: Document) -> Html:
    form = element(
        "form",
        element("label", "Find objects", for_="object"),
        element(
            "input",
            id="object",
            name="object",
            type="search",
            value=document.filter,
            placeholder="namespace/name",
            autocomplete="off",
            autocapitalize="off",
            spellcheck="false",
            maxlength=200,
        ),
        element("button", "Find", type="submit"),
        role="search",
        method="get",
        action="./",
        class_="find",
    )
    controllers = {each.name: each for each in document.controllers}
    known = sum(each.objects for each in document.controllers)
    body: list[Child] = [form]
    if document.recent:
        body.append(object_list(document.recent, controllers, "recent"))
    else:
        nothing = "Nothing of that name that is not stuck was reconciled." if document.filter else "Nothing yet."
        body.append(element("p", nothing, class_="nothing"))
    if document.recent_left_out:
        more = (
            f"and {count(document.recent_left_out)} more of the {count(known)} that are remembered: find them by name"
        )
        body.append(element("p", more, class_="more"))
    return _section("recent", "Reconciled last", body)


def _informers(informers: Sequence[InformerStatus]) -> Html:
    columns = (
        "Resource",
        "State",
        "Objects",
        "JSON",
        "Last event",
        "Last bookmark",
        "Stale at most",
        "Relists",
        "Backlog",
    )
    return _section(
        "informers", "Informers", _table("What is cached", columns, [_informer(each) for each in informers])
    )


def _informer(informer: InformerStatus) -> tuple[str, Sequence[Child]]:
    where = f" in {informer.namespace}" if informer.namespace else ""
    error: Child = None
    if informer.error:
        at = "" if informer.error_ago is None else f"{duration(informer.error_ago)} ago: "
        error = element("p", f"{at}{informer.error}", class_="note")
    quarantined = [
        element("p", element("bdi", key), f": {why}", class_="note") for key, why in informer.quarantined.items()
    ]
    cells: list[Child] = [
        [element("span", informer.resource, class_="mono"), where],
        [_connection(informer), error, quarantined],
        count(informer.objects),
        size(informer.bytes),
        _age(informer.last_event),
        _age(informer.last_bookmark),
        "-" if informer.age is None else duration(round(informer.age)),
        f"{count(informer.relists)} / {count(informer.watch_restarts)}",
        count(informer.backlog),
    ]
    return f"{informer.resource} {informer.namespace}", cells


def _connection(informer: InformerStatus) -> Html:
    if not informer.synced:
        refusal = {403: "may not be listed", 404: "is not served"}.get(informer.refused, "not complete")
        return pill(refusal, "bad" if informer.required else "calm")
    if not informer.connected:
        return pill("watch lost", "bad")
    if informer.quarantined_count:
        return pill(f"{informer.quarantined_count} left out", "warn")
    return pill("connected", "good")


def _age(seconds: float | None) -> str:
    return "never" if seconds is None else f"{duration(round(seconds))} ago"


def _events(document: Document) -> Html:
    body: list[Child] = []
    shown = document.events[:_EVENTS]
    if shown:
        columns = ("When", "Type", "Object", "Reason", "Message", "From")
        body.append(_table("What this process recorded", columns, [_event(each) for each in shown]))
    else:
        body.append(element("p", "This process has recorded none.", class_="nothing"))
    if len(document.events) > len(shown):
        body.append(element("p", f"and {len(document.events) - len(shown)} before, which the JSON has", class_="more"))
    if document.events_dropped:
        dropped = ", ".join(f"{count(number)} {cause}" for cause, number in document.events_dropped.items())
        body.append(element("p", f"not written: {dropped}", class_="more"))
    return _section("events", "Events", body)


def _event(event: EventStatus) -> tuple[str, Sequence[Child]]:
    where = f"{event.namespace}/{event.name}" if event.namespace else event.name
    cells: list[Child] = [
        _age(event.ago),
        pill(event.type, "warn" if event.type == "Warning" else "calm"),
        [f"{event.kind} ", element("bdi", where, class_="mono")],
        [
            event.reason,
            element("span", f" \N{MULTIPLICATION SIGN}{count(event.count)}", class_="times")
            if event.count > 1
            else None,
        ],
        element("span", event.message, class_="message"),
        event.component,
    ]
    return f"{event.component} {event.kind} {where} {event.type} {event.reason} {event.message}", cells


def _table(caption: str, columns: Sequence[str], rows: Sequence[tuple[str, Sequence[Child]]]) -> Html:
    """Rows with their keys. On a phone each row is a card of its own, and each cell tells its column."""
    return element(
        "table",
        element("caption", caption),
        element("thead", element("tr", [element("th", name, scope="col") for name in columns])),
        element(
            "tbody",
            [
                element(
                    "tr",
                    [
                        element("td", cell, data_label=name, class_="short" if name in _SHORT else None)
                        if number
                        else element("th", cell, scope="row", data_label=name)
                        for number, (name, cell) in enumerate(zip(columns, cells, strict=True))
                    ],
                    data_key=key,
                )
                for key, cells in rows
            ],
        ),
    )
