"""Aggregated ClusterRoles: roles whose rules are those of all roles that their selectors match.

In a real cluster a controller writes them a moment later. Here they are written before the write that changed them is
answered, so that a test need not wait; and before the next request where roles have changed without one.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable

from runtime.selectors import LabelSelector, SelectorError
from runtime.testing.apiserver.access.rbac import CLUSTER_ROLES, GROUP
from runtime.testing.apiserver.apply import server_side_apply
from runtime.testing.apiserver.context import Context
from runtime.testing.apiserver.errors import StatusError
from runtime.testing.apiserver.routing import Target
from runtime.testing.apiserver.write_options import WriteOptions
from runtime.testing.apiserver.writes import Writer
from runtime.testing.kinds.model import Kind
from runtime.types import GVR, JSONMapping, JSONObject

_MANAGER = "clusterrole-aggregation-controller"


class Aggregation:
    """Thread-safe."""

    def __init__(self, context: Context, writer: Writer) -> None:
        self._context = context
        self._writer = writer
        self._lock = threading.Lock()  # one pass at a time; each sees what the one before has written
        self._seen = self._changes  # how many changes of roles have been taken in

    @property
    def _changes(self) -> int:
        return self._context.store.log(CLUSTER_ROLES).end

    def catch_up(self) -> None:
        """Bring all aggregated roles up to date. Costs nothing where no role has changed."""
        if self._seen == self._changes:
            return
        kind = self._context.registry.lookup(GVR(GROUP, "v1", "clusterroles"))
        if kind is None:
            return  # a registry of somebody's own
        with self._lock:
            # A role may be put together from others that are put together themselves, and so on; or from each other.
            for _ in range(len(self._roles()) + 1):
                seen = self._changes
                changed = self._pass(kind)
                self._seen = seen
                if not changed:
                    return

    def _roles(self) -> list[JSONObject]:
        return [each.obj for each in self._context.store.snapshot(CLUSTER_ROLES)[0]]

    def _pass(self, kind: Kind) -> bool:
        """Returns whether anything was out of date."""
        roles = self._roles()
        changed = False
        for role in roles:
            selectors = (role.get("aggregationRule") or {}).get("clusterRoleSelectors")
            if selectors:
                rules = _gather(role, selectors, roles)
                if rules != (role.get("rules") or []):
                    self._write(kind, role["metadata"], rules)
                    changed = True
        return changed

    def _write(self, kind: Kind, metadata: JSONMapping, rules: list[JSONMapping]) -> None:
        name = metadata["name"]
        config = {
            "apiVersion": kind.gvr.api_version,
            "kind": kind.kind,
            "metadata": {"name": name, "uid": metadata["uid"]},  # one that is gone is not to come back by this
            "rules": rules,
        }
        options = WriteOptions(manager=_MANAGER)
        try:
            server_side_apply(self._writer, self._context, Target(kind, "", name, ""), config, options, force=True)
        except StatusError as error:
            stored = self._context.store.get(CLUSTER_ROLES, "", name)
            same = stored is not None and stored.uid == metadata["uid"]
            if same and error.code != 409:  # gone or changed meanwhile: that write has a pass of its own
                raise


def _gather(role: JSONMapping, selectors: Iterable[JSONMapping], roles: Iterable[JSONMapping]) -> list[JSONMapping]:
    """The rules of all other roles that a selector matches, each once: selector by selector, in the order of the names
    of the roles."""
    others = [each for each in roles if each["metadata"]["name"] != role["metadata"]["name"]]
    rules: list[JSONMapping] = []
    for selector in selectors:
        for other in others:
            if _matches(selector, other["metadata"].get("labels") or {}):
                rules.extend(rule for rule in other.get("rules") or () if rule not in rules)
    return rules


def _matches(selector: JSONMapping, labels: JSONMapping) -> bool:
    try:
        return LabelSelector.from_dict(selector).matches(labels)
    except SelectorError:
        return False
