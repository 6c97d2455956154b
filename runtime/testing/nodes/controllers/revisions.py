"""ControllerRevisions: which Pod template is the newest, and what the older ones said."""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import dataclass

import orjson

from runtime.client import AlreadyExists, Client, NotFound, Unstructured
from runtime.testing.nodes.controllers.pods import owner_reference
from runtime.testing.nodes.controllers.workload import Workload
from runtime.types import GVR, JSONObject

REVISIONS = GVR("apps", "v1", "controllerrevisions")


@dataclass(frozen=True, slots=True)
class Revisions:
    """The templates a set is between: Pods move from ``current`` to ``update``; equal when nothing rolls."""

    current: str
    update: str
    templates: dict[str, JSONObject]

    def template(self, revision: str) -> JSONObject:
        return self.templates.get(revision) or self.templates[self.update]


def sync_revisions(client: Client, workload: Workload, existing: list[Unstructured]) -> Revisions:
    """Record the set's template as a revision if it is a new one, and find what it rolls from.

    :param existing: the ControllerRevisions which the set controls, from the cache. One that the cache does not
        show yet is met as AlreadyExists and means the same, as its name is a hash of its content.
    """
    update = revision_name(workload)
    templates = {r.name: r["data"]["spec"]["template"] for r in existing}
    newest = max((int(r["revision"]) for r in existing), default=0)
    mine = next((r for r in existing if r.name == update), None)
    api = client.resource(REVISIONS, namespace=workload.namespace)
    if mine is None:
        with contextlib.suppress(AlreadyExists):  # created by us a moment ago
            api.create(_revision(workload, update, newest + 1))
        templates[update] = workload.template
    elif int(mine["revision"]) < newest:  # the template went back to an older one
        api.patch(update, {"revision": newest + 1}, type="merge")
    status: JSONObject = workload.owner.get("status") or {}
    current = status.get("currentRevision") or update
    return Revisions(current if current in templates else update, update, templates)


def forget_old_revisions(
    client: Client, workload: Workload, existing: list[Unstructured], used: frozenset[str]
) -> None:
    """Delete the oldest revisions that no Pod uses, beyond the set's revisionHistoryLimit."""
    unused = sorted((r for r in existing if r.name not in used), key=lambda r: int(r["revision"]))
    for revision in unused[: max(0, len(unused) - workload.revision_history_limit)]:
        try:
            client.resource(REVISIONS, namespace=workload.namespace).delete(revision.name)
        except NotFound:
            continue


def revision_name(workload: Workload) -> str:
    digest = hashlib.sha256(orjson.dumps(workload.template, option=orjson.OPT_SORT_KEYS)).hexdigest()
    return f"{workload.name}-{digest[:10]}"


def _revision(workload: Workload, name: str, number: int) -> JSONObject:
    labels = (workload.template.get("metadata") or {}).get("labels") or {}
    return {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": {
            "name": name,
            "namespace": workload.namespace,
            "labels": labels,
            "ownerReferences": [owner_reference(workload.owner, controller=True)],
        },
        "data": {"spec": {"template": workload.template}},
        "revision": number,
    }
