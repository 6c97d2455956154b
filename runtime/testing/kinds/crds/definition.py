"""The CustomResourceDefinition itself: its defaults, and what makes the real server refuse one."""

from __future__ import annotations

from runtime.testing.kinds import errors, names
from runtime.testing.kinds.crds.naming import is_established
from runtime.testing.kinds.crds.structural import check_schema
from runtime.testing.kinds.model import FieldError
from runtime.types import JSONMapping, JSONObject

_COLUMN_TYPES = ("boolean", "date", "integer", "number", "string")
_COLUMN_FORMATS = ("byte", "date", "date-time", "double", "float", "int32", "int64", "password")


def default_crd(obj: JSONObject) -> None:
    """Fill in singular and list kind, the conversion, and the stored version of a new CRD."""
    spec = obj.get("spec")
    if not isinstance(spec, dict):
        return
    given = spec.setdefault("names", {})
    kind = given.get("kind") or ""
    if kind and not given.get("singular"):
        given["singular"] = kind.lower()
    if kind and not given.get("listKind"):
        given["listKind"] = f"{kind}List"
    spec.setdefault("conversion", {"strategy": "None"})


def initial_status(obj: JSONObject) -> None:
    """The status of a CRD before its names are looked at."""
    stored = [each.get("name") or "" for each in (obj.get("spec") or {}).get("versions") or [] if each.get("storage")]
    obj["status"] = {
        "conditions": None,
        "acceptedNames": {"plural": "", "kind": ""},
        "storedVersions": stored[:1] or None,
    }


def validate_crd(obj: JSONObject, old: JSONObject | None) -> list[FieldError]:
    """All that is wrong with a CustomResourceDefinition."""
    spec = obj.get("spec") or {}
    found = _check_names(obj, spec)
    found += _check_versions(spec)
    found += _check_stored_versions(obj, spec)
    found += _check_schemas(spec)
    if old is not None and is_established(old):
        found += _check_immutable(spec, old["spec"])
    return found


def _check_names(obj: JSONMapping, spec: JSONMapping) -> list[FieldError]:
    given = spec.get("names") or {}
    plural, group = given.get("plural") or "", spec.get("group") or ""
    name = (obj.get("metadata") or {}).get("name") or ""
    found: list[FieldError] = []
    if not names.bad_subdomain(name) and name != f"{plural}.{group}":
        found.append(errors.invalid("metadata.name", name, 'must be spec.names.plural+"."+spec.group'))
    found += _check_group(group)
    scope = spec.get("scope")
    if not scope:
        found.append(errors.required("spec.scope"))
    elif scope not in ("Cluster", "Namespaced"):
        found.append(errors.not_supported("spec.scope", scope, ("Cluster", "Namespaced")))
    for field in ("plural", "singular", "kind", "listKind"):
        value = str(given.get(field) or "")
        where = f"spec.names.{field}"
        if not value:
            found.append(errors.required(where))
            continue
        lowered = value.lower() if field in ("kind", "listKind") else value
        found += [errors.invalid(where, value, problem) for problem in names.bad_label_1035(lowered)]
    for field in ("shortNames", "categories"):
        for index, each in enumerate(given.get(field) or []):
            where = f"spec.names.{field}[{index}]"
            found += [errors.invalid(where, each, problem) for problem in names.bad_label_1035(each)]
    if given.get("kind") and given.get("kind") == given.get("listKind"):
        detail = "kind and listKind may not be the same"
        found.append(errors.invalid("spec.names.listKind", given["listKind"], detail))
    return found


def _check_group(group: str) -> list[FieldError]:
    if not group:
        return [errors.required("spec.group")]
    problems = names.bad_subdomain(group)
    if not problems and "." not in group:
        problems = ["should be a domain with at least one dot"]
    return [errors.invalid("spec.group", group, problem) for problem in problems]


def _check_versions(spec: JSONMapping) -> list[FieldError]:
    versions = spec.get("versions") or []
    found: list[FieldError] = []
    seen: set[str] = set()
    for index, version in enumerate(versions):
        where = f"spec.versions[{index}]"
        name = str(version.get("name") or "")
        if name in seen:
            found.append(errors.invalid("spec.versions", _shown(versions), "must contain unique version names"))
        seen.add(name)
        found += [errors.invalid(f"{where}.name", name, problem) for problem in names.bad_label_1035(name)]
        if version.get("deprecationWarning") and not version.get("deprecated"):
            detail = "can only be set for deprecated versions"
            found.append(errors.invalid(f"{where}.deprecationWarning", version["deprecationWarning"], detail))
        found += _check_subresources(version, where)
        found += _check_columns(version, where)
    if sum(bool(each.get("storage")) for each in versions) != 1:
        detail = "must have exactly one version marked as storage version"
        found.append(errors.invalid("spec.versions", _shown(versions), detail))
    return found


