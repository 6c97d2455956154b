"""Faults of a server that runs, over HTTP: what ``kubectl get --raw /_fake/faults`` and its like ask for."""

from __future__ import annotations

from collections.abc import Callable

import orjson

from runtime.testing.apiserver.errors import StatusError, bad_request
from runtime.testing.apiserver.faults.freeze import Freeze
from runtime.testing.apiserver.faults.language import BadFault
from runtime.testing.apiserver.faults.outages import Outages
from runtime.testing.apiserver.faults.ruleset import Faults
from runtime.testing.apiserver.faults.skew import MOST, SkewedClock
from runtime.testing.apiserver.http import Request, Response
from runtime.testing.apiserver.store import Store
from runtime.types import JSONObject

PREFIX = "/_fake"


def is_control(path: str) -> bool:
    """Whether the path is none of a real server's, but this server's own."""
    return path == PREFIX or path.startswith(f"{PREFIX}/")


class Control:
    """Answers requests below :data:`PREFIX`; no fault strikes them, and no pause. Thread-safe."""

    def __init__(
        self,
        faults: Faults,
        freeze: Freeze,
        outages: Outages,
        clock: SkewedClock,
        store: Store,
        close_connections: Callable[[], None],
    ) -> None:
        self._faults = faults
        self._freeze = freeze
        self._outages = outages
        self._clock = clock
        self._store = store
        self._close_connections = close_connections
        self._actions: dict[str, Callable[[Request], None]] = {
            "pause": lambda request: freeze.pause(_seconds(request, float("inf"))),
            "resume": lambda _: freeze.resume(),
            "restart": lambda request: outages.restart_soon(_seconds(request, 0.0)),
            "compact": lambda _: self._compact(),
            "skew": lambda request: self._skew(_seconds(request, 0.0, -MOST, MOST)),
            "cut": lambda _: self._cut(),
        }

    def serve(self, request: Request) -> Response:
        """The answer. Raises :class:`StatusError`."""
        what, _, rest = request.path[len(PREFIX) :].strip("/").partition("/")
        if what == "faults":
            return self._serve_faults(request, rest)
        if not what:
            if request.method not in ("GET", "HEAD"):
                raise StatusError(405, "MethodNotAllowed", f"{request.path} takes a GET, not a {request.method}")
            return Response(200, orjson.dumps(self._state()))
        action = self._actions.get(what)
        if action is None or rest:
            known = ", ".join(f"{PREFIX}/{each}" for each in ("faults", *self._actions))
            raise StatusError(404, "NotFound", f"there is no {request.path} here: there are {PREFIX}, {known}")
        if request.method not in ("POST", "PUT"):
            raise StatusError(405, "MethodNotAllowed", f"{request.path} takes a POST, not a {request.method}")
        action(request)
        return Response(200, orjson.dumps(self._state()))

    def _serve_faults(self, request: Request, id_: str) -> Response:
        try:
            match request.method, bool(id_):
                case ("GET" | "HEAD", False):
                    return self._all(200)
                case ("GET" | "HEAD", True):
                    found = [fault for fault in self._faults if fault.id == id_]
                    if found:
                        return Response(200, orjson.dumps(found[0].to_dict()))
                case ("POST", False):
                    added = self._faults.load(request.body)
                    return Response(201, orjson.dumps({"faults": [fault.to_dict() for fault in added]}))
                case ("PUT", False):
                    self._faults.replace(request.body)
                    return self._all(200)
                case ("DELETE", False):
                    self._faults.clear()
                    return self._all(200)
                case ("DELETE", True):
                    if self._faults.remove(id_):
                        return self._all(200)
                case _:
                    raise StatusError(405, "MethodNotAllowed", f"{request.path} takes no {request.method}")
        except BadFault as error:
            raise bad_request(str(error)) from error
        raise StatusError(404, "NotFound", f"there is no fault {id_!r}")

    def _all(self, code: int) -> Response:
        return Response(code, orjson.dumps({"faults": [fault.to_dict() for fault in self._faults]}))

    def _state(self) -> JSONObject:
        return {
            "paused": self._freeze.is_on,
            "restarts": self._outages.lives,
            "skew": self._clock.skew,
            "resourceVersion": str(self._store.version),
            "faults": len(self._faults),
        }

    def _compact(self) -> None:
        self._store.compact()

    def _skew(self, seconds: float) -> None:
        self._clock.skew = seconds

    def _cut(self) -> None:
        self._close_connections()


def _seconds(request: Request, default: float, low: float = 0.0, high: float = float("inf")) -> float:
    """Of the query."""
    text = request.query.get("seconds")
    if text is None:
        return default
    try:
        seconds = float(text)
    except ValueError:
        seconds = float("nan")
    if not low <= seconds <= high or seconds == float("inf"):
        limits = f"from {low:.0f} " + ("on" if high == float("inf") else f"to {high:.0f}")
        raise bad_request(f"seconds: expected a number {limits}, got {text!r}")
    return seconds
