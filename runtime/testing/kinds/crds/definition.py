"""The CustomResourceDefinition itself: its defaults, and what makes the real server refuse one."""

from __future__ import annotations

from typing import Final

from runtime.testing.kinds import errors, gojson, names
from runtime.testing.kinds.crds.approval import approval_problems
from runtime.testing.kinds.crds.conversion import conversion_problems
from runtime.testing.kinds.crds.decoding import decode_schemas
from runtime.testing.kinds.crds.default_checks import default_problems
from runtime.testing.kinds.crds.formats import unrecognized_formats
from runtime.testing.kinds.crds.layout import Layout, layout_of
from runtime.testing.kinds.crds.naming import is_established
from runtime.testing.kinds.crds.rule_checks import RuleChecks
from runtime.testing.kinds.crds.schema_checks import schema_problems
from runtime.testing.kinds.crds.structural import structural_problems, unsupported
from runtime.testing.kinds.crds.version_checks import (
    column_problems,
    deprecation_problems,
    selectable_problems,
    subresource_problems,
)
from runtime.testing.kinds.model import FieldError
from runtime.types import JSONMapping, JSONObject

_NAMES: Final = ("plural", "singular", "kind", "listKind")
# With a status subresource the root of the schema may say no more than this, so that the status can be judged alone.
_AT_ROOT: Final = {
    "description": "Description",
    "type": "Type",
    "format": "Format",
    "title": "Title",
    "maximum": "Maximum",
    "exclusiveMaximum": "ExclusiveMaximum",
    "minimum": "Minimum",
    "exclusiveMinimum": "ExclusiveMinimum",
    "maxLength": "MaxLength",
    "minLength": "MinLength",
    "pattern": "Pattern",
    "maxItems": "MaxItems",
    "minItems": "MinItems",
    "uniqueItems": "UniqueItems",
    "multipleOf": "MultipleOf",
    "required": "Required",
    "items": "Items",
    "properties": "Properties",
    "externalDocs": "ExternalDocs",
    "example": "Example",
    "x-kubernetes-preserve-unknown-fields": "XPreserveUnknownFields",
    "x-kubernetes-validations": "XValidations",
}


def default_crd(obj: JSONObject) -> None:
    """Fill in singular and list kind, the conversion, and what Go always writes."""
    spec = obj.get("spec")
    if not isinstance(spec, dict):
        return
    decode_schemas(spec)
    given = spec.setdefault("names", {})
    kind = given.get("kind") or ""
    if kind and not given.get("singular"):
        given["singular"] = kind.lower()
    if kind and not given.get("listKind"):
        given["listKind"] = f"{kind}List"
    conversion = spec.setdefault("conversion", {"strategy": "None"})
    service = ((conversion.get("webhook") or {}).get("clientConfig") or {}).get("service")
    if isinstance(service, dict):
        service.setdefault("port", 443)
    if not spec.get("preserveUnknownFields"):
        spec.pop("preserveUnknownFields", None)
    for version in spec.get("versions") or ():
        version.setdefault("served", False)
        version.setdefault("storage", False)


def initial_status(obj: JSONObject) -> None:
    """The status of a CRD before anybody has looked at its names."""
    obj["status"] = {"conditions": None, "acceptedNames": {"plural": "", "kind": ""}, "storedVersions": None}
    _store_version(obj)


def kept_status(obj: JSONObject, old: JSONObject, subresource: str | None) -> None:
    """A write of the spec notes a new storage version in the status that it keeps."""
    del old
    if subresource != "status" and isinstance(obj.get("status"), dict):
        _store_version(obj)


def _store_version(obj: JSONObject) -> None:
    stored = list(obj["status"].get("storedVersions") or ())
    for version in (obj.get("spec") or {}).get("versions") or ():
        if version.get("storage"):
            if version.get("name") not in stored:
                stored.append(version.get("name") or "")
            break
    obj["status"]["storedVersions"] = stored or None


def validate_crd(obj: JSONObject, old: JSONObject | None) -> list[FieldError]:
    """All that is wrong with a CustomResourceDefinition, and warnings about what is not understood."""
    if old is not None and obj.get("spec") == old.get("spec") and obj.get("status") != old.get("status"):
        return _name_problems(_accepted(obj), "status.acceptedNames")  # a write of the status
    spec = obj.get("spec") or {}
    found = _metadata_problems(obj, spec) if old is None else []
    found += _spec_problems(spec, old)
    if old is not None:
        found += _immutable_problems(spec, old)
    found += _name_problems(_accepted(obj), "status.acceptedNames")
    found += _stored_version_problems(obj, spec)
    found += approval_problems(obj, old)
    if spec.get("preserveUnknownFields"):
        detail = (
            "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead"
        )
        found.append(errors.invalid("spec.preserveUnknownFields", True, detail))
    return found + _format_warnings(spec, (old or {}).get("spec") or {})


def _accepted(obj: JSONMapping) -> JSONMapping:
    accepted: JSONMapping = (obj.get("status") or {}).get("acceptedNames") or {}
    return accepted


