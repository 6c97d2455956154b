"""The Pods that take backups and bring them back. Pure.

They reach members and store, never the API server: they have no token, and their words to the operator are the
termination messages of their containers (:class:`membership.xline.backup.take.Outcome`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from controllers.xline import names as known
from controllers.xline import secrets
from controllers.xline.pod import agent_image, confined, launch, security_context
from crds.xlinebackup import BackupDestination, BackupSettings, RestoreSource, S3Location
from crds.xlinepods import PodTemplate
from membership.xline.backup.restore import Place
from membership.xline.backup.tool import restore_command
from membership.xline.engines import CLIENT_PORT
from runtime.types import JSONObject

if TYPE_CHECKING:
    from controllers.xline.children import Plan

BACKUP_LIMIT: Final = 6 * 3600  # seconds a backup, or a restore, may take with all its attempts
_RETRIES: Final = 2
_KEPT_AFTER_RESTORE: Final = 24 * 3600  # seconds the Job is kept to be looked at

_VOLUME: Final = "backups"
_DIR: Final = "/backups"
_CA_VOLUME: Final = "store-ca"
_CA_DIR: Final = "/etc/xline/store"
_TERMINATION_LOG: Final = "/dev/termination-log"
_KEYS: Final = (("AWS_ACCESS_KEY_ID", False), ("AWS_SECRET_ACCESS_KEY", False), ("AWS_SESSION_TOKEN", True))


@dataclass(frozen=True, slots=True)
class _Shelf:
    """A destination in a Pod."""

    volumes: list[JSONObject]
    mounts: list[JSONObject]
    env: list[JSONObject]
    flags: list[str]
    service_account: str | None = None


def backup_job(plan: Plan, settings: BackupSettings) -> JSONObject:
    """The spec of a Job that takes one backup."""
    shelf = _shelf(settings.destination, plan.names.backup_claim, read_only=False)
    access = secrets.for_clients(plan)
    args = [
        "backup",
        *_cluster_flags(plan.names.namespace, plan.names.cluster),
        f"--uid={plan.cluster.metadata.uid}",
        f"--engine={plan.cluster.spec.engine}",
        f"--endpoints={','.join(_endpoints(plan))}",
        f"--keep={settings.keep}",
        *([f"--keep-days={settings.keep_days}"] if settings.keep_days is not None else []),
        *access.flags,
        *shelf.flags,
        f"--termination-log={_TERMINATION_LOG}",
    ]
    container = _agent(plan, "backup", args, [*shelf.mounts, *access.mounts], shelf.env, settings.resources)
    volumes = [*shelf.volumes, *access.volumes]
    pod = {**_pod(plan, shelf), "containers": [container]}
    return _job(plan, {**pod, "volumes": volumes} if volumes else pod)


def restore_job(plan: Plan, source: RestoreSource) -> JSONObject:
    """The spec of the Job that puts a backup on the volume of the first member.

    :raises SettingError: the engine cannot honour a setting.
    """
    member, start = plan.bootstrap.members[0], launch(plan)
    shelf = _shelf(source.destination, plan.names.backup_claim, read_only=True)
    place = Place(Path(plan.profile.data_dir))
    data = {"name": known.VOLUME, "mountPath": plan.profile.mount_path}
    where = [f"--data-dir={place.data_dir}", f"--token={plan.bootstrap.token}", f"--termination-log={_TERMINATION_LOG}"]
    of = _cluster_flags(source.namespace or plan.names.namespace, source.cluster or plan.names.cluster)
    fetch = ["restore", "fetch", *of, f"--engine={plan.cluster.spec.engine}", f"--name={source.name}"]
    tool = {
        "name": "restore",
        "image": plan.image,
        "command": restore_command(plan.profile, plan.image, start, member, place),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [data],
        **({"resources": source.resources} if source.resources else {}),
        **confined(plan),
    }
    pod = {
        **_pod(plan, shelf),
        # etcdutl resolves the member's name, which DNS has only when the member runs.
        "hostAliases": [{"ip": "127.0.0.1", "hostnames": [f"{member}.{start.domain}"]}],
        "initContainers": [
            _agent(plan, "fetch", [*fetch, *shelf.flags, *where], [data, *shelf.mounts], shelf.env, source.resources),
            tool,
        ],
        "containers": [_agent(plan, "install", ["restore", "install", *where], [data], [], source.resources)],
        "volumes": [
            {"name": known.VOLUME, "persistentVolumeClaim": {"claimName": plan.names.claim(member)}},
            *shelf.volumes,
        ],
    }
    # Two of its Pods at once would work in the same folder.
    alone = {"podReplacementPolicy": "Failed", "ttlSecondsAfterFinished": _KEPT_AFTER_RESTORE}
    return {**_job(plan, pod), **alone}


def _job(plan: Plan, pod: JSONObject) -> JSONObject:
    return {
        "backoffLimit": _RETRIES,
        "activeDeadlineSeconds": BACKUP_LIMIT,
        "template": {"metadata": {"labels": plan.names.backup_labels}, "spec": pod},
    }


def _pod(plan: Plan, shelf: _Shelf) -> JSONObject:
    """Where members may run, as the first volume is made where this does, and as their user. Their spreading is
    not for it."""
    wanted: JSONObject = msgspec.to_builtins((plan.cluster.spec.pod_template or PodTemplate()).spec)
    fields = ("nodeSelector", "tolerations", "priorityClassName", "imagePullSecrets", "securityContext")
    pod: JSONObject = {
        "securityContext": security_context(plan.bootstrap.run_as),
        **{field: wanted[field] for field in fields if field in wanted},
        "restartPolicy": "Never",
        "enableServiceLinks": False,
        "automountServiceAccountToken": False,
    }
    nodes = (wanted.get("affinity") or {}).get("nodeAffinity")
    if nodes:
        pod["affinity"] = {"nodeAffinity": nodes}
    if shelf.service_account:
        pod["serviceAccountName"] = shelf.service_account
    return pod


def _agent(
    plan: Plan,
    name: str,
    args: list[str],
    mounts: list[JSONObject],
    env: list[JSONObject],
    resources: JSONObject | None,
) -> JSONObject:
    supervised = plan.cluster.spec.agent.mode == "Supervisor"  # then the server's image holds both
    container: JSONObject = {
        "name": name,
        "image": plan.image if supervised else agent_image(plan.cluster, plan.agent_image),
        "command": ["python", "-m", plan.agent_module],
        "args": args,
        "terminationMessagePath": _TERMINATION_LOG,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        **confined(plan),
    }
    # The API server keeps no empty lists.
    more = (("volumeMounts", mounts), ("env", env), ("resources", resources))
    return container | {key: value for key, value in more if value}


def _shelf(destination: BackupDestination, claim: str, *, read_only: bool) -> _Shelf:
    if destination.s3 is not None:
        return _s3(destination.s3)
    volume = destination.volume
    name = (volume.claim_name if volume is not None else None) or claim
    mount: JSONObject = {"name": _VOLUME, "mountPath": _DIR}
    return _Shelf(
        volumes=[{"name": _VOLUME, "persistentVolumeClaim": {"claimName": name}}],
        mounts=[{**mount, "readOnly": True} if read_only else mount],
        env=[],
        flags=[f"--volume={_DIR}"],
    )


def _s3(location: S3Location) -> _Shelf:
    flags = [f"--s3-bucket={location.bucket}", f"--s3-region={location.region}"]
    flags += [f"--s3-prefix={location.prefix.strip('/')}"] if location.prefix else []
    flags += [f"--s3-endpoint={location.endpoint}"] if location.endpoint else []
    flags += ["--s3-path-style"] if location.force_path_style else []
    volumes: list[JSONObject] = []
    mounts: list[JSONObject] = []
    if location.ca_secret_name:
        volumes.append({"name": _CA_VOLUME, "secret": {"secretName": location.ca_secret_name}})
        mounts.append({"name": _CA_VOLUME, "mountPath": _CA_DIR, "readOnly": True})
        flags.append(f"--s3-ca-file={_CA_DIR}/ca.crt")
    env = [_from_secret(key, location.secret_name, optional) for key, optional in _KEYS] if location.secret_name else []
    return _Shelf(volumes, mounts, env, flags, location.service_account_name)


def _from_secret(key: str, secret: str, optional: bool) -> JSONObject:
    reference: JSONObject = {"name": secret, "key": key}
    return {"name": key, "valueFrom": {"secretKeyRef": {**reference, "optional": True} if optional else reference}}


def _cluster_flags(namespace: str, cluster: str) -> list[str]:
    return [f"--namespace={namespace}", f"--cluster={cluster}"]


def _endpoints(plan: Plan) -> list[str]:
    """The Service leads to members that are ready; the first members by name, should none be. The others are learned
    from the engine, so scaling does not change the Job."""
    start = launch(plan)
    domain = start.domain.removeprefix(f"{plan.names.headless}.")
    service = f"{start.security.scheme}://{plan.names.client}.{domain}:{CLIENT_PORT}"
    return [service, *(start.url(member, CLIENT_PORT) for member in plan.bootstrap.members)]
