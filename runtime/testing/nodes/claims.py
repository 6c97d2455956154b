"""PersistentVolumeClaims as folders, ``root/pvc/NAMESPACE/CLAIM``, that outlive Pods, processes and this program."""

from __future__ import annotations

import json
import os
import shutil
import threading
from pathlib import Path

from runtime.client import ApiError, Client, NotFound, Unstructured
from runtime.types import GVR, JSONObject

CLAIMS = GVR("", "v1", "persistentvolumeclaims")
STORAGE_CLASSES = GVR("storage.k8s.io", "v1", "storageclasses")
_KEEP = "local.nodes/reclaim-policy"  # annotation on a claim: Retain keeps its folder


class Claims:
    """The claims' folders, and the binder that tells the API about them.

    A folder belongs to one claim object (``CLAIM.json`` beside it holds its uid): the claim's deletion removes it,
    unless its StorageClass, or its own annotation ``local.nodes/reclaim-policy``, says Retain; then it is renamed to
    ``CLAIM.released-UID``. A claim of the same name in another cluster (a fresh FakeAPIServer on the same root)
    takes the folder over with its data; in the same cluster it gets a new one, as its predecessor was deleted
    while nobody looked.

    :param cluster: identity of the API server's state: uid of the namespace kube-system, or ``""`` if unknown.
    """

    def __init__(self, root: Path, client: Client, cluster: str) -> None:
        self._root = root / "pvc"
        self._client = client
        self._cluster = cluster
        self._lock = threading.Lock()  # guards _users, _deleted and the folders' records
        self._users: dict[str, set[str]] = {}  # claim uid -> uids of Pods that run with it
        self._deleted: dict[str, Unstructured] = {}  # deleted while in use

    def folder(self, claim: Unstructured) -> Path:
        """The claim's folder; it is made if need be."""
        path = self._root / claim.namespace / claim.name
        with self._lock:
            record = _read_record(path)
            if record is not None and record["uid"] != claim.uid and self._cluster == record["cluster"] != "":
                _remove(path)
            path.mkdir(parents=True, exist_ok=True)
            _write_record(path, {"uid": claim.uid, "cluster": self._cluster})
        return path

    def use(self, claim: Unstructured, pod_uid: str) -> Path:
        """The folder, kept until :meth:`release` even if the claim is deleted."""
        with self._lock:
            self._users.setdefault(claim.uid, set()).add(pod_uid)
        return self.folder(claim)

    def release(self, pod_uid: str) -> None:
        """The Pod's processes have ended."""
        with self._lock:
            for users in self._users.values():
                users.discard(pod_uid)
            free = [uid for uid in self._deleted if not self._users.get(uid)]
            gone = [self._deleted.pop(uid) for uid in free]
        for claim in gone:
            self._reclaim(claim)

    def deleted(self, claim: Unstructured) -> None:
        """The claim object is gone from the API."""
        with self._lock:
            if self._users.get(claim.uid):
                self._deleted[claim.uid] = claim
                return
        self._reclaim(claim)

    def bind(self, claim: Unstructured) -> None:
        """Report the claim as bound to its folder; nothing is written if it is already.

        :raises ApiError: the write failed; call again.
        """
        body = claim.to_dict()
        spec, status = body["spec"], body.get("status") or {}
        volume = f"local-{claim.uid}"
        resource = self._client.resource(CLAIMS, claim.namespace)
        self.folder(claim)
        if not spec.get("volumeName"):
            body = resource.patch(
                claim.name,
                {
                    "metadata": {"uid": claim.uid, "annotations": {"pv.kubernetes.io/bind-completed": "yes"}},
                    "spec": {"volumeName": volume},
                },
            ).to_dict()
        requests = (spec.get("resources") or {}).get("requests") or {}
        wanted = {
            "phase": "Bound",
            "accessModes": spec.get("accessModes") or ["ReadWriteOnce"],
            "capacity": {"storage": requests.get("storage", "1Gi")},
        }
        if any(status.get(key) != value for key, value in wanted.items()):
            body["status"] = {**(body.get("status") or {}), **wanted}
            resource.update_status(body)

    def _reclaim(self, claim: Unstructured) -> None:
        retain = self._retains(claim)
        path = self._root / claim.namespace / claim.name
        with self._lock:
            record = _read_record(path)
            if record is None or record["uid"] != claim.uid:
                return  # a new claim of that name has it already
            if retain:
                os.replace(path, path.with_name(f"{path.name}.released-{claim.uid}"))
            _remove(path)

    def _retains(self, claim: Unstructured) -> bool:
        policy = claim.annotations.get(_KEEP)
        storage_class = claim.get("spec", {}).get("storageClassName")
        if policy is None and storage_class:
            try:
                policy = self._client.resource(STORAGE_CLASSES).get(storage_class).get("reclaimPolicy")
            except NotFound:
                policy = "Delete"
            except ApiError:
                return True  # unknown: a folder too many can still be removed by hand
        return policy == "Retain"


def _record_path(path: Path) -> Path:
    return path.with_name(path.name + ".json")


def _read_record(path: Path) -> JSONObject | None:
    try:
        record: JSONObject = json.loads(_record_path(path).read_text())
    except (FileNotFoundError, ValueError):
        return None
    return record


def _write_record(path: Path, record: JSONObject) -> None:
    if _read_record(path) != record:
        new = _record_path(path).with_suffix(".tmp")
        new.write_text(json.dumps(record))
        os.replace(new, _record_path(path))


def _remove(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)
    _record_path(path).unlink(missing_ok=True)
