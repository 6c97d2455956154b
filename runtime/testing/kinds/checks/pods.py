"""Checks of Pods and of Pod templates."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Final

from runtime.quantity import QuantityError, parse_quantity
from runtime.testing.kinds import errors, gojson, names
from runtime.testing.kinds.checks import common
from runtime.testing.kinds.defaults.pods import qos_class
from runtime.testing.kinds.model import FieldError
from runtime.types import JSONMapping, JSONObject

_RESTART: Final = ("Always", "OnFailure", "Never")
_DNS: Final = ("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None")
_PULL: Final = ("Always", "IfNotPresent", "Never")
_PROTOCOLS: Final = ("SCTP", "TCP", "UDP")
_HANDLERS: Final = ("exec", "httpGet", "tcpSocket", "grpc", "sleep")
_UPDATE: Final = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)
_MUTABLE: Final = ("activeDeadlineSeconds", "tolerations", "schedulingGates", "terminationGracePeriodSeconds")


def validate_pod(obj: JSONObject, old: JSONObject | None) -> list[FieldError]:
    found = check_pod_spec(obj.get("spec") or {}, "spec")
    if old is not None and not found:
        found += _check_update(obj["spec"], old["spec"])
    return found


def validate_ephemeral_containers(obj: JSONObject, old: JSONObject | None) -> list[FieldError]:
    """They are added, and stay as they are."""
    assert old is not None
    wanted = {each.get("name"): each for each in obj["spec"].get("ephemeralContainers") or ()}
    found = check_pod_spec(obj["spec"], "spec")
    for each in old["spec"].get("ephemeralContainers") or ():
        if each.get("name") not in wanted:
            detail = f"existing ephemeral containers {gojson.quoted(str(each.get('name')))} may not be removed\n"
            found.append(errors.forbidden("spec.ephemeralContainers", detail))
        elif wanted[each.get("name")] != each:
            detail = f"existing ephemeral containers {gojson.quoted(str(each.get('name')))} may not be changed\n"
            found.append(errors.forbidden("spec.ephemeralContainers", detail))
    return found


def validate_resize(obj: JSONObject, old: JSONObject | None) -> list[FieldError]:
    """Only CPU and memory change, and not so far that the Pod gets another quality of service."""
    assert old is not None
    found = check_pod_spec(obj["spec"], "spec")
    if qos_class(obj["spec"]) != qos_class(old["spec"]):
        detail = "Pod QOS Class may not change as a result of resizing"
        found.append(errors.invalid("spec", qos_class(obj["spec"]), detail))
    for field in ("containers", "initContainers"):
        for container, before in zip(obj["spec"].get(field) or (), old["spec"].get(field) or (), strict=False):
            if _other_resources(container) != _other_resources(before):
                found.append(errors.forbidden("spec", "only cpu and memory resources are mutable"))
    return found


def _other_resources(container: JSONMapping) -> JSONObject:
    resources = container.get("resources") or {}
    return {
        field: {name: amount for name, amount in (resources.get(field) or {}).items() if name not in ("cpu", "memory")}
        for field in ("limits", "requests")
    }


def _check_update(spec: JSONMapping, old: JSONMapping) -> list[FieldError]:
    """Of a Pod's spec only images and a few others may change; a node is set by a binding, once."""
    found: list[FieldError] = []
    for field in ("containers", "initContainers"):
        if len(spec.get(field) or ()) != len(old.get(field) or ()):
            detail = "pod updates may not add or remove containers"
            return [errors.forbidden(f"spec.{field}", detail)]
    found += _check_deadline_update(spec.get("activeDeadlineSeconds"), old.get("activeDeadlineSeconds"))
    kept = [_without_seconds(each) for each in spec.get("tolerations") or ()]
    if any(_without_seconds(each) not in kept for each in old.get("tolerations") or ()):
        detail = "existing toleration can not be modified except its tolerationSeconds"
        found.append(errors.forbidden("spec.tolerations", detail))
    gates = [each.get("name") for each in old.get("schedulingGates") or ()]
    if any(each.get("name") not in gates for each in spec.get("schedulingGates") or ()):
        detail = "only deletion is allowed, but found new scheduling gates"
        found.append(errors.forbidden("spec.schedulingGates", detail))
    if _frozen(spec, old) != _frozen(old, old):
        found.append(errors.forbidden("spec", _UPDATE))
    return found


