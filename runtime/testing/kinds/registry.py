"""All kinds that one server knows: the built-in ones, and those of its CustomResourceDefinitions."""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterable

from runtime.clock import SYSTEM, Clock
from runtime.testing.kinds.behaviours import behaviour_of
from runtime.testing.kinds.builtin import builtin_kinds
from runtime.testing.kinds.crds.naming import is_established, next_status
from runtime.testing.kinds.model import Kind
from runtime.testing.kinds.services import ServiceAddresses
from runtime.types import GVR, JSONObject


class DefaultRegistry:
    """The registry of a :class:`~runtime.testing.FakeAPIServer`. Thread-safe.

    :param clock: for the times in conditions, and wherever else the server writes when something was.
    :param addresses: what gives Services their addresses and node ports.
    """

    def __init__(self, clock: Clock | None = None, addresses: ServiceAddresses | None = None) -> None:
        self._clock = clock or SYSTEM
        self.addresses = addresses or ServiceAddresses()
        self._lock = threading.Lock()  # guards all below; readers take a whole dict, which is never changed
        self._builtin = {
            kind.gvr: kind for kind in builtin_kinds(lambda row: behaviour_of(row, self.addresses, self._clock))
        }
        self._kinds: dict[GVR, Kind] = dict(self._builtin)
        self._crds: dict[str, JSONObject] = {}
        self._changed: set[str] = set()  # CRDs that were others when objects of theirs may have been stored
        self._generation = 0

    @property
    def generation(self) -> int:
        """Moves whenever a kind comes, goes or changes: what was computed from the kinds is then out of date."""
        return self._generation

    def lookup(self, gvr: GVR) -> Kind | None:
        """The kind served there, or None."""
        return self._kinds.get(gvr)

    def kinds(self) -> Iterable[Kind]:
        """All kinds, in the order in which discovery lists them."""
        return list(self._kinds.values())

    def install_crd(self, crd: JSONObject) -> JSONObject:
        """Take one step towards serving the CRD's versions, which are served once its names were accepted. Called for
        each creation and each change of a stored CRD, and again until the status stays as it is.

        :returns: the CRD's new status, to be stored with it.
        """
        name = crd["metadata"]["name"]
        crd = copy.deepcopy(crd)
        with self._lock:
            others = [each for key, each in self._crds.items() if key != name]
            crd["status"] = next_status(crd, others, self._clock.now())
            before, self._crds[name] = self._crds.get(name), crd
            if before is None or _what_counts(before) != _what_counts(crd):
                if crd["metadata"].get("generation", 1) > 1 or (before or crd)["spec"] != crd["spec"]:
                    self._changed.add(name)
                self._replace(crd, _served(crd, changed=name in self._changed))
        return copy.deepcopy(crd["status"])

    def remove_crd(self, crd: JSONObject) -> None:
        """Serve the CRD's kinds no longer. Removing one that is not installed changes nothing."""
        with self._lock:
            self._changed.discard(crd["metadata"]["name"])
            if self._crds.pop(crd["metadata"]["name"], None) is not None:
                self._replace(crd, [])

    def _replace(self, crd: JSONObject, served: Iterable[Kind]) -> None:
        group, plural = crd["spec"]["group"], crd["spec"]["names"]["plural"]
        kinds = {
            gvr: kind
            for gvr, kind in self._kinds.items()
            if gvr in self._builtin or (gvr.group, gvr.resource) != (group, plural)
        }
        kinds.update({kind.gvr: kind for kind in served if kind.gvr not in self._builtin})
        self._kinds = kinds
        self._generation += 1


def _served(crd: JSONObject, *, changed: bool) -> list[Kind]:
    if not is_established(crd):
        return []
    from runtime.testing.kinds.crds.served import (
        kinds_of,  # with schemas and CEL, which a server without CRDs needs not
    )

    return kinds_of(crd, changed=changed)


def _what_counts(crd: JSONObject) -> tuple[object, ...]:
    """As with the real server: while these are the same, so are the kinds, and watches of them go on."""
    return crd["spec"], crd["status"]["acceptedNames"], is_established(crd), crd["metadata"].get("uid")