def _metadata_problems(obj: JSONMapping, spec: JSONMapping) -> list[FieldError]:
    wanted = f"{(spec.get('names') or {}).get('plural') or ''}.{spec.get('group') or ''}"
    name = (obj.get("metadata") or {}).get("name") or ""
    if not name or name == wanted:
        return []
    return [errors.invalid("metadata.name", name, 'must be spec.names.plural+"."+spec.group')]


def _spec_problems(spec: JSONMapping, old: JSONMapping | None) -> list[FieldError]:
    found = _group_problems(spec.get("group") or "")
    scope = spec.get("scope")
    if not scope:
        found.append(errors.required("spec.scope"))
    elif scope not in ("Cluster", "Namespaced"):
        found.append(errors.not_supported("spec.scope", scope, ("Cluster", "Namespaced")))
    layout = layout_of(spec)
    if not _schema_of(layout.shared):
        for index, version in enumerate(layout.versions):
            if not _schema_of(version):
                found.append(errors.required(f"spec.versions[{index}].schema.openAPIV3Schema"))
    found += _version_problems(spec, layout, old)
    given = spec.get("names") or {}
    found += [errors.required(f"spec.names.{each}") for each in _NAMES if not given.get(each)]
    found += _name_problems(given, "spec.names")
    found += _shared_problems(layout, old)
    established = old is not None and is_established(old)
    old_conversion = ((old or {}).get("spec") or {}).get("conversion")
    found += conversion_problems(spec.get("conversion"), old_conversion, established=established)
    return found


def _schema_of(holder: JSONMapping) -> JSONMapping | None:
    return (holder.get("schema") or {}).get("openAPIV3Schema")


def _group_problems(group: str) -> list[FieldError]:
    if not group:
        return [errors.required("spec.group")]
    problems = names.bad_subdomain(group)
    if problems:
        return [errors.invalid("spec.group", group, ",".join(problems))]
    if "." not in group:
        return [errors.invalid("spec.group", group, "should be a domain with at least one dot")]
    return []


def _version_problems(spec: JSONMapping, layout: Layout, old: JSONMapping | None) -> list[FieldError]:
    found: list[FieldError] = []
    seen: list[str] = []
    given = spec.get("versions") or []
    for index, version in enumerate(layout.versions):
        where, name = f"spec.versions[{index}]", str(version.get("name") or "")
        seen.append(name)
        problems = names.bad_label_1035(name)
        if problems:
            found.append(errors.invalid(f"{where}.name", name, ",".join(problems)))
        found += deprecation_problems(version, where)
        subresources = layout.subresources(index) or {}
        if version.get("schema") is not None:
            unchanged = _schema_of(version) == _old_schema(old, name)
            found += _schema_problems(version, f"{where}.schema", "status" in subresources, unchanged)
        found += subresource_problems(version.get("subresources"), f"{where}.subresources")
        found += column_problems(version.get("additionalPrinterColumns"), f"{where}.additionalPrinterColumns")
        fields = version.get("selectableFields")
        if fields:
            found += selectable_problems(fields, layout.schema(index), f"{where}.selectableFields")
    if len(set(seen)) != len(seen):
        found.append(errors.invalid("spec.versions", _shown(given), "must contain unique version names"))
    if sum(bool(each.get("storage")) for each in given) != 1:
        detail = "must have exactly one version marked as storage version"
        found.append(errors.invalid("spec.versions", _shown(given), detail))
    return found


def _shared_problems(layout: Layout, old: JSONMapping | None) -> list[FieldError]:
    """What all versions have in common the real server keeps, and names in errors, above them."""
    found: list[FieldError] = []
    shared = layout.shared
    if shared.get("schema") is not None:
        has_status = any("status" in (layout.subresources(i) or {}) for i in range(len(layout.versions)))
        unchanged = _schema_of(shared) == _old_schema(old, str(layout.versions[0].get("name") or ""))
        found += _schema_problems(shared, "spec.validation", has_status, unchanged)
    found += subresource_problems(shared.get("subresources"), "spec.subresources")
    found += column_problems(shared.get("additionalPrinterColumns"), "spec.additionalPrinterColumns")
    fields = shared.get("selectableFields")
    if fields and shared.get("schema") is None:
        detail = "may only be set when validations.schema is included"
        found.append(errors.invalid("spec.selectableFields", "", detail))
    elif fields:
        found += selectable_problems(fields, _schema_of(shared), "spec.selectableFields")
    return found


def _old_schema(old: JSONMapping | None, version: str) -> JSONMapping | None:
    for each in ((old or {}).get("spec") or {}).get("versions") or ():
        if each.get("name") == version:
            return _schema_of(each)
    return None


