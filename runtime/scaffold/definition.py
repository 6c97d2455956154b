"""What a project has to know of the CustomResourceDefinition it is for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from runtime.testing.manifests import documents
from runtime.types import GVR, JSONObject


class ScaffoldError(Exception):
    """The project cannot be made; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Definition:
    """One served version of a custom resource: the stored one.

    :param schema: its OpenAPI schema.
    """

    manifest: JSONObject
    gvr: GVR
    kind: str
    singular: str
    namespaced: bool
    status: bool
    schema: JSONObject

    @property
    def conditions(self) -> bool:
        """Whether its status takes conditions of the usual shape."""
        field = _property(_property(self.schema, "status"), "conditions")
        return self.status and {"type", "status"} <= set(_property(field.get("items") or {}))

    @property
    def api_version(self) -> str:
        return f"{self.gvr.group}/{self.gvr.version}"


def _property(schema: JSONObject, name: str | None = None) -> JSONObject:
    properties: JSONObject = schema.get("properties") or {}
    return properties if name is None else properties.get(name) or {}


def read(file: Path) -> Definition:
    """The one CustomResourceDefinition in this file.

    :raises ScaffoldError: the file cannot be read, or does not hold exactly one.
    """
    try:
        found = [each for _, each in documents(file) if each.get("kind") == "CustomResourceDefinition"]
    except (OSError, ValueError) as error:
        raise ScaffoldError(f"--crd {file}: {error}") from error
    if len(found) != 1:
        names = ", ".join(str((each.get("metadata") or {}).get("name")) for each in found)
        seen = f"{len(found)}: {names}" if found else "none"
        raise ScaffoldError(f"--crd {file}: one CustomResourceDefinition is needed, found {seen}")
    try:
        return _definition(found[0])
    except (KeyError, TypeError, StopIteration) as error:
        raise ScaffoldError(f"--crd {file}: not a complete apiextensions.k8s.io/v1 definition: {error!r}") from error


def _definition(manifest: JSONObject) -> Definition:
    spec = manifest["spec"]
    version = next(each for each in spec["versions"] if each.get("storage"))
    names = spec["names"]
    return Definition(
        manifest=manifest,
        gvr=GVR(spec["group"], version["name"], names["plural"]),
        kind=names["kind"],
        singular=names.get("singular") or names["kind"].lower(),
        namespaced=spec.get("scope") == "Namespaced",
        status="status" in (version.get("subresources") or {}),
        schema=version["schema"]["openAPIV3Schema"],
    )