def _check_deadline_update(wanted: int | None, old: int | None) -> list[FieldError]:
    """It comes once, and only moves closer."""
    where = "spec.activeDeadlineSeconds"
    if wanted is None and old is not None:
        return [errors.invalid(where, None, "must not update from a positive integer to nil value")]
    if wanted is not None and old is not None and wanted > old:
        return [errors.invalid(where, wanted, "must be less than or equal to previous value")]
    return []


def _without_seconds(toleration: JSONMapping) -> JSONObject:
    return {key: value for key, value in toleration.items() if key != "tolerationSeconds"}


def _frozen(spec: JSONMapping, old: JSONMapping) -> JSONObject:
    kept = {key: copy.deepcopy(value) for key, value in spec.items() if key not in _MUTABLE}
    for field in ("containers", "initContainers"):
        for container in kept.get(field) or ():
            container.pop("image", None)
    if not old.get("nodeName"):
        kept.pop("nodeName", None)
    return kept


def check_template(
    template: JSONMapping | None,
    path: str,
    restart: tuple[str, ...] | None = ("Always",),
    claims: Iterable[str] = (),
) -> list[FieldError]:
    """:param restart: the restart policies that the workload allows; None: it judges them itself.
    :param claims: volumes that the workload adds to each Pod: a StatefulSet's claims.
    """
    template = template or {}
    found = common.labels((template.get("metadata") or {}).get("labels"), f"{path}.metadata.labels")
    spec = template.get("spec") or {}
    found += check_pod_spec(spec, f"{path}.spec", claims)
    policy = spec.get("restartPolicy")
    if restart is not None and policy in _RESTART and policy not in restart:
        found.append(errors.not_supported(f"{path}.spec.restartPolicy", policy, restart))
    return found


def check_pod_spec(spec: JSONMapping, path: str, claims: Iterable[str] = ()) -> list[FieldError]:
    found: list[FieldError] = []
    volumes = _check_volumes(spec.get("volumes") or (), f"{path}.volumes", found).union(claims)
    containers = spec.get("containers") or ()
    if not containers:
        found.append(errors.required(f"{path}.containers"))
    seen: set[str] = set()
    for index, each in enumerate(containers):
        _check_container(each, f"{path}.containers[{index}]", volumes, seen, found)
    for index, each in enumerate(spec.get("initContainers") or ()):
        where = f"{path}.initContainers[{index}]"
        _check_container(each, where, volumes, seen, found)
        _check_init(each, where, found)
    for index, each in enumerate(spec.get("ephemeralContainers") or ()):
        _check_container(each, f"{path}.ephemeralContainers[{index}]", volumes, seen, found)
    found += common.one_of(spec.get("restartPolicy"), _RESTART, f"{path}.restartPolicy")
    found += common.one_of(spec.get("dnsPolicy"), _DNS, f"{path}.dnsPolicy")
    found += common.labels(spec.get("nodeSelector"), f"{path}.nodeSelector")
    _check_host_ports(spec, path, found)
    for field, judge in (
        ("serviceAccountName", names.bad_subdomain),
        ("nodeName", names.bad_subdomain),
        ("hostname", names.bad_label),
        ("subdomain", names.bad_label),
        ("priorityClassName", names.bad_subdomain),
        ("runtimeClassName", names.bad_subdomain),
    ):
        if spec.get(field):
            found += [errors.invalid(f"{path}.{field}", spec[field], problem) for problem in judge(spec[field])]
        if field == "nodeName":
            found += _check_deadline(spec, path)
        if field == "subdomain":
            found += check_tolerations(spec.get("tolerations") or (), f"{path}.tolerations")
            found += _check_aliases(spec.get("hostAliases") or (), f"{path}.hostAliases")
    return found


def _check_deadline(spec: JSONMapping, path: str) -> list[FieldError]:
    seconds = spec.get("activeDeadlineSeconds")
    if seconds is None or 1 <= seconds < 2**31:
        return []
    detail = f"must be between 1 and {2**31 - 1}, inclusive"
    return [errors.invalid(f"{path}.activeDeadlineSeconds", seconds, detail)]


def _check_aliases(aliases: Iterable[JSONMapping], path: str) -> list[FieldError]:
    found: list[FieldError] = []
    for index, alias in enumerate(aliases):
        found += common.ip_address(alias.get("ip"), f"{path}[{index}].ip")
        for host in alias.get("hostnames") or ():
            problems = names.bad_subdomain(host)
            found += [errors.invalid(f"{path}[{index}].hostnames", host, problem) for problem in problems]
    return found


