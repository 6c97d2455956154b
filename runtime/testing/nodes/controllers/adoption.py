"""Pods and revisions that a set takes over: those it would have made itself, and that nobody controls any more.

They are left behind when a set is deleted with its dependents orphaned, which is how the parts of a StatefulSet are
changed that cannot change: it is made again, and finds its Pods as it left them.
"""

from __future__ import annotations

from runtime.client import ApiError, Client, Conflict, Invalid, NotFound, Unstructured
from runtime.selectors import LabelSelector
from runtime.testing.nodes.controllers.pods import owner_reference
from runtime.testing.nodes.controllers.workload import Workload
from runtime.types import GVR


def adopt(client: Client, set_gvr: GVR, gvr: GVR, workload: Workload, found: list[Unstructured]) -> list[Unstructured]:
    """What the set controls of ``found``, orphans it has just taken over included.

    :param found: objects of the set's namespace, from a cache. An orphan is adopted if the set's selector selects its
        labels; that its name fits, too, is the caller's to look at before.
    """
    owner = workload.owner
    mine = [o for o in found if any(r.uid == owner.uid and r.controller for r in o.owner_references)]
    selector = LabelSelector.from_dict(workload.selector or {})
    orphans = [
        o for o in found if o.controller_owner is None and o.deletion_timestamp is None and selector.matches(o.labels)
    ]
    if selector.empty or not orphans or not _lives(client, set_gvr, owner):
        return mine
    api = client.resource(gvr, namespace=workload.namespace)
    for orphan in orphans:
        body = {"metadata": {"uid": orphan.uid, "ownerReferences": [owner_reference(owner, controller=True)]}}
        try:
            mine.append(api.patch(orphan.name, body, type="strategic"))
        except (NotFound, Conflict, Invalid):
            continue  # it went, or another took it; the next look tells
    return mine


def _lives(client: Client, gvr: GVR, owner: Unstructured) -> bool:
    """Asks the server: a set that is being deleted, of which our cache does not know yet, must not take back what it
    is letting go."""
    try:
        live = client.resource(gvr, namespace=owner.namespace).get(owner.name)
    except ApiError:
        return False
    return live.uid == owner.uid and live.deletion_timestamp is None