def _schema_problems(holder: JSONMapping, path: str, has_status: bool, unchanged: bool) -> list[FieldError]:
    schema = _schema_of(holder)
    if schema is None:
        return []
    where = f"{path}.openAPIV3Schema"
    found = _root_problems(schema, where) if has_status else []
    if schema.get("nullable"):
        found.append(errors.forbidden(f"{where}.nullable", "nullable cannot be true at the root"))
    cannot_be = unsupported(schema)
    rules: RuleChecks | None = None
    if not cannot_be:
        wrong = structural_problems(schema, where) or default_problems(schema, where)
        found += wrong
        rules = None if wrong else RuleChecks(costs=not unchanged)
    found += schema_problems(schema, where, rules)
    if not found and cannot_be:
        found.append(errors.invalid(where, "", cannot_be))
    if rules is not None:
        found += rules.total_problems(where)
    return found


def _root_problems(schema: JSONMapping, where: str) -> list[FieldError]:
    kind = schema.get("type")
    if kind and kind != "object":
        detail = 'only "object" is allowed as the type at the root of the schema if the status subresource is enabled'
        return [errors.invalid(f"{where}.type", kind, detail)]
    if any(value not in (None, "", False, [], {}) and name not in _AT_ROOT for name, value in schema.items()):
        allowed = " ".join(_AT_ROOT.values())
        detail = f"only [{allowed}] fields are allowed at the root of the schema if the status subresource is enabled"
        return [errors.invalid(where, schema, detail)]
    return []


def _name_problems(given: JSONMapping, path: str) -> list[FieldError]:
    found: list[FieldError] = []
    for name in _NAMES:
        value = str(given.get(name) or "")
        mixed_case = name in ("kind", "listKind")
        problems = names.bad_label_1035(value.lower() if mixed_case else value) if value else []
        if problems:
            prefix = "may have mixed case, but should otherwise match: " if mixed_case else ""
            found.append(errors.invalid(f"{path}.{name}", value, prefix + ",".join(problems)))
    found += _label_list_problems(given, "shortNames", path)
    if given.get("kind") and given.get("kind") == given.get("listKind"):
        found.append(errors.invalid(f"{path}.listKind", given["listKind"], "kind and listKind may not be the same"))
    return found + _label_list_problems(given, "categories", path)


def _label_list_problems(given: JSONMapping, name: str, path: str) -> list[FieldError]:
    found: list[FieldError] = []
    for index, each in enumerate(given.get(name) or ()):
        problems = names.bad_label_1035(each)
        if problems:
            found.append(errors.invalid(f"{path}.{name}[{index}]", each, ",".join(problems)))
    return found


def _shown(versions: list[JSONObject]) -> gojson.Structs:
    """The versions as Go prints them: with the names of its fields, and without what they have in common."""
    return gojson.Structs(
        {
            "Name": each.get("name") or "",
            "Served": bool(each.get("served")),
            "Storage": bool(each.get("storage")),
            "Deprecated": bool(each.get("deprecated")),
            "DeprecationWarning": each.get("deprecationWarning"),
            "Schema": None,
            "Subresources": None,
            "AdditionalPrinterColumns": None,
            "SelectableFields": None,
        }
        for each in versions
    )


def _stored_version_problems(obj: JSONMapping, spec: JSONMapping) -> list[FieldError]:
    stored = (obj.get("status") or {}).get("storedVersions")
    where = "status.storedVersions"
    if not stored:
        return [errors.invalid(where, None, "must have at least one stored version")]
    declared = [each.get("name") for each in spec.get("versions") or ()]
    found = [
        errors.invalid(where, stored, f"must have the storage version {each['name']}")
        for each in spec.get("versions") or ()
        if each.get("storage") and each.get("name") not in stored
    ]
    for index, name in enumerate(stored):
        if name not in declared:
            detail = (
                f"missing from spec.versions; {name} was previously a storage version, and must remain in "
                f"spec.versions until a storage migration ensures no data remains persisted in {name} and removes "
                f"{name} from status.storedVersions"
            )
            found.append(errors.invalid(f"{where}[{index}]", name, detail))
    return found


def _immutable_problems(spec: JSONMapping, old: JSONMapping) -> list[FieldError]:
    paths: tuple[tuple[str, ...], ...] = (("group",), ("names", "plural"))
    if is_established(old):
        paths = (("scope",), ("names", "kind"), *paths)
    found: list[FieldError] = []
    for path in paths:
        new_value, old_value = spec, old["spec"]
        for step in path:
            new_value, old_value = new_value.get(step) or {}, old_value.get(step) or {}
        if new_value != old_value:
            found.append(errors.invalid(f"spec.{'.'.join(path)}", new_value, "field is immutable"))
    return found


def _format_warnings(spec: JSONMapping, old: JSONMapping) -> list[FieldError]:
    known = set(_formats(old))
    return [errors.warning(f'unrecognized format "{each}"') for each in _formats(spec) if each not in known]


def _formats(spec: JSONMapping) -> list[str]:
    layout = layout_of(spec)
    schemas = [_schema_of(layout.shared), *map(_schema_of, layout.versions)]
    return [name for schema in schemas if schema is not None for name in unrecognized_formats(schema)]