def check_tolerations(tolerations: Iterable[JSONMapping], path: str) -> list[FieldError]:
    """What a Pod may put up with."""
    found: list[FieldError] = []
    for index, each in enumerate(tolerations):
        where, key, operator = f"{path}[{index}]", each.get("key") or "", each.get("operator") or "Equal"
        if key:
            found += [errors.invalid(f"{where}.key", key, problem) for problem in names.bad_qualified_name(key)]
        elif operator != "Exists":
            detail = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'
            found.append(errors.invalid(f"{where}.operator", each.get("operator") or "", detail))
        if each.get("tolerationSeconds") is not None and each.get("effect") != "NoExecute":
            detail = "effect must be 'NoExecute' when `tolerationSeconds` is set"
            found.append(errors.invalid(f"{where}.effect", each.get("effect") or "", detail))
        if operator == "Exists":
            if each.get("value"):
                detail = "value must be empty when `operator` is 'Exists'"
                found.append(errors.invalid(f"{where}.operator", each, detail))
        elif operator == "Equal":
            found += common.label_value(str(each.get("value") or ""), f"{where}.operator")
        else:
            found.append(errors.not_supported(f"{where}.operator", operator, ("Equal", "Exists")))
        if each.get("effect"):
            effects = ("NoExecute", "NoSchedule", "PreferNoSchedule")
            found += common.one_of(each["effect"], effects, f"{where}.effect")
    return found


def _check_host_ports(spec: JSONMapping, path: str, found: list[FieldError]) -> None:
    """A port of the node is given once; on the node's network it is the container's."""
    taken: set[tuple[object, object, object]] = set()
    for index, container in enumerate(spec.get("containers") or ()):
        for number, port in enumerate(container.get("ports") or ()):
            where, host = f"{path}.containers[{index}].ports[{number}]", port.get("hostPort")
            if spec.get("hostNetwork") and host and host != port.get("containerPort"):
                detail = "must match `containerPort` when `hostNetwork` is true"
                found.append(errors.invalid(f"{where}.containerPort", port.get("containerPort"), detail))
            key = (host, port.get("hostIP") or "", port.get("protocol"))
            if host and key in taken:
                shown = f"{port.get('protocol')}/{port.get('hostIP') or ''}/{host}"
                found.append(errors.duplicate(f"{where}.hostPort", shown))
            taken.add(key)


# What a source of a volume cannot do without.
_NEEDED: Final = {
    "awsElasticBlockStore": ("volumeID",),
    "azureDisk": ("diskName", "diskURI"),
    "azureFile": ("secretName", "shareName"),
    "cephfs": ("monitors",),
    "cinder": ("volumeID",),
    "configMap": ("name",),
    "csi": ("driver",),
    "gcePersistentDisk": ("pdName",),
    "gitRepo": ("repository",),
    "glusterfs": ("endpoints", "path"),
    "hostPath": ("path",),
    "image": ("reference",),
    "iscsi": ("targetPortal", "iqn"),
    "nfs": ("server", "path"),
    "persistentVolumeClaim": ("claimName",),
    "rbd": ("monitors", "image"),
    "secret": ("secretName",),
}
_BAD_MODE: Final = "must be a number between 0 and 0777 (octal), both inclusive"


def _check_volumes(volumes: Iterable[JSONMapping], path: str, found: list[FieldError]) -> set[str]:
    """The names of the good ones: only these can be mounted."""
    seen: set[str] = set()
    for index, volume in enumerate(volumes):
        where, name = f"{path}[{index}]", str(volume.get("name") or "")
        problems = _check_source(volume, where)
        if not name:
            problems.append(errors.required(f"{where}.name"))
        else:
            problems += [errors.invalid(f"{where}.name", name, problem) for problem in names.bad_label(name)]
        if name in seen:
            problems.append(errors.duplicate(f"{where}.name", name))
        found += problems
        if not problems:
            seen.add(name)
    return seen


