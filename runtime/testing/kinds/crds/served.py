"""The kinds that a CustomResourceDefinition serves, one per served version."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from runtime.testing.kinds import paths
from runtime.testing.kinds.crds.behaviour import CustomBehaviour
from runtime.testing.kinds.crds.forms import Forms
from runtime.testing.kinds.crds.rules import compile_rules
from runtime.testing.kinds.crds.schema import Node, compile_schema
from runtime.testing.kinds.crds.webhook import webhook_of
from runtime.testing.kinds.discovery import version_order
from runtime.testing.kinds.model import Column, Kind, ScalePaths
from runtime.testing.kinds.schemas import REF, resolve
from runtime.types import GVR, JSONMapping, JSONObject

VERBS = ("delete", "deletecollection", "get", "list", "patch", "create", "update", "watch")
_DESCRIPTION = "Custom resource definition column (in JSONPath format): "
_AGE = Column("Age", "date", ".metadata.creationTimestamp")
_META = f"{REF}io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"


def kinds_of(crd: JSONMapping, *, changed: bool = False) -> list[Kind]:
    """The kinds of all served versions. The CRD has passed validation.

    A webhook converts between versions if it is named by a URL; else this changes the apiVersion only.

    :param changed: objects may have been stored when the CRD was another.
    """
    versions = crd["spec"]["versions"]
    nodes = {each["name"]: compile_schema(_schema_of(each)) for each in versions}
    storage = next(each["name"] for each in versions if each.get("storage"))
    forms = Forms(crd["spec"]["group"], nodes, storage, webhook_of(crd["spec"].get("conversion")))
    if len(versions) == 1 and not changed:
        return [_kind(crd, versions[0], nodes[versions[0]["name"]], None)] if versions[0].get("served") else []
    return [_kind(crd, each, nodes[each["name"]], forms) for each in versions if each.get("served")]


def _schema_of(version: JSONMapping) -> JSONMapping:
    return (version.get("schema") or {}).get("openAPIV3Schema") or {}


def _kind(crd: JSONMapping, version: JSONMapping, node: Node, forms: Forms | None) -> Kind:
    spec = crd["spec"]
    names = (crd.get("status") or {}).get("acceptedNames") or spec["names"]
    subresources = version.get("subresources") or {}
    gvr = GVR(spec["group"], version["name"], spec["names"]["plural"])
    scale = subresources.get("scale")
    scale_paths = _scale_paths(scale) if scale is not None else None
    return Kind(
        gvr=gvr,
        kind=names["kind"],
        namespaced=spec["scope"] == "Namespaced",
        singular=names.get("singular") or names["kind"].lower(),
        behaviour=CustomBehaviour(
            kind=names["kind"],
            node=node,
            rules=compile_rules(_schema_of(version), node, is_resource=True),
            has_status="status" in subresources,
            scale=scale_paths,
        ),
        short_names=tuple(names.get("shortNames") or ()),
        categories=tuple(names.get("categories") or ()),
        subresources=frozenset(each for each in ("status", "scale") if each in subresources),
        scale=scale_paths,
        verbs=VERBS,
        schema=_full_schema(_schema_of(version)),
        resolve=resolve,
        custom=True,
        needs_version=True,
        field_labels=_selectable(version.get("selectableFields") or ()),
        to_storage=forms.writer(version["name"]) if forms is not None else None,
        from_storage=forms.reader(version["name"]) if forms is not None else None,
        named_list_kind=names.get("listKind") or "",
        columns=_columns(version),
        warning=_warning(spec, version, gvr),
    )


def _full_schema(schema: JSONMapping) -> JSONObject:
    """The CRD's schema with what every object has, so that metadata merges as it does for built-in kinds."""
    properties = {
        **(schema.get("properties") or {}),
        "apiVersion": {"type": "string"},
        "kind": {"type": "string"},
        "metadata": {"$ref": _META},
    }
    return {**schema, "properties": properties}


def _scale_paths(scale: JSONMapping) -> ScalePaths:
    return ScalePaths(scale["specReplicasPath"], scale["statusReplicasPath"], scale.get("labelSelectorPath"))


def _columns(version: JSONMapping) -> tuple[Column, ...]:
    given = version.get("additionalPrinterColumns")
    if not given:
        return (_AGE,)
    return tuple(
        Column(
            name=each["name"],
            type=each["type"],
            path=each["jsonPath"],
            format=each.get("format", ""),
            description=each.get("description") or f"{_DESCRIPTION}{each['jsonPath']}",
            priority=each.get("priority", 0),
        )
        for each in given
    )


def _warning(spec: JSONMapping, version: JSONMapping, gvr: GVR) -> str:
    if version.get("deprecated"):
        return str(version.get("deprecationWarning") or _deprecation(spec, gvr))
    conversion = spec.get("conversion") or {}
    if conversion.get("strategy") == "Webhook" and webhook_of(conversion) is None and len(spec["versions"]) > 1:
        return "this server reaches no conversion webhook of a Service: versions differ in their apiVersion only"
    return ""


def _deprecation(spec: JSONMapping, gvr: GVR) -> str:
    """What is said of a deprecated version whose CRD says nothing: the newest better one, if there is one."""
    kind = spec["names"]["kind"]
    better = [
        each["name"]
        for each in spec["versions"]
        if each.get("served")
        and not each.get("deprecated")
        and version_order(each["name"]) < version_order(gvr.version)
    ]
    text = f"{gvr.api_version} {kind} is deprecated"
    return f"{text}; use {gvr.group}/{min(better, key=version_order)} {kind}" if better else text


def _selectable(fields: tuple[JSONMapping, ...]) -> Callable[[JSONObject], Mapping[str, str]]:
    wanted = [(each["jsonPath"].lstrip("."), paths.dotted(each["jsonPath"])) for each in fields]

    def read(obj: JSONObject) -> Mapping[str, str]:
        return {name: paths.text(paths.get(obj, path)) for name, path in wanted}

    return read
