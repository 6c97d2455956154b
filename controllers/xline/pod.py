"""A member's Pod and its volume. Pure, and the same for all members at all sizes: scaling must not restart anybody, nor
must a restart of the operator."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from controllers.xline import agentaccess, secrets
from controllers.xline import names as known
from crds.bootstrapargs import BootstrapArgs
from crds.xlinecluster import XlineCluster
from crds.xlinepods import PodTemplate
from membership.xline import etcdconfig
from membership.xline.engines import CLIENT_PORT, POD_NAME, EngineProfile, Launch
from membership.xline.model import AGENT_PORT
from membership.xline.settings import SettingError
from membership.xline.startfile import file_name
from runtime.types import JSONObject

if TYPE_CHECKING:
    from controllers.xline.children import Plan

# Long enough for a leader to hand over and for the log to be written out; and for an agent to leave the cluster, which
# it gives up 10 s before the end.
GRACE_PERIOD = 60  # seconds

AGENT_IMAGE = "ghcr.io/xline-kv/xline-operator:v0.1.0"
AGENT_MODULE = "cmd.sidecar"

_AGENT = "agent"
_START_VOLUME = "start"
_START_DIR = "/var/run/xline"
_FOR_EVER = 2**31 - 1


def agent_image(cluster: XlineCluster, default: str) -> str:
    """The image that holds the agent."""
    return cluster.spec.agent.image or default


def pod_template(plan: Plan) -> JSONObject:
    """The members' Pods.

    :raises SettingError: if the engine cannot honour a setting.
    """
    wanted = plan.cluster.spec.pod_template or PodTemplate()
    metadata: JSONObject = {"labels": {**wanted.metadata.labels, **plan.names.labels}}
    if wanted.metadata.annotations:
        metadata["annotations"] = wanted.metadata.annotations
    spec: JSONObject = {
        **_placement(plan),
        "securityContext": security_context(plan.bootstrap.run_as),
        **msgspec.to_builtins(wanted.spec),
        "serviceAccountName": agentaccess.service_account_name(plan),
        "automountServiceAccountToken": True,
        "terminationGracePeriodSeconds": GRACE_PERIOD,
        # A Service called "etcd" would put ETCD_... into the environment, which etcd takes for its flags.
        "enableServiceLinks": False,
        "volumes": _volumes(plan),
    }
    if plan.cluster.spec.agent.mode == "Supervisor":
        return {"metadata": metadata, "spec": {**spec, "containers": [_supervisor(plan)]}}
    return {"metadata": metadata, "spec": {**spec, "initContainers": [_sidecar(plan)], "containers": [_server(plan)]}}


def claim_template(plan: Plan) -> JSONObject:
    """The members' volumes, with what tells whose data they hold."""
    storage = plan.cluster.spec.storage
    spec: JSONObject = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": storage.size}},
    }
    if storage.storage_class_name is not None:
        spec["storageClassName"] = storage.storage_class_name
    annotations = {
        known.ENGINE: plan.cluster.spec.engine,
        known.INITIAL_MEMBERS: ",".join(plan.bootstrap.members),
        known.TOKEN: plan.bootstrap.token,
    }
    if plan.bootstrap.run_as:
        annotations[known.RUN_AS] = str(plan.bootstrap.run_as)
    return {
        "metadata": {"name": known.VOLUME, "labels": plan.names.selector, "annotations": annotations},
        "spec": spec,
    }


def _placement(plan: Plan) -> JSONObject:
    """Apart from each other as far as that can be had: a cluster with fewer nodes than members is better than none."""
    selector = {"matchLabels": plan.names.selector}
    apart = [
        {"weight": weight, "podAffinityTerm": {"topologyKey": key, "labelSelector": selector}}
        for weight, key in ((100, "kubernetes.io/hostname"), (50, "topology.kubernetes.io/zone"))
    ]
    evenly = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": selector,
    }
    return {
        "affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": apart}},
        "topologySpreadConstraints": [evenly],
    }


