"""Checks of the kinds that configure a cluster: scaling, nodes, volumes, quotas, priorities, admission."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from runtime.quantity import QuantityError, parse_quantity
from runtime.testing.kinds import errors, names
from runtime.testing.kinds.checks import common
from runtime.testing.kinds.model import FieldError
from runtime.types import JSONMapping, JSONObject

_METRICS: Final = {
    "ContainerResource": "containerResource",
    "External": "external",
    "Object": "object",
    "Pods": "pods",
    "Resource": "resource",
}
_HIGHEST_PRIORITY: Final = 1_000_000_000
_ACCESS_MODES: Final = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
_EFFECTS: Final = ("NoExecute", "NoSchedule", "PreferNoSchedule")
# Fields of a volume's spec that are no source of it.
_VOLUME_FIELDS: Final = frozenset(
    {
        "accessModes",
        "capacity",
        "claimRef",
        "mountOptions",
        "nodeAffinity",
        "persistentVolumeReclaimPolicy",
        "storageClassName",
        "volumeAttributesClassName",
        "volumeMode",
    }
)


def validate_autoscaler(obj: JSONObject, old: JSONObject | None) -> list[FieldError]:
    del old
    spec = obj.get("spec") or {}
    found: list[FieldError] = []
    least, most = spec.get("minReplicas"), spec.get("maxReplicas") or 0
    if least is not None and least < 1:
        found.append(errors.invalid("spec.minReplicas", least, "must be greater than or equal to 1"))
    if most < 1:
        found.append(errors.invalid("spec.maxReplicas", most, "must be greater than 0"))
    if least is not None and most < least:
        found.append(errors.invalid("spec.maxReplicas", most, "must be greater than or equal to `minReplicas`"))
    target = spec.get("scaleTargetRef") or {}
    found += [errors.required(f"spec.scaleTargetRef.{each}") for each in ("kind", "name") if not target.get(each)]
    for index, metric in enumerate(spec.get("metrics") or ()):
        found += _metric(metric, f"spec.metrics[{index}]")
    return found


def _metric(metric: JSONMapping, path: str) -> list[FieldError]:
    kind = metric.get("type") or ""
    found: list[FieldError] = []
    if not kind:
        found.append(errors.required(f"{path}.type", "must specify a metric source type"))
    if kind not in _METRICS:
        return [*found, errors.not_supported(f"{path}.type", kind, _METRICS)]
    field = _METRICS[kind]
    source = metric.get(field)
    if source is None:
        detail = "must populate information for the given metric source"
        found.append(errors.required(f"{path}.{field}", detail))
    else:
        found += _metric_source(source, field, f"{path}.{field}")
    others = [each for each in _METRICS.values() if each != field and metric.get(each) is not None]
    found += [errors.forbidden(f"{path}.{each}", "must populate the given metric source only") for each in others]
    return found


def _metric_source(source: JSONMapping, field: str, path: str) -> list[FieldError]:
    found: list[FieldError] = []
    if field in ("resource", "containerResource"):
        if not source.get("name"):
            found.append(errors.required(f"{path}.name", "must specify a resource name"))
        if field == "containerResource" and not source.get("container"):
            found.append(errors.required(f"{path}.container", "must specify a container name"))
    elif not (source.get("metric") or {}).get("name"):
        found.append(errors.required(f"{path}.metric.name", "must specify a metric name"))
    target = source.get("target") or {}
    if not target.get("type"):
        found.append(errors.required(f"{path}.target.type", "must specify a metric target type"))
    elif target["type"] not in ("Utilization", "Value", "AverageValue"):
        detail = "must be either Utilization, Value, or AverageValue"
        found.append(errors.invalid(f"{path}.target.type", target["type"], detail))
    utilization = target.get("averageUtilization")
    if utilization is not None and utilization < 1:
        found.append(errors.invalid(f"{path}.target.averageUtilization", utilization, "must be greater than 0"))
    if field == "resource" and utilization is None and target.get("averageValue") is None:
        detail = "must set either a target raw value or a target utilization"
        found.append(errors.required(f"{path}.target.averageUtilization", detail))
    return found


def validate_node(obj: JSONObject, old: JSONObject | None) -> list[FieldError]:
    del old
    found: list[FieldError] = []
    seen: set[tuple[object, object]] = set()
    for index, taint in enumerate((obj.get("spec") or {}).get("taints") or ()):
        where, key = f"spec.taints[{index}]", str(taint.get("key") or "")
        found += [errors.invalid(f"{where}.key", key, problem) for problem in names.bad_qualified_name(key)]
        found += common.label_value(str(taint.get("value") or ""), f"{where}.value")
        if not taint.get("effect"):
            found.append(errors.required(f"{where}.effect"))
        else:
            found += common.one_of(taint["effect"], _EFFECTS, f"{where}.effect")
        if (key, taint.get("effect")) in seen:
            found.append(errors.duplicate(where, taint))
        seen.add((key, taint.get("effect")))
    return found


def validate_volume(obj: JSONObject, old: JSONObject | None) -> list[FieldError]:
    spec = obj.get("spec") or {}
    found: list[FieldError] = []
    if not spec.get("accessModes"):
        found.append(errors.required("spec.accessModes"))
    for each in spec.get("accessModes") or ():
        found += common.one_of(each, _ACCESS_MODES, "spec.accessModes")
    capacity = spec.get("capacity") or {}
    if not capacity:
        found.append(errors.required("spec.capacity"))
    elif set(capacity) != {"storage"}:
        found.append(errors.not_supported("spec.capacity", capacity, ("storage",)))
    found += _amounts(capacity, "spec.capacity", positive=True)
    policies = ("Delete", "Recycle", "Retain")
    found += common.one_of(spec.get("persistentVolumeReclaimPolicy"), policies, "spec.persistentVolumeReclaimPolicy")
    sources = _sources(spec)
    if not sources:
        found.append(errors.required("spec", "must specify a volume type"))
    for each in sources[1:]:
        found.append(errors.forbidden(f"spec.{each}", "may not specify more than 1 volume type"))
    name = spec.get("storageClassName")
    if name:
        found += [errors.invalid("spec.storageClassName", name, problem) for problem in names.bad_subdomain(name)]
    found += common.one_of(spec.get("volumeMode"), ("Block", "Filesystem"), "spec.volumeMode")
    if old is not None:
        before = old.get("spec") or {}
        if {each: spec.get(each) for each in sources} != {each: before.get(each) for each in _sources(before)}:
            detail = "spec.persistentvolumesource is immutable after creation"
            found.append(errors.forbidden("spec.persistentvolumesource", detail))
        if spec.get("volumeMode") != before.get("volumeMode"):
            found.append(errors.invalid("volumeMode", spec.get("volumeMode"), common.IMMUTABLE))
    return found


def _sources(spec: JSONMapping) -> list[str]:
    return sorted(set(spec) - _VOLUME_FIELDS)


def _amounts(amounts: Mapping[str, object], path: str, *, positive: bool = False) -> list[FieldError]:
    found: list[FieldError] = []
    for name, amount in sorted(amounts.items()):
        try:
            value = parse_quantity(str(amount))
        except QuantityError:
            continue  # refused when it was decoded
        if value < 0 or (positive and value == 0):
            detail = "must be greater than zero" if positive else common.NOT_NEGATIVE
            found.append(errors.invalid(f"{path}[{name}]", str(amount), detail))
    return found


_PODS_ONLY: Final = frozenset({"pods"})
_COMPUTE: Final = frozenset(
    {"cpu", "memory", "limits.cpu", "limits.memory", "requests.cpu", "requests.memory"},
)
_COUNTED: Final = frozenset(
    {
        *("pods", "resourcequotas", "services", "replicationcontrollers", "secrets", "configmaps"),
        *("persistentvolumeclaims", "services.nodeports", "services.loadbalancers"),
    }
)
_QUOTAS: Final = (
    _COMPUTE
    | _COUNTED
    | {"ephemeral-storage", "requests.storage", "requests.ephemeral-storage", "limits.ephemeral-storage"}
)
# Which resources a scope can be applied to; of those that are no standard ones, nobody asks.
_SCOPES: Final[Mapping[str, frozenset[str]]] = {
    "BestEffort": _PODS_ONLY,
    "CrossNamespacePodAffinity": _PODS_ONLY | _COMPUTE,
    "NotBestEffort": _PODS_ONLY | _COMPUTE,
    "NotTerminating": _PODS_ONLY | _COMPUTE,
    "PriorityClass": _PODS_ONLY | _COMPUTE,
    "Terminating": _PODS_ONLY | _COMPUTE,
    "VolumeAttributesClass": frozenset({"persistentvolumeclaims", "requests.storage"}),
}
_CONFLICTS: Final = ({"BestEffort", "NotBestEffort"}, {"Terminating", "NotTerminating"})


def validate_quota(obj: JSONObject, old: JSONObject | None) -> list[FieldError]:
    spec = obj.get("spec") or {}
    hard = spec.get("hard") or {}
    found: list[FieldError] = []
    for name, amount in sorted(hard.items()):
        where = f"spec.hard[{name}]"
        found += [errors.invalid(where, name, problem) for problem in names.bad_qualified_name(name)]
        if "/" not in name and name not in _QUOTAS and not name.removeprefix("requests.").startswith("hugepages-"):
            found.append(errors.invalid(where, name, "must be a standard resource for quota"))
        found += _amounts({name: amount}, "spec.hard")
        if name in _COUNTED and parse_quantity(str(amount)).denominator != 1:
            found.append(errors.invalid(where, str(amount), "must be an integer"))
    found += _scopes(spec.get("scopes") or [], sorted(set(hard) & _QUOTAS))
    if old is not None and (spec.get("scopes") or []) != ((old.get("spec") or {}).get("scopes") or []):
        found.append(errors.invalid("spec.scopes", spec.get("scopes") or [], common.IMMUTABLE))
    return found


def _scopes(scopes: Sequence[str], standard: Sequence[str]) -> list[FieldError]:
    details: list[str] = []
    for scope in scopes:
        if scope not in _SCOPES:
            details.append("unsupported scope")
        details += [
            "unsupported scope applied to resource" for name in standard if name not in _SCOPES.get(scope, _QUOTAS)
        ]
    details += ["conflicting scopes" for pair in _CONFLICTS if pair <= set(scopes)]
    return [errors.invalid("spec.scopes", scopes, detail) for detail in details]


def validate_limit_range(obj: JSONObject, old: JSONObject | None) -> list[FieldError]:
    del old
    found: list[FieldError] = []
    seen: set[str] = set()
    for index, limit in enumerate((obj.get("spec") or {}).get("limits") or ()):
        where, kind = f"spec.limits[{index}]", str(limit.get("type") or "")
        if not kind:
            found.append(errors.required(f"{where}.type"))
        if kind in seen:
            found.append(errors.duplicate(f"{where}.type", kind))
        seen.add(kind)
        if kind == "Pod":
            for field in ("default", "defaultRequest"):
                if limit.get(field):
                    detail = "may not be specified when `type` is 'Pod'"
                    found.append(errors.forbidden(f"{where}.{field}", detail))
        found += _bounds(limit, where)
    return found


# What must not be above what, where that is told, and of which of the two.
_BOUNDS: Final = (
    ("min", "max", "min", "min value {} is greater than max value {}"),
    ("min", "defaultRequest", "defaultRequest", "min value {} is greater than default request value {}"),
    ("defaultRequest", "max", "defaultRequest", "default request value {} is greater than max value {}"),
    ("defaultRequest", "default", "defaultRequest", "default request value {} is greater than default limit value {}"),
    ("min", "default", "default", "min value {} is greater than default value {}"),
    ("default", "max", "default", "default value {} is greater than max value {}"),
)


def _bounds(limit: JSONMapping, path: str) -> list[FieldError]:
    """min <= defaultRequest <= default <= max, of each resource."""
    found: list[FieldError] = []
    fields = ("min", "defaultRequest", "default", "max", "maxLimitRequestRatio")
    for name in sorted({name for field in fields for name in limit.get(field) or ()}):
        given = {field: str(limit[field][name]) for field in fields if name in (limit.get(field) or {})}
        for low, high, told, detail in _BOUNDS:
            if low in given and high in given and parse_quantity(given[low]) > parse_quantity(given[high]):
                text = detail.format(given[low], given[high])
                found.append(errors.invalid(f"{path}.{told}[{name}]", given[low], text))
        found += _ratio(given, f"{path}.maxLimitRequestRatio[{name}]")
    return found


def _ratio(given: Mapping[str, str], path: str) -> list[FieldError]:
    """How far above its request a limit may be: not closer than the request, nor further than max is from min."""
    ratio, least, most = (given.get(field) for field in ("maxLimitRequestRatio", "min", "max"))
    if ratio is None:
        return []
    found = [errors.invalid(path, ratio, f"ratio {ratio} is less than 1")] if parse_quantity(ratio) < 1 else []
    if least is not None and most is not None and parse_quantity(least) > 0:
        bound = parse_quantity(most) / parse_quantity(least)
        if parse_quantity(ratio) > bound:
            detail = f"ratio {ratio} is greater than max/min = {float(bound):f}"
            found.append(errors.invalid(path, ratio, detail))
    return found


def validate_priority_class(obj: JSONObject, old: JSONObject | None) -> list[FieldError]:
    value, name = obj.get("value") or 0, str((obj.get("metadata") or {}).get("name") or "")
    found: list[FieldError] = []
    policy = obj.get("preemptionPolicy")
    if old is not None:
        if value != (old.get("value") or 0):
            found.append(errors.forbidden("value", "may not be changed in an update."))
        if policy != old.get("preemptionPolicy"):
            found.append(errors.invalid("preemptionPolicy", policy, common.IMMUTABLE))
        return found
    if name.startswith("system-"):
        detail = "priority class names with 'system-' prefix are reserved for system use only"
        found.append(errors.forbidden("metadata.name", detail))
    if value > _HIGHEST_PRIORITY:
        detail = f"maximum allowed value of a user defined priority is {_HIGHEST_PRIORITY}"
        found.append(errors.forbidden("value", detail))
    if policy not in ("Never", "PreemptLowerPriority"):
        found.append(errors.not_supported("preemptionPolicy", policy, ("Never", "PreemptLowerPriority")))
    return found


def validate_storage_class(obj: JSONObject, old: JSONObject | None) -> list[FieldError]:
    found: list[FieldError] = []
    provisioner = str(obj.get("provisioner") or "")
    if not provisioner:
        found.append(errors.required("provisioner"))
    else:
        problems = names.bad_qualified_name(provisioner.lower())
        found += [errors.invalid("provisioner", provisioner, problem) for problem in problems]
    found += common.one_of(obj.get("reclaimPolicy"), ("Delete", "Retain"), "reclaimPolicy")
    modes = ("Immediate", "WaitForFirstConsumer")
    found += common.one_of(obj.get("volumeBindingMode"), modes, "volumeBindingMode")
    if old is not None:
        for field in ("parameters", "provisioner", "reclaimPolicy"):
            if obj.get(field) != old.get(field):
                found.append(errors.forbidden(field, f"updates to {field} are forbidden."))
        if obj.get("volumeBindingMode") != old.get("volumeBindingMode"):
            found.append(errors.invalid("volumeBindingMode", obj.get("volumeBindingMode"), common.IMMUTABLE))
    return found


def validate_runtime_class(obj: JSONObject, old: JSONObject | None) -> list[FieldError]:
    handler = str(obj.get("handler") or "")
    if old is not None:
        return [] if handler == old.get("handler") else [errors.invalid("handler", handler, common.IMMUTABLE)]
    return [errors.invalid("handler", handler, problem) for problem in names.bad_label(handler)]


def validate_revision(obj: JSONObject, old: JSONObject | None) -> list[FieldError]:
    found = [errors.required("data", "data is mandatory")] if obj.get("data") is None else []
    found += common.not_negative(obj.get("revision"), "revision")
    if old is not None and obj.get("data") != old.get("data"):
        found.append(errors.invalid("data", obj.get("data"), common.IMMUTABLE))
    return found


def validate_webhooks(obj: JSONObject, old: JSONObject | None) -> list[FieldError]:
    del old
    found: list[FieldError] = []
    seen: set[str] = set()
    for index, hook in enumerate(obj.get("webhooks") or ()):
        where, name = f"webhooks[{index}]", str(hook.get("name") or "")
        problems = names.bad_subdomain(name)
        found += [errors.invalid(f"{where}.name", name, problem) for problem in problems]
        if not problems and name.count(".") < 2:
            detail = "should be a domain with at least three segments separated by dots"
            found.append(errors.invalid(f"{where}.name", name, detail))
        if name in seen:
            found.append(errors.duplicate(f"{where}.name", name))
        seen.add(name)
        found += _webhook(hook, where)
    return found


def _webhook(hook: JSONMapping, path: str) -> list[FieldError]:
    found: list[FieldError] = []
    for number, rule in enumerate(hook.get("rules") or ()):
        for field in ("operations", "apiGroups", "apiVersions", "resources"):
            if not rule.get(field):
                found.append(errors.required(f"{path}.rules[{number}].{field}"))
    found += common.one_of(hook.get("failurePolicy"), ("Fail", "Ignore"), f"{path}.failurePolicy")
    found += common.one_of(hook.get("matchPolicy"), ("Equivalent", "Exact"), f"{path}.matchPolicy")
    effects = hook.get("sideEffects")
    if effects is None:
        found.append(errors.required(f"{path}.sideEffects", "must specify one of None, NoneOnDryRun"))
    else:
        found += common.one_of(effects, ("None", "NoneOnDryRun"), f"{path}.sideEffects")
    seconds = hook.get("timeoutSeconds")
    if seconds is not None and not 1 <= seconds <= 30:
        detail = "the timeout value must be between 1 and 30 seconds"
        found.append(errors.invalid(f"{path}.timeoutSeconds", seconds, detail))
    for field in ("namespaceSelector", "objectSelector"):
        found += common.label_selector(hook.get(field), f"{path}.{field}")
    versions = hook.get("admissionReviewVersions") or ()
    if not versions:
        detail = "must specify one of v1, v1beta1"
        found.append(errors.required(f"{path}.admissionReviewVersions", detail))
    elif not set(versions) & {"v1", "v1beta1"}:
        detail = "must include at least one of v1, v1beta1"
        found.append(errors.invalid(f"{path}.admissionReviewVersions", versions, detail))
    config = hook.get("clientConfig") or {}
    if (config.get("url") is None) == (config.get("service") is None):
        found.append(errors.required(f"{path}.clientConfig", "exactly one of url or service is required"))
    return found


def validate_admission_policy(obj: JSONObject, old: JSONObject | None) -> list[FieldError]:
    del old
    spec = obj.get("spec") or {}
    found = common.one_of(spec.get("failurePolicy"), ("Fail", "Ignore"), "spec.failurePolicy")
    constraints = spec.get("matchConstraints")
    if constraints is None:
        found.append(errors.required("spec.matchConstraints"))
    elif not constraints.get("resourceRules"):
        found.append(errors.required("spec.matchConstraints.resourceRules"))
    if obj.get("kind") == "MutatingAdmissionPolicy":
        if not spec.get("mutations"):
            found.append(errors.required("spec.mutations", "mutations must contain at least one item"))
        return found
    if not spec.get("validations") and not spec.get("auditAnnotations"):
        detail = "validations or auditAnnotations must contain at least one item"
        found.append(errors.required("spec.validations", detail))
        found.append(errors.required("spec.auditAnnotations", detail))
    found += [
        errors.required(f"spec.validations[{index}].expression", "expression is not specified")
        for index, each in enumerate(spec.get("validations") or ())
        if not str(each.get("expression") or "").strip()
    ]
    return found


def validate_admission_binding(obj: JSONObject, old: JSONObject | None) -> list[FieldError]:
    del old
    spec = obj.get("spec") or {}
    found = [] if spec.get("policyName") else [errors.required("spec.policyName")]
    if obj.get("kind") == "ValidatingAdmissionPolicyBinding":
        actions = spec.get("validationActions") or ()
        if not actions:
            found.append(errors.required("spec.validationActions", "at least one validation action is required"))
        for index, each in enumerate(actions):
            found += common.one_of(each, ("Audit", "Deny", "Warn"), f"spec.validationActions[{index}]")
    return found


def validate_api_service(obj: JSONObject, old: JSONObject | None) -> list[FieldError]:
    del old
    spec, name = obj.get("spec") or {}, str((obj.get("metadata") or {}).get("name") or "")
    group, version = spec.get("group") or "", spec.get("version") or ""
    found: list[FieldError] = []
    if name != f"{version}.{group}":
        detail = f'must be `spec.version+"."+spec.group`: "{version}.{group}"'
        found.append(errors.invalid("metadata.name", name, detail))
    found += [errors.invalid("spec.version", version, problem) for problem in names.bad_label_1035(version)]
    for field, least, most in (("groupPriorityMinimum", 0, 20000), ("versionPriority", 0, 1000)):
        value = spec.get(field) or 0
        if not least < value <= most:
            detail = f"must be positive and less than {most}"
            found.append(errors.invalid(f"spec.{field}", value, detail))
    if spec.get("service") is None:
        if spec.get("caBundle"):
            found.append(errors.invalid("spec.caBundle", "<no value>", "local APIServices may not have a caBundle"))
        return found
    found += [
        errors.required(f"spec.service.{each}") for each in ("namespace", "name") if not spec["service"].get(each)
    ]
    return found


def required(*fields: str) -> common.Checker:
    """A check that those fields (dotted) are there."""

    def check(obj: JSONObject, old: JSONObject | None) -> list[FieldError]:
        del old
        return [errors.required(each) for each in fields if not _at(obj, each.split("."))]

    return check


def frozen(field: str) -> common.Checker:
    """A check that a field (dotted) stays as it is."""

    def check(obj: JSONObject, old: JSONObject | None) -> list[FieldError]:
        if old is None or _at(obj, field.split(".")) == _at(old, field.split(".")):
            return []
        return [errors.invalid(field, _at(obj, field.split(".")), common.IMMUTABLE)]

    return check


def _at(obj: object, path: Iterable[str]) -> object:
    for step in path:
        obj = obj.get(step) if isinstance(obj, Mapping) else None
    return obj