def _check_source(volume: JSONMapping, path: str) -> list[FieldError]:
    sources = sorted(set(volume) - {"name"})
    found = [errors.forbidden(f"{path}.{each}", "may not specify more than 1 volume type") for each in sources[1:]]
    for kind in sources[:1]:
        source = volume[kind]
        found += [errors.required(f"{path}.{kind}.{each}") for each in _NEEDED.get(kind, ()) if not source.get(each)]
        mode = source.get("defaultMode")
        if mode is not None and not 0 <= mode <= 0o777:
            found.append(errors.invalid(f"{path}.{kind}.defaultMode", mode, _BAD_MODE))
        for index, item in enumerate(source.get("items") or ()):
            found += _check_item(item, kind, f"{path}.{kind}.items[{index}]")
        limit = source.get("sizeLimit")
        if limit is not None and parse_quantity(str(limit)) < 0:
            detail = "SizeLimit field must be a valid resource quantity"
            found.append(errors.forbidden(f"{path}.emptyDir.sizeLimit", detail))
    return found


def _check_item(item: JSONMapping, kind: str, path: str) -> list[FieldError]:
    found: list[FieldError] = []
    if kind in ("configMap", "secret") and not item.get("key"):
        found.append(errors.required(f"{path}.key"))
    place = str(item.get("path") or "")
    if not place:
        found.append(errors.required(f"{path}.path"))
    elif place.startswith("/"):
        found.append(errors.invalid(f"{path}.path", place, "must be a relative path"))
    elif ".." in place.split("/"):
        found.append(errors.invalid(f"{path}.path", place, "must not contain '..'"))
    mode = item.get("mode")
    if mode is not None and not 0 <= mode <= 0o777:
        found.append(errors.invalid(f"{path}.mode", mode, _BAD_MODE))
    return found


def _check_container(
    container: JSONMapping, path: str, volumes: set[str], seen: set[str], found: list[FieldError]
) -> None:
    name = str(container.get("name") or "")
    if not name:
        found.append(errors.required(f"{path}.name"))
    else:
        found += [errors.invalid(f"{path}.name", name, problem) for problem in names.bad_label(name)]
    image = container.get("image")
    if not image:
        found.append(errors.required(f"{path}.image"))
    elif image != image.strip():
        found.append(errors.invalid(f"{path}.image", image, "must not have leading or trailing whitespace"))
    _check_ports(container.get("ports") or (), f"{path}.ports", found)
    _check_environment(container.get("env") or (), f"{path}.env", found)
    _check_sources(container.get("envFrom") or (), f"{path}.envFrom", found)
    _check_mounts(container.get("volumeMounts") or (), f"{path}.volumeMounts", volumes, found)
    found += common.one_of(container.get("imagePullPolicy"), _PULL, f"{path}.imagePullPolicy")
    _check_resources(container.get("resources") or {}, f"{path}.resources", found)
    if name in seen:
        found.append(errors.duplicate(f"{path}.name", name))
    seen.add(name)
    for moment, handler in (container.get("lifecycle") or {}).items():
        if isinstance(handler, dict):
            _check_handler(handler, f"{path}.lifecycle.{moment}", found)
    for field in ("livenessProbe", "readinessProbe", "startupProbe"):
        if container.get(field) is not None:
            _check_probe(container[field], f"{path}.{field}", field, found)


def _check_init(container: JSONMapping, path: str, found: list[FieldError]) -> None:
    policy = container.get("restartPolicy")
    if policy is not None and policy not in _RESTART:
        found.append(errors.not_supported(f"{path}.restartPolicy", policy, ("Always",)))
    if policy == "Always":
        return
    for field in ("lifecycle", "livenessProbe", "readinessProbe", "startupProbe"):
        if container.get(field) is not None:
            detail = "may not be set for init containers without restartPolicy=Always"
            found.append(errors.forbidden(f"{path}.{field}", detail))


def _check_ports(ports: Iterable[JSONMapping], path: str, found: list[FieldError]) -> None:
    seen: set[str] = set()
    for index, port in enumerate(ports):
        where, name = f"{path}[{index}]", port.get("name")
        if name:
            problems = common.port_name(name, f"{where}.name")
            found += problems
            if not problems and name in seen:
                found.append(errors.duplicate(f"{where}.name", name))
            seen.add(name)
        if port.get("containerPort") in (None, 0):
            found.append(errors.required(f"{where}.containerPort"))
        else:
            found += common.port_number(port["containerPort"], f"{where}.containerPort")
        if port.get("hostPort"):
            found += common.port_number(port["hostPort"], f"{where}.hostPort")
        found += common.one_of(port.get("protocol"), _PROTOCOLS, f"{where}.protocol")


# What a variable's source cannot do without.
_REFERENCES: Final = {
    "configMapKeyRef": ("name", "key"),
    "fieldRef": ("apiVersion", "fieldPath"),
    "resourceFieldRef": ("resource",),
    "secretKeyRef": ("name", "key"),
}


