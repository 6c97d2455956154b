"""All objects of a server as a folder of YAML files, and back, each exactly as it was."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from runtime.testing.apiserver import crds
from runtime.testing.apiserver.context import Context
from runtime.testing.apiserver.kubeyaml import dump_yaml, parse_yaml
from runtime.testing.apiserver.log import Stored
from runtime.testing.apiserver.store import StorageKey, clone
from runtime.testing.apiserver.writes import to_storage
from runtime.testing.kinds.model import DecodeError, Kind
from runtime.testing.manifests import crds_first, documents
from runtime.types import JSONObject

STATE = "state.yaml"  # beside the folders of the API groups: what is no object
_CORE = "core"  # the folder of the group that has no name
_LONGEST = 250  # bytes of a name that is followed by .yaml: file systems take 255
_KEPT = 150  # of one that is longer
_HEAD = """\
# Written by FakeAPIServer.save(), read by FakeAPIServer.load(). Every other file here is one object, in
# GROUP/RESOURCE/[NAMESPACE/]NAME.yaml. Files that are added need neither uid nor resourceVersion.
"""


@dataclass(slots=True)
class Saved:
    """What :func:`read_state` has found.

    :param version: the server's last resourceVersion.
    :param restored: what a server has had, with its uid and its version, and where it is stored.
    :param new: what somebody wrote: to be created as any other manifest. CustomResourceDefinitions come first.
    """

    version: int
    restored: list[tuple[StorageKey, JSONObject]]
    new: list[tuple[Path, JSONObject]]


def write_state(context: Context, folder: Path) -> None:
    """Replace the folder by one that holds every object as of one moment. Only its owner can read it: Secrets are in it
    in the clear.

    :raises ValueError: the folder holds files, but no state that was saved: it is left as it is.
    :raises OSError: it cannot be written.
    """
    prepare(folder)
    with context.store.locked():
        version = context.store.version
        found = [(key, context.store.snapshot(key)[0]) for key in context.store.resources()]
    whole = _new_beside(folder)
    try:
        for key, objects in found:
            _write_objects(whole, key, objects)
        (whole / STATE).write_text(f'{_HEAD}resourceVersion: "{version}"\n', encoding="utf-8")
        _swap(whole, folder)
    finally:
        shutil.rmtree(whole, ignore_errors=True)


def prepare(folder: Path) -> None:
    """See whether :func:`write_state` can write there, whose errors it raises. Makes the folders above it, and ends
    what a process that was killed had begun."""
    old = _aside(folder)
    if old.exists() and folder.exists():
        shutil.rmtree(old)
    elif old.exists():
        os.rename(old, folder)
    if folder.is_mount():
        raise ValueError(f"{folder}: is a mount point, which cannot be replaced; name a folder in it")
    if folder.exists() and not (folder / STATE).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder}: holds something else than a saved state; name another folder, or empty it")
    _new_beside(folder).rmdir()


def _new_beside(folder: Path) -> Path:
    """Where a state is put together: on the same file system, so that it can be moved into its place."""
    folder = folder.resolve()
    folder.parent.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))


def _aside(folder: Path) -> Path:
    """Where the old state is while the new one takes its place."""
    folder = folder.resolve()
    return folder.with_name(f".{folder.name}.fake-apiserver-old")


def _write_objects(root: Path, key: StorageKey, objects: Iterable[Stored]) -> None:
    for stored in objects:
        place = root / (key[0] or _CORE) / key[1] / stored.namespace
        place.mkdir(parents=True, exist_ok=True)
        obj = {"apiVersion": stored.obj["apiVersion"], "kind": stored.obj["kind"], **stored.copy()}
        (place / _file_name(stored.name)).write_bytes(dump_yaml(obj, sort_keys=False))


def _file_name(name: str) -> str:
    """Names may be longer than file systems take; what is read is what the file says."""
    encoded = name.encode()
    if len(encoded) <= _LONGEST:
        return f"{name}.yaml"
    return f"{encoded[:_KEPT].decode(errors='ignore')}~{hashlib.sha256(encoded).hexdigest()}.yaml"


def _swap(whole: Path, folder: Path) -> None:
    """Who is killed in between leaves the old state aside, where :func:`prepare` and :func:`read_state` find it."""
    old, folder = _aside(folder), folder.resolve()
    if folder.exists():
        os.rename(folder, old)
    os.rename(whole, folder)
    shutil.rmtree(old, ignore_errors=True)


def read_state(context: Context, folder: Path) -> Saved:
    """What :func:`write_state` has written, and files that were added to it. A folder of objects that kubectl has got
    from a real server is read the same way.

    :raises ValueError: a file holds something else than objects, or one that this server cannot have; it names it.
    :raises OSError: a file cannot be read.
    """
    if not folder.exists() and _aside(folder).is_dir():
        folder = _aside(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: there is no such folder")
    old: list[tuple[Path, JSONObject]] = []
    new: list[tuple[Path, JSONObject]] = []
    for file, obj in documents(folder):
        if file == folder / STATE:
            continue
        metadata = obj.get("metadata")
        if not isinstance(metadata, dict) or not isinstance(metadata.get("name"), str):
            raise ValueError(f"{file}: an object without metadata.name")
        (old if metadata.get("uid") and metadata.get("resourceVersion") else new).append((file, obj))
    if not (old or new or (folder / STATE).is_file()):
        raise ValueError(f"{folder}: holds neither a saved state nor a manifest")
    places = _Places(context, [obj for _, obj in (*old, *new)])
    restored = [(places.of(file, obj), obj) for file, obj in old]
    _check_once([(file, key, obj) for (file, _), (key, obj) in zip(old, restored, strict=True)])
    for file, obj in new:
        places.check_known(file, obj)
    newest = max((int(obj["metadata"]["resourceVersion"]) for _, obj in old), default=1)
    version = max(newest, _version(folder))
    return Saved(version, restored, crds_first(new))


def _check_once(found: Iterable[tuple[Path, StorageKey, JSONObject]]) -> None:
    files: dict[tuple[StorageKey, str, str], Path] = {}
    for file, key, obj in found:
        metadata = obj["metadata"]
        identity = (key, metadata.get("namespace", ""), metadata["name"])
        if identity in files:
            raise ValueError(f"{file}: {obj['kind']} {metadata['name']} is in {files[identity]}, too")
        files[identity] = file


def restore(context: Context, saved: Saved) -> None:
    """Put ``saved.restored`` in place of all objects there are. What was saved while it was being deleted goes on."""
    for stored in context.store.snapshot(crds.CRDS)[0]:
        crds.unregister(context, stored.obj)
    context.store.restore(saved.restored, saved.version)
    for key, obj in saved.restored:
        if key == crds.CRDS:  # its status, which says what names it has, is what it was
            context.registry.install_crd(clone(obj))
    context.on_terminating()


def _version(folder: Path) -> int:
    file = folder / STATE
    with contextlib.suppress(FileNotFoundError):
        state = parse_yaml(file.read_text(encoding="utf-8"))
        try:
            return int(state["resourceVersion"])  # type: ignore[index]
        except (TypeError, KeyError, ValueError):
            raise ValueError(f"{file}: expected resourceVersion, a number") from None
    return 1


class _Places:
    """Where objects are stored: of built-in kinds as the registry says, of others as their CRD says."""

    def __init__(self, context: Context, objects: Iterable[JSONObject]) -> None:
        self._builtin = {
            (kind.gvr.api_version, kind.kind): kind for kind in context.registry.kinds() if not kind.custom
        }
        self._custom: dict[tuple[str, str], tuple[StorageKey, bool]] = {}
        for obj in objects:
            spec = obj.get("spec")
            if obj.get("kind") == "CustomResourceDefinition" and isinstance(spec, dict):
                names = spec.get("names")
                name = str(names.get("kind")) if isinstance(names, dict) else ""
                self._custom[str(spec.get("group")), name] = crds.instances_of(obj), spec.get("scope") == "Namespaced"

    def of(self, file: Path, obj: JSONObject) -> StorageKey:
        """Checks the object on the way, and gives it the form in which it is stored."""
        api_version, name = str(obj.get("apiVersion")), str(obj.get("kind"))
        kind = self._builtin.get((api_version, name))
        if kind is not None:
            _check(file, obj, namespaced=kind.namespaced)
            _convert(file, kind, obj)
            return kind.storage_key
        self.check_known(file, obj)
        key, namespaced = self._custom[api_version.rpartition("/")[0], name]
        _check(file, obj, namespaced=namespaced)
        return key

    def check_known(self, file: Path, obj: JSONObject) -> None:
        """:raises ValueError: the kind is neither built in, nor is its CRD in the folder."""
        api_version, name = str(obj.get("apiVersion")), str(obj.get("kind"))
        if (api_version, name) in self._builtin or (api_version.rpartition("/")[0], name) in self._custom:
            return
        raise ValueError(f"{file}: the server knows no kind {name} in {api_version}; add its CRD to the folder")


def _check(file: Path, obj: JSONObject, *, namespaced: bool) -> None:
    metadata = obj["metadata"]
    if bool(metadata.get("namespace")) != namespaced or not isinstance(metadata.get("namespace", ""), str):
        should = "needs a namespace" if namespaced else "is in no namespace"
        raise ValueError(f"{file}: {obj['kind']} {metadata['name']} {should}")
    version = str(metadata["resourceVersion"])
    if not (version.isascii() and version.isdigit()):
        raise ValueError(f"{file}: metadata.resourceVersion {version!r} is no number")


def _convert(file: Path, kind: Kind, obj: JSONObject) -> None:
    try:
        kind.behaviour.default(clone(obj))  # only to see that it fits its type
    except DecodeError as error:
        raise ValueError(f"{file}: {error}") from error
    stored = to_storage(kind, clone(obj))
    obj.clear()
    obj.update(stored)
