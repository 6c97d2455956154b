"""The files of a new project, and how they are written."""

from __future__ import annotations

import keyword
import re
import shutil
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

import yaml

from runtime.client import ApiError
from runtime.scaffold.definition import Definition, ScaffoldError, read
from runtime.scaffold.sample import sample_object
from runtime.types import GVR, JSONObject

_TEMPLATES: Final = Path(__file__).parent / "templates"
_NAME = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
_FIELD = re.compile(r"\{\{ (\w+) \}\}")
_CRDS: Final = GVR("apiextensions.k8s.io", "v1", "customresourcedefinitions")
_DISTRIBUTION: Final = "xline-operator"
# Folders of a project, and packages that it imports or that come with this library.
_TAKEN: Final = {"controllers", "crds", "deploy", "membership", "pytest", "runtime", "tests", "xline_operator", "yaml"}
# What the templates of a controller call something else.
_VARIABLES: Final = {
    "applied",
    "asked",
    "conditions",
    "ctx",
    "desired",
    "json",
    "key",
    "name",
    "request",
    "status",
    "value",
}
_CONSTANTS: Final = {"CONFIGMAPS", "GVR"}


@dataclass(frozen=True, slots=True)
class Project:
    """What was written, and what its author has to look at first.

    :param refused: why an API server does not take the sample object as it is, or "".
    """

    folder: Path
    package: str
    files: tuple[Path, ...]
    refused: str


def write(name: str, crd: Path, folder: Path | None = None) -> Project:
    """Write the project: a package with a controller and its entry point, tests, manifests, an image and a README.

    :param name: what it is called: a DNS label; the package has ``_`` for ``-``.
    :param crd: a file with the CustomResourceDefinition it is for.
    :param folder: where; default: a new folder of that name. It must not exist, or be empty.
    :raises ScaffoldError: a wrong name, a file that is no definition or that an API server refuses, a folder in use.
    """
    package = _package(name)
    definition = read(crd)
    folder = folder if folder is not None else Path(name)
    _check_free(folder)
    sample = sample_object(definition)
    refused = _tried(definition, sample, crd)
    fields = _fields(name, package, definition, crd.name)
    written = []
    for template in sorted(each for each in _TEMPLATES.rglob("*") if each.is_file()):
        path = _FIELD.sub(lambda found: fields[found[1]], str(template.relative_to(_TEMPLATES))).removesuffix(".tmpl")
        text = _FIELD.sub(lambda found: fields[found[1]], template.read_text(encoding="utf-8"))
        written.append(_put(folder / path.replace("dot-", "."), text))
    note = "".join(f"# {line}\n" for line in refused.splitlines())
    written.append(_put(folder / "sample.yaml", note + yaml.safe_dump(sample, sort_keys=False)))
    copy = folder / "crds" / crd.name
    copy.parent.mkdir(exist_ok=True)
    written.append(Path(shutil.copyfile(crd, copy)))
    return Project(folder, package, tuple(written), refused)


def _package(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ScaffoldError(
            f"NAME {name!r} is no name for a Deployment: lower-case letters, digits and '-', a letter first, 63 at most"
        )
    package = name.replace("-", "_")
    if keyword.iskeyword(package) or package in sys.stdlib_module_names or package in _TAKEN:
        raise ScaffoldError(f"NAME {name!r} is taken by Python or by this library; try {name + '-controller'!r}")
    if yaml.safe_load(name) != name or name in ("y", "n"):  # which are true and false to kubectl
        raise ScaffoldError(f"NAME {name!r} is no text in YAML; try {name + '-controller'!r}")
    return package


def _check_free(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ScaffoldError(f"{folder} exists and is not an empty folder; choose another with --output")


def _put(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def _tried(definition: Definition, sample: JSONObject, crd: Path) -> str:
    """Whether a server takes the definition and the sample: why it refuses the sample, or ""."""
    from runtime.testing import FakeAPIServer

    with FakeAPIServer() as server, server.client() as client:
        try:
            client.resource(_CRDS).create(definition.manifest)
        except ApiError as error:
            raise ScaffoldError(f"--crd {crd}: an API server refuses it: {error}") from error
        try:
            client.resource(definition.gvr, sample["metadata"].get("namespace")).create(sample)
        except ApiError as error:
            return f"EDIT THIS: {error}"
    return ""


def _fields(name: str, package: str, definition: Definition, crd_file: str) -> dict[str, str]:
    gvr = definition.gvr
    constant = _identifier(gvr.resource.upper(), _CONSTANTS)
    variable = _identifier(definition.singular, _VARIABLES)
    return {
        "constant": constant,
        "variable": variable,
        "name": name,
        "package": package,
        "kind": definition.kind,
        "singular": definition.singular,
        "group": gvr.group,
        "version": gvr.version,
        "plural": gvr.resource,
        "crd_file": crd_file,
        "crd_name": f"{gvr.resource}.{gvr.group}",
        "library": _library(),
        "namespace_of_children": f"{variable}.namespace" if definition.namespaced else '"default"',
        "status_import": "from runtime.controller import ReconcileContext, set_condition"
        if definition.conditions
        else "from runtime.controller import ReconcileContext",
        "write_status": _WRITE_CONDITIONS.format(variable=variable, constant=constant) if definition.conditions else "",
        "status_rule": _STATUS_RULE.format(gvr=gvr) if definition.status else "",
        "sample_test_status": _TEST_CONDITIONS if definition.conditions else "",
        "namespace_of_sample": '"default"' if definition.namespaced else "None",
    }


def _identifier(text: str, taken: set[str]) -> str:
    """A DNS label as a name in Python."""
    name = text.replace("-", "_")
    return f"{name}_" if keyword.iskeyword(name) or name in taken else name


def _library() -> str:
    try:
        return f"{_DISTRIBUTION}>={version(_DISTRIBUTION)}"
    except PackageNotFoundError:  # run from its source tree
        return _DISTRIBUTION


_WRITE_CONDITIONS: Final = """
    status = {variable}.get("status") or {{}}
    conditions = set_condition(status.get("conditions"), "Ready", "True", "Applied", now=ctx.clock.now())
    ctx.patch_status({constant}, {variable}, status | {{"conditions": conditions}})"""

_STATUS_RULE: Final = """
  - apiGroups: ["{gvr.group}"]
    resources: ["{gvr.resource}/status"]
    verbs: ["get", "patch"]"""

_TEST_CONDITIONS: Final = """

def test_its_status_says_so(controller: Running) -> None:
    controller.objects.create(controller.sample)
    eventually(lambda: (controller.objects.get("example").get("status") or {}).get("conditions"), "a condition")
    (condition,) = controller.objects.get("example")["status"]["conditions"]
    assert (condition["type"], condition["status"]) == ("Ready", "True")
"""