def _check_environment(variables: Iterable[JSONMapping], path: str, found: list[FieldError]) -> None:
    for index, variable in enumerate(variables):
        where, name = f"{path}[{index}]", str(variable.get("name") or "")
        if not name:
            found.append(errors.required(f"{where}.name"))
        elif "=" in name or not name.isprintable():
            detail = "a valid environment variable name must consist only of printable ASCII characters other than '='"
            found.append(errors.invalid(f"{where}.name", name, detail))
        source = variable.get("valueFrom")
        if source is None:
            continue
        if variable.get("value"):
            found.append(errors.invalid(f"{where}.valueFrom", "", "may not be specified when `value` is not empty"))
        kinds = [key for key, value in source.items() if value is not None]
        if not kinds:
            detail = (
                "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"
            )
            found.append(errors.invalid(f"{where}.valueFrom", "", detail))
        elif len(kinds) > 1:
            detail = "may not have more than one field specified at a time"
            found.append(errors.invalid(f"{where}.valueFrom", "", detail))
        for kind in kinds:
            needed = _REFERENCES.get(kind, ())
            found += [
                errors.required(f"{where}.valueFrom.{kind}.{each}") for each in needed if not source[kind].get(each)
            ]


def _check_sources(sources: Iterable[JSONMapping], path: str, found: list[FieldError]) -> None:
    for index, source in enumerate(sources):
        kinds = [each for each in ("configMapRef", "secretRef") if source.get(each) is not None]
        if len(kinds) == 1:
            if not source[kinds[0]].get("name"):
                found.append(errors.required(f"{path}[{index}].{kinds[0]}.name"))
            continue
        detail = "must specify one of: `configMapRef` or `secretRef`"
        if kinds:
            detail = "may not have more than one field specified at a time"
        found.append(errors.invalid(f"{path}[{index}]", "", detail))


def _check_mounts(mounts: Iterable[JSONMapping], path: str, volumes: set[str], found: list[FieldError]) -> None:
    seen: set[str] = set()
    for index, mount in enumerate(mounts):
        where, name, place = f"{path}[{index}]", str(mount.get("name") or ""), mount.get("mountPath")
        if not name:
            found.append(errors.required(f"{where}.name"))
        elif name not in volumes:
            found.append(errors.not_found(f"{where}.name", name))
        if not place:
            found.append(errors.required(f"{where}.mountPath"))
        elif place in seen:
            found.append(errors.invalid(f"{where}.mountPath", place, "must be unique"))
        seen.add(str(place))


def _check_resources(resources: JSONMapping, path: str, found: list[FieldError]) -> None:
    limits = resources.get("limits") or {}
    for field in ("limits", "requests"):
        for name, amount in sorted((resources.get(field) or {}).items()):
            where = f"{path}.{field}[{name}]" if "/" in name else f"{path}.{field}.{name}"
            try:
                value = parse_quantity(str(amount))
            except QuantityError:
                continue  # refused when it was decoded
            if value < 0:
                found.append(errors.invalid(where, str(amount), common.NOT_NEGATIVE))
            elif field == "requests" and name in limits and value > parse_quantity(str(limits[name])):
                detail = f"must be less than or equal to {name} limit of {limits[name]}"
                found.append(errors.invalid(f"{path}.requests", str(amount), detail))


def _check_probe(probe: JSONMapping, path: str, field: str, found: list[FieldError]) -> None:
    _check_handler(probe, path, found)
    for name in ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"):
        found += common.not_negative(probe.get(name), f"{path}.{name}")
    if field != "readinessProbe" and probe.get("successThreshold", 1) != 1:
        found.append(errors.invalid(f"{path}.successThreshold", probe["successThreshold"], "must be 1"))


def _check_handler(handler: JSONMapping, path: str, found: list[FieldError]) -> None:
    kinds = [name for name in _HANDLERS if handler.get(name) is not None]
    if not kinds:
        found.append(errors.required(path, "must specify a handler type"))
    for extra in kinds[1:]:
        found.append(errors.forbidden(f"{path}.{extra}", "may not specify more than 1 handler type"))
    if handler.get("exec") is not None and not handler["exec"].get("command"):
        found.append(errors.required(f"{path}.exec.command"))
    for name in ("httpGet", "tcpSocket"):
        if handler.get(name) is not None:
            found += common.port_or_name(handler[name].get("port"), f"{path}.{name}.port")
