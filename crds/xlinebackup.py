"""The parts of an XlineCluster that speak of backups: when they are taken, where they lie, and a start from one."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from crds.meta import INT32, INT64, DateTime, FreeForm, Record
from crds.schema import rules
from crds.xlineaccess import SecretName

_FIELD = r"[0-9A-Za-z*?,/-]+"
_SCHEDULE_PATTERN = rf"^{_FIELD}( +{_FIELD}){{4}}$"
_BUCKET_PATTERN = r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$"
_PREFIX_PATTERN = r"^[^/\s][^\s]*$"
_ENDPOINT_PATTERN = r"^https?://[^\s/]+/?$"
_QUANTITY_PATTERN = r"^[1-9][0-9]*(\.[0-9]+)?([kMGTPE]|[KMGTPE]i)?$"
_BACKUP_NAME_PATTERN = r"^(latest|[0-9]{8}T[0-9]{6}Z-r[0-9]+-[0-9a-z]{5})$"

LATEST = "latest"
DEFAULT_KEEP = 7


class BackupVolume(Record, frozen=True, kw_only=True):
    """A PersistentVolumeClaim that backups are written to: one that exists, or one that the operator makes. It is never
    deleted with the cluster."""

    claim_name: (
        Annotated[
            str,
            Meta(description="Name of a claim that exists, in the cluster's namespace.", min_length=1, max_length=253),
        ]
        | None
    ) = None
    size: (
        Annotated[
            str,
            Meta(
                description="Size of the claim NAME-backup, which the operator makes, as a quantity such as 8Gi.",
                pattern=_QUANTITY_PATTERN,
                max_length=32,
            ),
        ]
        | None
    ) = None
    storage_class_name: (
        Annotated[str, Meta(description="StorageClass of that claim; the default class if left out.", max_length=253)]
        | None
    ) = None


class S3Location(Record, frozen=True, kw_only=True):
    """A bucket of S3, or of a store that speaks its API."""

    bucket: Annotated[str, Meta(description="The bucket. It must exist.", pattern=_BUCKET_PATTERN)]
    prefix: (
        Annotated[str, Meta(description="What keys begin with, without `/` at either end.", pattern=_PREFIX_PATTERN)]
        | None
    ) = None
    endpoint: (
        Annotated[
            str,
            Meta(
                description="URL of the store, such as https://minio.example:9000; AWS if left out.",
                pattern=_ENDPOINT_PATTERN,
                max_length=1024,
            ),
        ]
        | None
    ) = None
    region: Annotated[str, Meta(description="The region.", max_length=63)] = "us-east-1"
    secret_name: (
        Annotated[
            SecretName,
            Meta(
                description="Secret with the keys AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and AWS_SESSION_TOKEN "
                "if there is one. Left out: what the Pod's service account or node gives."
            ),
        ]
        | None
    ) = None
    ca_secret_name: (
        Annotated[SecretName, Meta(description="Secret whose key ca.crt the store's certificate is checked against.")]
        | None
    ) = None
    service_account_name: (
        Annotated[
            str,
            Meta(description="ServiceAccount of the Pod, for a store that gives rights to accounts.", max_length=253),
        ]
        | None
    ) = None
    force_path_style: Annotated[
        bool, Meta(description="Whether the bucket goes into the path of the URL instead of its host.")
    ] = False


_ONE_DESTINATION = ("has(self.volume) != has(self.s3)", "exactly one of volume and s3 must be given")
_ONE_VOLUME = (
    "!has(self.volume) || has(self.volume.claimName) != has(self.volume.size)",
    "exactly one of volume.claimName and volume.size must be given",
)
_CLASS_WITH_SIZE = (
    "!has(self.volume) || !has(self.volume.storageClassName) || has(self.volume.size)",
    "volume.storageClassName belongs to volume.size",
)


class BackupDestination(Record, frozen=True, kw_only=True):
    """Where backups lie: `NAMESPACE/CLUSTER/UID/` below it."""

    volume: BackupVolume | None = None
    s3: S3Location | None = None


class BackupSettings(Record, frozen=True, kw_only=True):
    """When backups are taken, where they go, and how long they are kept."""

    schedule: (
        Annotated[
            str,
            Meta(
                description="When, as cron has it: minute, hour, day of month, month, day of week.",
                pattern=_SCHEDULE_PATTERN,
                max_length=256,
            ),
        ]
        | None
    ) = None
    time_zone: (
        Annotated[
            str, Meta(description="The time zone of the schedule, such as Europe/Berlin.", min_length=1, max_length=63)
        ]
        | None
    ) = None
    trigger: (
        Annotated[
            str,
            Meta(description="Any text; a change of it takes one backup now.", min_length=1, max_length=253),
        ]
        | None
    ) = None
    keep: Annotated[
        int,
        Meta(ge=1, le=10_000, description="How many backups of this cluster are kept.", extra_json_schema=INT32),
    ] = DEFAULT_KEEP
    keep_days: (
        Annotated[
            int,
            Meta(
                ge=1,
                le=36_500,
                description="How many days a backup is kept at most. The newest one is kept whatever its age.",
                extra_json_schema=INT32,
            ),
        ]
        | None
    ) = None
    destination: Annotated[
        BackupDestination, Meta(extra_json_schema=rules(_ONE_DESTINATION, _ONE_VOLUME, _CLASS_WITH_SIZE))
    ]
    resources: (
        Annotated[FreeForm, Meta(description="CPU and memory of the Pods that take backups: requests and limits.")]
        | None
    ) = None


class RestoreSource(Record, frozen=True, kw_only=True):
    """The backup that a new cluster starts from. Looked at once, before its first member starts."""

    name: Annotated[
        str,
        Meta(
            description="Name of the backup, as status.backup.lastSuccess.name or the file has it; or latest.",
            pattern=_BACKUP_NAME_PATTERN,
        ),
    ]
    cluster: (
        Annotated[
            str, Meta(description="The XlineCluster it was taken of; one called as this if left out.", max_length=63)
        ]
        | None
    ) = None
    namespace: (
        Annotated[str, Meta(description="That one's namespace; the same as this one's if left out.", max_length=63)]
        | None
    ) = None
    destination: Annotated[
        BackupDestination,
        Meta(
            description="Where it lies.",
            extra_json_schema=rules(
                _ONE_DESTINATION,
                ("!has(self.volume) || has(self.volume.claimName)", "volume.claimName must be given"),
            ),
        ),
    ]
    resources: (
        Annotated[
            FreeForm,
            Meta(description="CPU and memory of each container of the Pod that brings it back: requests and limits."),
        ]
        | None
    ) = None


class BackupRecord(Record, frozen=True, kw_only=True):
    """A backup that was taken and read back."""

    name: Annotated[str, Meta(description="Its name.")]
    time: Annotated[DateTime, Meta(description="When it was taken.")]
    revision: Annotated[
        int,
        Meta(description="Every write up to this revision of the store is in it.", extra_json_schema=INT64),
    ]
    size: Annotated[int, Meta(description="Its size in bytes.", extra_json_schema=INT64)]
    sha256: Annotated[str, Meta(description="Digest of its content, hexadecimal.")] = ""
    member: Annotated[str, Meta(description="The member it was taken of.")] = ""


class BackupFailure(Record, frozen=True, kw_only=True):
    """A backup that could not be taken."""

    time: Annotated[DateTime, Meta(description="When it failed.")]
    reason: Annotated[str, Meta(description="Why, as one CamelCase word.")]
    message: Annotated[str, Meta(description="Why, as a sentence.")] = ""
    job: Annotated[str, Meta(description="The Job that failed.")] = ""


class BackupStatus(Record, frozen=True, kw_only=True):
    """How the backups go."""

    last_success: Annotated[BackupRecord, Meta(description="The newest backup.")] | None = None
    last_failure: Annotated[BackupFailure, Meta(description="The last backup that failed.")] | None = None
    next_time: Annotated[DateTime, Meta(description="When the schedule takes the next one.")] | None = None
    trigger: Annotated[str, Meta(description="The `spec.backup.trigger` that was served last.")] | None = None


class RestoreStatus(Record, frozen=True, kw_only=True):
    """The backup that this cluster was started from."""

    completed: Annotated[bool, Meta(description="Whether its data is in place.")] = False
    name: Annotated[str, Meta(description="Name of the backup.")] = ""
    revision: Annotated[int, Meta(description="Its revision.", extra_json_schema=INT64)] = 0
    message: Annotated[str, Meta(description="What is being done, or why it cannot be done.")] = ""
