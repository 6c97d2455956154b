"""One write: which request tells the server of a series, and what its answer means."""

from __future__ import annotations

from runtime.client import AlreadyExists, ApiError, Client, NotFound, ResourceClient
from runtime.clock import Clock
from runtime.record.apis import CORE, Choice, EventAPI, Told, WhichAPI, is_refusal

__all__ = ["Writer"]

CALL_TIMEOUT = 10.0  # seconds for one request


class Writer:
    """Tells the server of series. Keeps nothing of them. Safe for use from many threads."""

    def __init__(self, client: Client, clock: Clock, api: WhichAPI) -> None:
        self._client = client
        self._choice = Choice(client, clock, api)

    def write(self, told: Told, api: EventAPI | None, maybe_told: int) -> EventAPI:
        """Create the event, or bring the one that there is up to ``told``. May be repeated, whatever it raised.

        :param api: through which the server got it; None: it has no such event ...
        :param maybe_told: ... but it may have, with this count: a create was not answered. 0: it has none.
        :returns: through which API the server has it now.
        :raises AlreadyExists: somebody else's event has its name, if it was not told yet. Else it was deleted and
            created between two of our requests (V6).
        :raises ClientError: it could not be told, or not for sure.
        """
        routes = (CORE,) if api is CORE else self._choice.of(told.namespace)
        for route in routes[:-1]:
            try:
                return self._write(route, told, api, maybe_told)
            except ApiError as error:
                if not is_refusal(error):
                    raise
                refusal = error
        written = self._write(routes[-1], told, api, maybe_told)
        if len(routes) > 1:
            self._choice.refused(told.namespace, refusal)
        return written

    def _write(self, route: EventAPI, told: Told, api: EventAPI | None, maybe_told: int) -> EventAPI:
        events = self._client.resource(route.gvr, namespace=told.namespace)
        if api is not None:
            try:
                self._patch(events, api, told)
            except NotFound as error:
                if error.details.kind == "namespaces":
                    raise
                # It has expired on the server: make it anew, with its count (E7, V6).
            else:
                return api
        try:
            events.create(route.create(told), timeout=CALL_TIMEOUT)
        except AlreadyExists:
            if not maybe_told:
                raise
            if told.count > maybe_told:
                self._patch(events, route, told)
        return route

    @staticmethod
    def _patch(events: ResourceClient, api: EventAPI, told: Told) -> None:
        events.patch(told.name, api.patch(told), type="merge", timeout=CALL_TIMEOUT)
