"""Manifests of earlier operators as manifests of this one.

The operator written in Rust had a CRD of another group and shape: a size, a whole container, templates of claims. What
has a place here is put there; what has none is named, with what becomes of it. Go's has ours, under an earlier group.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from crds.decoding import InvalidObject, decode
from crds.xlinecluster import RESOURCE, XlineCluster
from runtime.types import JSONMapping, JSONObject

# group -> versions it has had
RUST = {"xlineoperator.xline.cloud": ("v1alpha", "v1alpha1"), "xlineoperator.datenlord.io": ("v1alpha", "v1alpha1")}
GO = {"xline.kvstore.datenlord.com": ("v1alpha1",), RESOURCE.group: (RESOURCE.version,)}

INHERIT_LABELS = "xlineoperator.datenlord.io/inherit-label-prefix"
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_PORTS = {"xline": 2379, "sidecar": 2380}
_PROBES = ("livenessProbe", "readinessProbe", "startupProbe", "lifecycle")


@dataclass(frozen=True, slots=True)
class Note:
    """What somebody should know about one field.

    :ivar field: path in the old manifest.
    :ivar fatal: without a decision of a person there is no new manifest.
    """

    field: str
    text: str
    fatal: bool = False

    def __str__(self) -> str:
        return f"{self.field}: {self.text}"


@dataclass(slots=True)
class Conversion:
    """:ivar manifest: of this operator; None if a note is fatal."""

    manifest: JSONObject | None = None
    notes: list[Note] = field(default_factory=list)

    @property
    def failed(self) -> bool:
        return any(note.fatal for note in self.notes)

    def lost(self, field: str, text: str) -> None:
        self.notes.append(Note(field, text))


def is_ours(document: JSONMapping) -> bool:
    """Whether it is an XlineCluster of any operator; all other objects are none of our business."""
    group = str(document.get("apiVersion", "")).partition("/")[0]
    return document.get("kind") == RESOURCE.kind and (group in RUST or group in GO)


def convert(document: JSONMapping, own_flags: frozenset[str] = frozenset()) -> Conversion:
    """The manifest of this operator for an XlineCluster of an earlier one.

    :param own_flags: names of the server's flags that the operator sets itself.
    """
    made = Conversion()
    group, _, version = str(document.get("apiVersion", "")).partition("/")
    known = (*RUST.get(group, ()), *GO.get(group, ()))
    if document.get("kind") != RESOURCE.kind or version not in known:
        text = f"{document.get('apiVersion')} {document.get('kind')} is no XlineCluster of an earlier operator"
        made.notes.append(Note("apiVersion", text, fatal=True))
        return made
    metadata = _metadata(document, made)
    body = document.get("spec")
    if not isinstance(body, Mapping):
        made.notes.append(Note("spec", "is missing", fatal=True))
        return made
    spec = copy.deepcopy(dict(body)) if group in GO else _RustSpec(body, made, own_flags).converted()
    if group in RUST:
        _inherit_labels(metadata, spec, made)
    manifest: JSONObject = {
        "apiVersion": RESOURCE.gvr.api_version,
        "kind": RESOURCE.kind,
        "metadata": metadata,
        "spec": spec,
    }
    try:
        decode(XlineCluster, manifest)
    except InvalidObject as error:
        made.notes.append(Note(error.field or "spec", f"(of the new manifest) {error.problem}", fatal=True))
    made.manifest = None if made.failed else manifest
    return made


def _metadata(document: JSONMapping, made: Conversion) -> JSONObject:
    """What people write into it; the rest is the server's."""
    given = document.get("metadata")
    old: JSONMapping = given if isinstance(given, Mapping) else {}
    found = {key: copy.deepcopy(old[key]) for key in ("name", "namespace", "labels") if old.get(key)}
    annotations = {key: text for key, text in (old.get("annotations") or {}).items() if key != _LAST_APPLIED}
    if annotations:
        found["annotations"] = annotations
    for key in ("finalizers", "ownerReferences"):
        if old.get(key):
            made.lost(f"metadata.{key}", "is left out: it belongs to the old object")
    if not found.get("name"):
        made.notes.append(Note("metadata.name", "is missing", fatal=True))
    return found


