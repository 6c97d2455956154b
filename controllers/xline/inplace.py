"""New images in the Pods that are there.

Kubernetes lets the image of a container change in a living Pod, and the kubelet then replaces that container alone:
the Pod keeps its node, its address and its volume. If a template differs from the Pod's in nothing but images, that is
all there is to do. The Pod gets the revision of the template with it, as Kruise does it, so that its controller counts
it as updated.
"""

from __future__ import annotations

import copy
import hashlib
from typing import Any, Final

import orjson

from controllers.xline.workloads import Workload
from runtime.client import Unstructured
from runtime.types import JSONMapping, JSONObject

# On the template and its Pods: digest of everything in the template but the images of its containers.
TEMPLATE: Final = "xline.io.datenlord.com/template"
# On a Pod: which runs of its containers have to end for its last update to be done, as JSON: {container: containerID}.
REPLACED: Final = "xline.io.datenlord.com/replaced-containers"
_REVISION: Final = "controller-revision-hash"


def with_digest(template: JSONObject) -> JSONObject:
    """The template with the annotation that tells whether another differs from it in images alone."""
    marked = copy.deepcopy(template)
    bare = copy.deepcopy(template)
    for container in bare["spec"].get("containers") or ():
        container.pop("image", None)
    digest = hashlib.blake2b(orjson.dumps(bare, option=orjson.OPT_SORT_KEYS), digest_size=16).hexdigest()
    marked.setdefault("metadata", {}).setdefault("annotations", {})[TEMPLATE] = digest
    return marked


def possible(workload: Workload, pod: Unstructured) -> bool:
    """Whether nothing but images has to change to make the Pod one of the present template.

    Not while an update of it is unfinished: were that taken back before the kubelet has seen it, no container would be
    replaced, and nobody could tell that from one that is still to come.
    """
    return not unfinished(pod) and pod.annotations.get(TEMPLATE) == _annotation(workload.template, TEMPLATE)


def patch(workload: Workload, pod: Unstructured) -> JSONObject:
    """What makes the Pod one of the present template: a strategic merge patch, for this very state of the Pod."""
    images = {container["name"]: container.get("image") for container in _containers(workload.template)}
    changed = {
        container["name"]: images[container["name"]]
        for container in _containers(pod.to_dict())
        if images.get(container["name"]) not in (None, container.get("image"))
    }
    runs = _container_ids(pod)
    record = {name: runs.get(name, "") for name in changed}
    return {
        "metadata": {
            "uid": pod.uid,
            "resourceVersion": pod.resource_version,
            "labels": {_REVISION: workload.update_revision},
            "annotations": {REPLACED: orjson.dumps(record).decode()},
        },
        "spec": {"containers": [{"name": name, "image": image} for name, image in changed.items()]},
    }


def unfinished(pod: Unstructured) -> bool:
    """Whether a container still runs, or waits, as it was before the Pod's last update."""
    text = pod.annotations.get(REPLACED)
    if not text:
        return False
    try:
        record = orjson.loads(text)
    except orjson.JSONDecodeError:
        return False  # not ours
    runs = _container_ids(pod)
    return isinstance(record, dict) and any(runs.get(name, "") == before for name, before in record.items())


def _container_ids(pod: Unstructured) -> dict[str, str]:
    status: JSONMapping = pod.get("status") or {}
    return {found["name"]: found.get("containerID") or "" for found in status.get("containerStatuses") or ()}


def _containers(template: JSONMapping) -> list[dict[str, Any]]:
    return list((template.get("spec") or {}).get("containers") or ())


def _annotation(template: JSONMapping, name: str) -> str:
    found = ((template.get("metadata") or {}).get("annotations") or {}).get(name)
    return str(found) if found else ""  # which no Pod has: one without the annotation has None
