"""The manifests: what they promise to users of the Go operator and of the .NET provider, and to the API server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from crds import manifests
from crds.definition import CustomResource

# The definitions of the Go operator and of the .NET provider, as far as their fields go.
REFERENCE = json.loads((Path(__file__).parent / "reference_fields.json").read_text(encoding="utf-8"))


def served(resource: CustomResource) -> dict[str, Any]:
    version: dict[str, Any] = resource.manifest()["spec"]["versions"][0]
    return version


def root(resource: CustomResource) -> dict[str, Any]:
    schema: dict[str, Any] = served(resource)["schema"]["openAPIV3Schema"]
    return schema


def nodes(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from nodes(child, f"{path}.{name}".lstrip("."))
    for key, suffix in (("items", "[]"), ("additionalProperties", "{}")):
        if isinstance(schema.get(key), dict):
            yield from nodes(schema[key], path + suffix)


BY_NAME = {resource.name: resource for resource in manifests.RESOURCES}
each = pytest.mark.parametrize("resource", manifests.RESOURCES, ids=lambda resource: resource.kind)


def test_the_files_in_the_tree_are_what_the_types_say() -> None:
    assert manifests.differing() == []


@each
def test_rendering_is_yaml_of_the_manifest_and_repeatable(resource: CustomResource) -> None:
    assert yaml.safe_load(manifests.render(resource)) == resource.manifest()
    assert manifests.render(resource) == manifests.render(resource)


@each
def test_schema_is_structural(resource: CustomResource) -> None:
    for path, node in nodes(root(resource)):
        assert node.get("type") in {"object", "array", "string", "integer", "boolean"}, path
        assert "$ref" not in node, path
        if node["type"] == "array":
            assert "items" in node, path
        if "properties" in node:
            assert "additionalProperties" not in node, path
        for name in node.get("required", []):
            assert name in node["properties"], path
        for forbidden in ("anyOf", "oneOf", "definitions", "uniqueItems"):
            assert forbidden not in node, path


@each
def test_every_field_is_described(resource: CustomResource) -> None:
    silent = [
        path
        for path, node in nodes(root(resource))
        if not node.get("description") and not path.endswith(("[]", "{}")) and not path.startswith("metadata")
    ]
    assert silent == []


@each
def test_map_lists_have_required_keys(resource: CustomResource) -> None:
    for path, node in nodes(root(resource)):
        if node.get("x-kubernetes-list-type") == "map":
            item = node["items"]
            for key in node["x-kubernetes-list-map-keys"]:
                assert key in item["required"] or "default" in item["properties"][key], path


@pytest.mark.parametrize("name", sorted(REFERENCE))
def test_names_are_those_of_the_reference(name: str) -> None:
    spec = BY_NAME[name].manifest()["spec"]
    reference = REFERENCE[name]
    assert (spec["group"], spec["scope"]) == (reference["group"], reference["scope"])
    assert spec["versions"][0]["name"] == reference["version"]
    names = dict(spec["names"])
    names.pop("categories")
    assert names == reference["names"]


@pytest.mark.parametrize("name", sorted(REFERENCE))
def test_reference_fields_keep_name_and_type(name: str) -> None:
    ours = {
        path: [node["type"], *([node["format"]] if "format" in node else [])]
        for path, node in nodes(root(BY_NAME[name]))
    }
    for path, kind in REFERENCE[name]["fields"].items():
        assert ours.get(path) == kind, path


@pytest.mark.parametrize("name", ["silos.orleans.dot.net", "clusterversions.orleans.dot.net"])
def test_the_orleans_pair_has_exactly_the_reference_fields_and_constraints(name: str) -> None:
    schema = root(BY_NAME[name])
    apart = set() if name.startswith("silos.") else {"status"}  # of the version row: ours, and out of .NET's reach
    fields = set(schema["properties"]) - {"apiVersion", "kind", "metadata"} - apart
    assert fields == {path for path in REFERENCE[name]["fields"] if "[]" not in path}
    assert set(schema.get("required", [])) == set(REFERENCE[name]["required"])
    constraints = {"enum", "pattern", "minimum", "maximum", "minLength", "maxLength", "default", "format"}
    assert not [path for path, node in nodes(schema) if constraints & set(node) and path.split(".")[0] not in apart]


def test_a_write_by_dotnet_keeps_its_silos_status_and_cannot_drop_the_clusters() -> None:
    # With a status subresource, a .NET silo's write of its plain field `status` would be dropped; without one, its
    # write of a version row would drop the operator's status.
    assert "subresources" not in served(BY_NAME["silos.orleans.dot.net"])
    assert served(BY_NAME["clusterversions.orleans.dot.net"])["subresources"] == {"status": {}}


@each
def test_selectable_fields_are_plain_fields(resource: CustomResource) -> None:
    kinds = {f".{path}": node["type"] for path, node in nodes(root(resource))}
    paths = [field["jsonPath"] for field in served(resource).get("selectableFields", [])]
    assert all(kinds[path] in {"string", "integer", "boolean"} for path in paths)
    assert (".clusterId" in paths) == (resource.group == "orleans.dot.net")


def test_xlinecluster_status_and_scale_subresources_point_at_fields() -> None:
    resource = BY_NAME["xlineclusters.xline.io.datenlord.com"]
    subresources = served(resource)["subresources"]
    assert subresources["status"] == {}
    fields = {path for path, _ in nodes(root(resource))}
    assert {path.lstrip(".") for path in subresources["scale"].values()} <= fields


@each
def test_printer_columns_point_at_fields(resource: CustomResource) -> None:
    fields = {path for path, _ in nodes(root(resource))}
    for column in served(resource)["additionalPrinterColumns"]:
        path = column["jsonPath"].lstrip(".").split("[?")[0]
        assert path in fields or path.startswith("metadata."), column
