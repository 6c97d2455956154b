"""The manifests of all our resources: made from the types, and held against the files beside this module."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from crds import orleansclusterversion, orleanssilo, xlinecluster
from crds.definition import CustomResource

RESOURCES: tuple[CustomResource, ...] = (
    xlinecluster.RESOURCE,
    orleanssilo.RESOURCE,
    orleansclusterversion.RESOURCE,
)

FOLDER = Path(__file__).resolve().parent

_HEADER = "# Generated from crds/{module}.py by `make generate`. Change that module, not this file.\n"


def file_name(resource: CustomResource) -> str:
    """``xlineclusters.yaml``."""
    return f"{resource.plural}.yaml"


def render(resource: CustomResource) -> str:
    """The manifest as YAML; the same text every time."""
    module = resource.type.__module__.rpartition(".")[2]
    plain = json.loads(json.dumps(resource.manifest()))  # shared parts would become anchors
    body: str = yaml.safe_dump(plain, sort_keys=False, width=110, allow_unicode=True)
    return _HEADER.format(module=module) + body


def write_all(folder: Path) -> list[Path]:
    """Write every manifest into ``folder``, which is made if it does not exist. Returns the files."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for resource in RESOURCES:
        path = folder / file_name(resource)
        path.write_text(render(resource), encoding="utf-8")
        paths.append(path)
    return paths


def differing(folder: Path = FOLDER) -> list[str]:
    """The files in ``folder`` that are missing or not what the types say now."""
    found = []
    for resource in RESOURCES:
        path = folder / file_name(resource)
        if not path.is_file() or path.read_text(encoding="utf-8") != render(resource):
            found.append(file_name(resource))
    return found
