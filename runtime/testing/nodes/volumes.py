"""A Pod's volumes as folders, and its containers' mounts of them.

Claims and emptyDirs are folders that outlive the processes; configMap, secret, downwardAPI and projected volumes are
files written before the first container starts and again when their source changes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath

from runtime.testing.nodes.expand import ConfigError, Sources, expand, field_value, resource_value
from runtime.testing.nodes.rewrite import Mount
from runtime.types import JSONMapping, JSONObject

Files = dict[str, tuple[bytes, int]]  # path below the volume -> content and mode
_DEFAULT_MODE = 0o644


class VolumeError(Exception):
    """A volume cannot be mounted; the message names it. The Pod waits and tries again."""


class PodVolumes:
    """The volumes of one Pod, below its folder. Used by the Pod's worker only.

    :param claim: folder of a PersistentVolumeClaim of the Pod's namespace; raises :class:`VolumeError`.
    """

    def __init__(self, folder: Path, sources: Sources, claim: Callable[[str], Path]) -> None:
        self._folder = folder
        self._sources = sources
        self._claim = claim
        self._paths: dict[str, Path] = {}

    def prepare(self, pod: JSONMapping) -> None:
        """Make all volumes, or bring their files up to date.

        :raises VolumeError: one cannot be had (yet).
        """
        for volume in pod["spec"].get("volumes") or ():
            try:
                self._paths[volume["name"]] = self._prepare(pod, volume)
            except (ConfigError, OSError) as error:
                raise VolumeError(f"MountVolume.SetUp failed for volume {volume['name']!r}: {error}") from error

    def mounts(self, container: JSONMapping, environment: Mapping[str, str]) -> list[Mount]:
        """Where the container's mount paths really are.

        :raises VolumeError: a mount names no volume, or its subPath leaves the volume.
        """
        return [self._mount(mount, environment) for mount in container.get("volumeMounts") or ()]

    def _mount(self, mount: JSONMapping, environment: Mapping[str, str]) -> Mount:
        path = self._paths.get(mount["name"])
        if path is None:
            raise VolumeError(
                f"volumeMount {mount['mountPath']} names volume {mount['name']!r}, which is not in the Pod"
            )
        below = mount.get("subPath") or expand(mount.get("subPathExpr") or "", environment)
        if below:
            if below.startswith("/") or ".." in PurePosixPath(below).parts:
                raise VolumeError(f"subPath {below!r} of volume {mount['name']!r} must stay inside the volume")
            path = path / below
            if not path.exists():
                path.mkdir(parents=True)
        return Mount(mount["mountPath"], str(path))

    def _prepare(self, pod: JSONMapping, volume: JSONMapping) -> Path:
        if "persistentVolumeClaim" in volume:
            return self._claim(volume["persistentVolumeClaim"]["claimName"])
        path: Path = self._folder / volume["name"]
        if not (volume.keys() - {"name"}) or "emptyDir" in volume:
            path.mkdir(parents=True, exist_ok=True)
            return path
        for kind, read in self._readers().items():
            if kind in volume:
                _write_files(path, read(pod, volume[kind]))
                return path
        kind = next(iter(volume.keys() - {"name"}))
        raise VolumeError(f"volume {volume['name']!r}: {kind} volumes are not supported by local nodes")

    def _readers(self) -> dict[str, Callable[[JSONMapping, JSONMapping], Files]]:
        return {
            "configMap": self._configmap,
            "secret": self._secret,
            "downwardAPI": self._downward,
            "projected": self._projected,
        }

    def _configmap(self, _: JSONMapping, source: JSONMapping) -> Files:
        return _keyed(source, "ConfigMap", source["name"], self._sources.configmap)

    def _secret(self, _: JSONMapping, source: JSONMapping) -> Files:
        return _keyed(source, "Secret", source.get("secretName") or source["name"], self._sources.secret)

    def _downward(self, pod: JSONMapping, source: JSONMapping) -> Files:
        files: Files = {}
        mode = source.get("defaultMode") or _DEFAULT_MODE
        for item in source.get("items") or ():
            if "fieldRef" in item:
                value = field_value(pod, item["fieldRef"]["fieldPath"], self._sources.fields)
            else:
                value = resource_value(pod, {}, item["resourceFieldRef"], self._sources.allocatable)
            files[item["path"]] = (value.encode(), item.get("mode") or mode)
        return files

    def _projected(self, pod: JSONMapping, source: JSONMapping) -> Files:
        files: Files = {}
        mode = source.get("defaultMode") or _DEFAULT_MODE
        readers = self._readers()
        for part in source.get("sources") or ():
            for kind, value in part.items():
                if kind not in ("configMap", "secret", "downwardAPI"):
                    raise ConfigError(f"projected {kind} is not supported by local nodes")
                files.update(readers[kind](pod, {"defaultMode": mode, **value}))
        return files


def _keyed(source: JSONMapping, kind: str, name: str, lookup: Callable[[str], Mapping[str, bytes] | None]) -> Files:
    mode = source.get("defaultMode") or _DEFAULT_MODE
    data = lookup(name)
    if data is None:
        if source.get("optional"):
            return {}
        raise ConfigError(f'{kind.lower()} "{name}" not found')
    items: list[JSONObject] | None = source.get("items")
    if items is None:
        return {key: (value, mode) for key, value in data.items()}
    files: Files = {}
    for item in items:
        if item["key"] in data:
            files[item["path"]] = (data[item["key"]], item.get("mode") or mode)
        elif not source.get("optional"):
            raise ConfigError(f"{kind} {name} has no key {item['key']!r}")
    return files


def _write_files(folder: Path, files: Files) -> None:
    """Make the folder hold exactly these files; each changes at once, never half."""
    folder.mkdir(parents=True, exist_ok=True)
    for path, (content, mode) in files.items():
        if path.startswith("/") or ".." in PurePosixPath(path).parts:
            raise ConfigError(f"path {path!r} must stay inside the volume")
        target = folder / path
        if target.is_file() and target.read_bytes() == content:
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        new = target.with_name(f".{target.name}.new")
        new.unlink(missing_ok=True)
        new.write_bytes(content)
        new.chmod(mode)
        os.replace(new, target)
    wanted = {folder / path for path in files}
    for present in [p for p in folder.rglob("*") if p.is_file() and p not in wanted]:
        present.unlink()
