"""The kinds that a CustomResourceDefinition serves, one per served version."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from runtime.testing.kinds import paths
from runtime.testing.kinds.crds.behaviour import CustomBehaviour
from runtime.testing.kinds.crds.cel import compile_rules
from runtime.testing.kinds.crds.defaulting import apply_defaults
from runtime.testing.kinds.crds.schema import Node, compile_schema
from runtime.testing.kinds.model import Column, Kind, ScalePaths
from runtime.testing.kinds.schemas import REF, resolve
from runtime.types import GVR, JSONMapping, JSONObject

VERBS = ("delete", "deletecollection", "get", "list", "patch", "create", "update", "watch")
_AGE = Column("Age", "date", ".metadata.creationTimestamp")
_META = f"{REF}io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"


def kinds_of(crd: JSONMapping) -> list[Kind]:
    """The kinds of all served versions. The CRD has passed validation.

    Conversion between versions changes the apiVersion only, also for CRDs that name a webhook.
    """
    versions = [each for each in crd["spec"]["versions"] if each.get("served")]
    several = len(crd["spec"]["versions"]) > 1
    return [_kind(crd, version, several) for version in versions]


def _kind(crd: JSONMapping, version: JSONMapping, several: bool) -> Kind:
    spec = crd["spec"]
    names = (crd.get("status") or {}).get("acceptedNames") or spec["names"]
    subresources = version.get("subresources") or {}
    schema = (version.get("schema") or {}).get("openAPIV3Schema") or {}
    node = compile_schema(schema)
    gvr = GVR(spec["group"], version["name"], spec["names"]["plural"])
    scale = subresources.get("scale")
    return Kind(
        gvr=gvr,
        kind=spec["names"]["kind"],
        namespaced=spec["scope"] == "Namespaced",
        singular=names.get("singular") or spec["names"]["kind"].lower(),
        behaviour=CustomBehaviour(
            kind=spec["names"]["kind"],
            node=node,
            rules=compile_rules(node),
            has_status="status" in subresources,
            scale=_scale_paths(scale) if scale is not None else None,
        ),
        short_names=tuple(names.get("shortNames") or ()),
        categories=tuple(names.get("categories") or ()),
        subresources=frozenset(each for each in ("status", "scale") if each in subresources),
        scale=_scale_paths(scale) if scale is not None else None,
        verbs=VERBS,
        schema=_full_schema(schema),
        resolve=resolve,
        custom=True,
        needs_version=True,
        field_labels=_selectable(version.get("selectableFields") or ()),
        from_storage=_reader(gvr.api_version, node, several),
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
            description=each.get("description", ""),
            priority=each.get("priority", 0),
        )
        for each in given
    )


def _warning(spec: JSONMapping, version: JSONMapping, gvr: GVR) -> str:
    if version.get("deprecated"):
        return str(version.get("deprecationWarning") or f"{gvr.api_version} {spec['names']['kind']} is deprecated")
    if (spec.get("conversion") or {}).get("strategy") == "Webhook" and len(spec["versions"]) > 1:
        return "this server calls no conversion webhook: versions differ in their apiVersion only"
    return ""


def _selectable(fields: tuple[JSONMapping, ...]) -> Callable[[JSONObject], Mapping[str, str]]:
    wanted = [(each["jsonPath"].lstrip("."), paths.dotted(each["jsonPath"])) for each in fields]

    def read(obj: JSONObject) -> Mapping[str, str]:
        return {name: paths.text(paths.get(obj, path)) for name, path in wanted}

    return read


def _reader(api_version: str, node: Node, several: bool) -> Callable[[JSONObject], JSONObject] | None:
    if not several and not node.has_defaults:
        return None

    def read(obj: JSONObject) -> JSONObject:
        obj["apiVersion"] = api_version
        apply_defaults(node, obj)
        return obj

    return read