def security_context(run_as: int) -> JSONObject:
    """Server and agent work on the same files, so they are the same user whatever their images say. Clusters that were
    made before the agent stay what their images were: their files belong to root."""
    if not run_as:
        return {"runAsUser": 0}
    return {
        "runAsNonRoot": True,
        "runAsUser": run_as,
        "runAsGroup": run_as,
        "fsGroup": run_as,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def confined(plan: Plan) -> JSONObject:
    """What a container adds to that, as namespaces with the level "restricted" want it."""
    if not plan.bootstrap.run_as:
        return {}
    return {"securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}}


def _volumes(plan: Plan) -> list[JSONObject]:
    volumes: list[JSONObject] = [{"name": _START_VOLUME, "emptyDir": {}}]
    for volume in (*secrets.for_server(plan).volumes, *secrets.for_clients(plan).volumes):
        if volume not in volumes:
            volumes.append(volume)
    return volumes


def _server(plan: Plan) -> JSONObject:
    """The server in a container of its own. What it starts with stands in a file that the agent writes; before that
    it fails, and is tried again."""
    profile = plan.profile
    _refuse_what_no_file_can_say(plan)
    container: JSONObject = {
        **_common(plan, known.CONTAINER, plan.image),
        "command": _start_command(profile),
        "ports": [{"name": name, "containerPort": number} for name, number in profile.ports.items()],
        "startupProbe": profile.startup,
        "livenessProbe": profile.liveness,
        "readinessProbe": _ask_agent("/readyz", every=2, timeout=2, failures=3),
        "lifecycle": {"preStop": {"httpGet": {"path": "/drain", "port": AGENT_PORT}}},
        "volumeMounts": [*_own_mounts(plan), *secrets.for_server(plan).mounts],
    }
    return _with_settings(plan, container)


def _sidecar(plan: Plan) -> JSONObject:
    """The agent in a container of its own, which starts before the server's and ends after it."""
    container: JSONObject = {
        **_common(plan, _AGENT, agent_image(plan.cluster, plan.agent_image)),
        "restartPolicy": "Always",
        "command": ["python", "-m", plan.agent_module],
        "args": [*_agent_flags(plan), "--", *plan.profile.server_flags(launch(plan))],
        "ports": [{"name": "agent", "containerPort": AGENT_PORT}],
        # Passed once the server may start: it may have to wait for the others, for as long as it takes.
        "startupProbe": _ask_agent("/start", every=1, timeout=5, failures=_FOR_EVER),
        "livenessProbe": _ask_agent("/livez", every=10, timeout=5, failures=6),
        "volumeMounts": _all_mounts(plan),
    }
    if plan.cluster.spec.agent.resources:
        container["resources"] = plan.cluster.spec.agent.resources
    return container


def _supervisor(plan: Plan) -> JSONObject:
    """Agent and server in one container, the agent as the server's parent."""
    profile = plan.profile
    container: JSONObject = {
        **_common(plan, known.CONTAINER, plan.image),
        "command": ["python", "-m", plan.agent_module],
        "args": [*_agent_flags(plan), "--", *profile.command, *profile.server_flags(launch(plan))],
        "ports": [
            *({"name": name, "containerPort": number} for name, number in profile.ports.items()),
            {"name": "agent", "containerPort": AGENT_PORT},
        ],
        "livenessProbe": _ask_agent("/livez", every=10, timeout=5, failures=6),
        "readinessProbe": _ask_agent("/readyz", every=2, timeout=2, failures=3),
        "volumeMounts": _all_mounts(plan),
    }
    return _with_settings(plan, container)


def _start_command(profile: EngineProfile) -> list[str]:
    path = f"{_START_DIR}/{file_name(profile)}"
    return [*profile.command, f"--config-file={path}"] if profile.reads_file else ["/bin/sh", path]


def _refuse_what_no_file_can_say(plan: Plan) -> None:
    """etcd takes no notice of what it does not know in its file."""
    for index, flag in enumerate(plan.cluster.spec.extra_args if plan.profile.reads_file else ()):
        problem = etcdconfig.problem(flag)
        if problem is not None:
            raise SettingError(f"spec.extraArgs[{index}]", f"{flag}: {problem}")


def _with_settings(plan: Plan, container: JSONObject) -> JSONObject:
    spec = plan.cluster.spec
    if spec.image_pull_policy:
        container["imagePullPolicy"] = spec.image_pull_policy
    if spec.resources:
        container["resources"] = spec.resources
    return container


def _common(plan: Plan, name: str, image: str) -> JSONObject:
    fields = (("POD_NAME", "metadata.name"), ("POD_UID", "metadata.uid"), ("POD_IP", "status.podIP"))
    return {
        "name": name,
        "image": image,
        "env": [{"name": variable, "valueFrom": {"fieldRef": {"fieldPath": path}}} for variable, path in fields],
        **confined(plan),
    }


def _own_mounts(plan: Plan) -> list[JSONObject]:
    return [
        {"name": known.VOLUME, "mountPath": plan.profile.mount_path},
        {"name": _START_VOLUME, "mountPath": _START_DIR},
    ]


def _all_mounts(plan: Plan) -> list[JSONObject]:
    """The agent names the server's files to the server, so they lie at the same paths for both: where containers share
    the file system of their host, a path in a container's arguments means what is mounted there."""
    mounts = _own_mounts(plan)
    for mount in (*secrets.for_server(plan).mounts, *secrets.for_clients(plan).mounts):
        if mount not in mounts:
            mounts.append(mount)
    return mounts


def _agent_flags(plan: Plan) -> list[str]:
    start, spec = launch(plan), plan.cluster.spec
    peer_port = plan.profile.ports.get("peer", CLIENT_PORT)
    return [
        "run",
        f"--engine={plan.profile.key}",
        f"--mode={spec.agent.mode}",
        f"--namespace={plan.names.namespace}",
        f"--cluster={plan.names.cluster}",
        f"--pod={POD_NAME}",
        "--pod-uid=$(POD_UID)",
        f"--token={plan.bootstrap.token}",
        f"--initial={start.members_at(peer_port)}",
        f"--clients={start.members_at(CLIENT_PORT)}",
        f"--peer-url={start.url(POD_NAME, peer_port)}",
        f"--client-url={start.url(POD_NAME, CLIENT_PORT)}",
        f"--data-dir={plan.profile.data_dir}",
        f"--start-dir={_START_DIR}",
        f"--listen=0.0.0.0:{AGENT_PORT}",
        f"--grace={GRACE_PERIOD}",
        *secrets.for_clients(plan).flags,
    ]


def launch(plan: Plan) -> Launch:
    """How the members start, and by which URLs they know each other."""
    spec = plan.cluster.spec
    return Launch(
        members=tuple(plan.bootstrap.members),
        domain=plan.names.domain(plan.cluster_domain),
        token=plan.bootstrap.token,
        data_dir=plan.profile.data_dir,
        args=spec.bootstrap_args or BootstrapArgs(),
        extra=tuple(spec.extra_args),
        security=secrets.security(plan),
        compaction=spec.maintenance.auto_compaction if spec.maintenance else None,
    )


def _ask_agent(path: str, *, every: int, timeout: int, failures: int) -> JSONObject:
    return {
        "httpGet": {"path": path, "port": AGENT_PORT},
        "periodSeconds": every,
        "timeoutSeconds": timeout,
        "failureThreshold": failures,
    }