def _inherit_labels(metadata: JSONObject, spec: JSONObject, made: Conversion) -> None:
    """The Rust operator gave labels of the cluster with certain beginnings to its objects."""
    annotations = metadata.get("annotations") or {}
    text = annotations.pop(INHERIT_LABELS, None)
    if not annotations:
        metadata.pop("annotations", None)
    if text is None:
        return
    beginnings = tuple(part.strip() for part in str(text).split(",") if part.strip())
    labels = {key: value for key, value in (metadata.get("labels") or {}).items() if key.startswith(beginnings)}
    if labels:
        template = spec.setdefault("podTemplate", {})
        template["metadata"] = {"labels": labels}
    made.lost(
        f"metadata.annotations[{INHERIT_LABELS}]",
        "is left out: the labels it chooses now stand in spec.podTemplate.metadata.labels, for Pods only",
    )


class _RustSpec:
    """The spec of one cluster of the Rust operator."""

    def __init__(self, spec: JSONMapping, made: Conversion, own_flags: frozenset[str]) -> None:
        self._spec = spec
        self._made = made
        self._own_flags = own_flags

    def converted(self) -> JSONObject:
        new: JSONObject = {"engine": "xline"}
        if "size" in self._spec:
            new["replicas"] = self._spec["size"]
        else:
            self._fatal("spec.size", "is missing")
        container = self._spec.get("container")
        if isinstance(container, Mapping):
            new.update(self._container(container))
        else:
            self._fatal("spec.container", "is missing")
        storage = self._storage()
        if storage:
            new["storage"] = storage
        if self._spec.get("affinity"):
            new["podTemplate"] = {"spec": {"affinity": copy.deepcopy(self._spec["affinity"])}}
        if self._spec.get("backup"):
            new["backup"] = self._backup(self._part("spec.backup", self._spec["backup"]))
        for index, _ in enumerate(self._spec.get("pvcs") or ()):
            self._lost(f"spec.pvcs[{index}]", "has no place: a member has one volume, which the operator mounts")
        for key in sorted(self._spec.keys() - {"size", "container", "affinity", "backup", "data", "pvcs"}):
            self._lost(f"spec.{key}", "is not known, and left out")
        return new

    # -- the container

    def _container(self, container: JSONMapping) -> JSONObject:
        kept = ("image", "imagePullPolicy", "resources")
        new: JSONObject = {key: copy.deepcopy(container[key]) for key in kept if container.get(key)}
        flags = list(self._flags(container.get("args") or ()))
        if flags:
            new["extraArgs"] = flags
        done = {"name", "image", "imagePullPolicy", "resources", "args"}
        for key in sorted(key for key in container.keys() - done if container[key]):
            self._without_place(key, container[key])
        return new

    def _without_place(self, key: str, value: object) -> None:
        path = f"spec.container.{key}"
        if key == "ports":
            for index, port in enumerate(value if isinstance(value, list) else ()):
                wanted = _PORTS.get(str(port.get("name")))
                if port.get("containerPort") != wanted:
                    self._lost(f"{path}[{index}]", "has no place: members listen on 2379 (clients) and 2380 (members)")
        elif key == "command":
            self._lost(path, "is left out: the operator starts the server, as the old one did")
        elif key in ("env", "envFrom"):
            self._lost(path, "has no place: give flags in spec.extraArgs (the old operator replaced env, too)")
        elif key == "volumeMounts":
            self._lost(path, "has no place: the operator mounts the member's volume")
        elif key == "securityContext":
            self._lost(path, "has no place: see spec.podTemplate.spec.securityContext")
        elif key in _PROBES:
            self._lost(path, "has no place: the operator sets its own")
        else:
            self._lost(path, "has no place, and is left out")

    def _flags(self, words: object) -> Iterator[str]:
        """``--name value`` as ``--name=value``."""
        path = "spec.container.args"
        pending = ""
        for index, word in enumerate(str(word) for word in (words if isinstance(words, list) else ())):
            text = word.replace("$(XLINE_POD_NAME)", "$(POD_NAME)")
            if pending and not text.startswith("--"):
                yield from self._flag(f"{path}[{index - 1}]", f"{pending}={text}")
                pending = ""
                continue
            if pending:
                yield from self._flag(f"{path}[{index - 1}]", pending)
            pending = ""
            if not text.startswith("--"):
                self._lost(f"{path}[{index}]", f"{word} is no flag, and has no place")
            elif "=" in text:
                yield from self._flag(f"{path}[{index}]", text)
            else:
                pending = text
        if pending:
            yield from self._flag(f"{path}[{len(words) - 1 if isinstance(words, list) else 0}]", pending)

    def _flag(self, path: str, flag: str) -> Iterator[str]:
        name = flag.removeprefix("--").partition("=")[0]
        if name in self._own_flags:
            self._lost(path, f"is left out: the operator sets --{name} itself")
        else:
            yield flag

    # -- volumes

    def _storage(self) -> JSONObject:
        claim = self._part("spec.data", self._spec.get("data"))
        if not claim:
            self._lost("spec.data", "is absent, which was scratch space: each member now has a volume (spec.storage)")
            return {}
        return self._volume("spec.data", claim)

    def _volume(self, path: str, claim: JSONMapping) -> JSONObject:
        """``size`` and ``storageClassName`` of a claim's template."""
        spec = self._part(f"{path}.spec", claim.get("spec"))
        resources = self._part(f"{path}.spec.resources", spec.get("resources"))
        new: JSONObject = {}
        size = self._part(f"{path}.spec.resources.requests", resources.get("requests")).get("storage")
        if size is None:
            self._fatal(f"{path}.spec.resources.requests.storage", "is missing")
        else:
            new["size"] = str(size)
        if spec.get("storageClassName") is not None:
            new["storageClassName"] = spec["storageClassName"]
        if spec.get("accessModes") not in (None, ["ReadWriteOnce"]):
            self._lost(f"{path}.spec.accessModes", "has no place: volumes are ReadWriteOnce")
        for key in sorted(spec.keys() - {"resources", "storageClassName", "accessModes"}):
            self._lost(f"{path}.spec.{key}", "has no place, and is left out")
        if resources.get("limits"):
            self._lost(f"{path}.spec.resources.limits", "has no place, and is left out")
        if self._part(f"{path}.metadata", claim.get("metadata")).keys() - {"name"}:
            self._lost(f"{path}.metadata", "has no place: the operator names and labels its claims")
        return new

    # -- backups

    def _backup(self, backup: JSONMapping) -> JSONObject:
        new: JSONObject = {}
        if backup.get("cron"):
            new["schedule"] = backup["cron"]
        else:
            self._fatal("spec.backup.cron", "is missing")
        s3 = self._part("spec.backup.s3", backup.get("s3"))
        claim = self._part("spec.backup.pvc", backup.get("pvc"))
        if s3:
            new["destination"] = {"s3": {"bucket": s3.get("bucket", "")}}
            self._lost(
                "spec.backup.s3",
                "says neither where the store is nor with which keys: add endpoint, region and secretName to "
                "spec.backup.destination.s3 unless the Pods' account has the rights",
            )
        elif claim:
            new["destination"] = {"volume": self._volume("spec.backup.pvc", claim)}
        else:
            self._fatal("spec.backup", "has neither s3 nor pvc")
        return new

    def _part(self, path: str, value: object) -> JSONMapping:
        if value is None or isinstance(value, Mapping):
            return value or {}
        self._fatal(path, f"is {value!r}, where an object is wanted")
        return {}

    def _lost(self, path: str, text: str) -> None:
        self._made.lost(path, text)

    def _fatal(self, path: str, text: str) -> None:
        self._made.notes.append(Note(path, text, fatal=True))