def _shown(versions: list[JSONObject]) -> list[JSONObject]:
    return [
        {"Name": each.get("name"), "Served": bool(each.get("served")), "Storage": bool(each.get("storage"))}
        for each in versions
    ]


def _check_stored_versions(obj: JSONMapping, spec: JSONMapping) -> list[FieldError]:
    stored = (obj.get("status") or {}).get("storedVersions")
    where = "status.storedVersions"
    if not stored:
        return [errors.invalid(where, stored, "must have at least one stored version")]
    found: list[FieldError] = []
    declared = {each.get("name") for each in spec.get("versions") or []}
    for index, name in enumerate(stored):
        if name not in declared:
            found.append(errors.invalid(f"{where}[{index}]", name, "must appear in spec.versions"))
    storage = [each.get("name") for each in spec.get("versions") or [] if each.get("storage")]
    if storage and storage[-1] not in stored:
        found.append(errors.invalid(where, stored, f"must have the storage version {storage[-1]}"))
    return found


def _check_subresources(version: JSONMapping, where: str) -> list[FieldError]:
    scale = (version.get("subresources") or {}).get("scale")
    if scale is None:
        return []
    found: list[FieldError] = []
    for field, root in (
        ("specReplicasPath", ".spec."),
        ("statusReplicasPath", ".status."),
        ("labelSelectorPath", ""),
    ):
        path = scale.get(field) or ""
        place = f"{where}.subresources.scale.{field}"
        if not path:
            if root:
                found.append(errors.required(place))
        elif root and not path.startswith(root):
            found.append(errors.invalid(place, path, f"should be a json path under {root[:-1]}"))
        elif not path.startswith((".spec.", ".status.")):
            found.append(errors.invalid(place, path, "should be a json path under either .status or .spec"))
    return found


def _check_columns(version: JSONMapping, where: str) -> list[FieldError]:
    found: list[FieldError] = []
    for index, column in enumerate(version.get("additionalPrinterColumns") or []):
        place = f"{where}.additionalPrinterColumns[{index}]"
        if not column.get("name"):
            found.append(errors.required(f"{place}.name"))
        kind = column.get("type")
        if not kind:
            found.append(errors.required(f"{place}.type", f"must be one of {', '.join(sorted(_COLUMN_TYPES))}"))
        elif kind not in _COLUMN_TYPES:
            detail = f"must be one of {', '.join(sorted(_COLUMN_TYPES))}"
            found.append(errors.invalid(f"{place}.type", kind, detail))
        if column.get("format") and column["format"] not in _COLUMN_FORMATS:
            detail = f"must be one of {', '.join(_COLUMN_FORMATS)}"
            found.append(errors.invalid(f"{place}.format", column["format"], detail))
        path = column.get("jsonPath") or ""
        if not path:
            found.append(errors.required(f"{place}.JSONPath"))
        elif not path.startswith((".", "[")):
            detail = "is invalid: must be a simple json path starting with ."
            found.append(errors.invalid(f"{place}.JSONPath", path, detail))
    return found


def _check_schemas(spec: JSONMapping) -> list[FieldError]:
    versions = spec.get("versions") or []
    schemas = [(each.get("schema") or {}).get("openAPIV3Schema") for each in versions]
    found: list[FieldError] = []
    # The real server keeps one schema that all versions share above the versions, and names its errors there.
    shared = len({id(each) if each is None else repr(each) for each in schemas}) == 1
    for index, schema in enumerate(schemas):
        where = f"spec.versions[{index}].schema.openAPIV3Schema"
        if schema is None:
            found.append(errors.required(where))
            continue
        if shared and index:
            continue
        preserves = bool(spec.get("preserveUnknownFields"))
        found += check_schema(schema, "spec.validation.openAPIV3Schema" if shared else where)
        if preserves:
            found.append(errors.invalid("spec.preserveUnknownFields", True, "must be false"))
    return found


def _check_immutable(spec: JSONMapping, old: JSONMapping) -> list[FieldError]:
    found: list[FieldError] = []
    for path in (("group",), ("scope",), ("names", "kind"), ("names", "plural")):
        new_value, old_value = spec, old
        for step in path:
            new_value, old_value = new_value.get(step), old_value.get(step)  # type: ignore[assignment]
        if new_value != old_value:
            found.append(errors.invalid(f"spec.{'.'.join(path)}", new_value, "field is immutable"))
    return found
