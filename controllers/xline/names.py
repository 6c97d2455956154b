"""What the objects of one XlineCluster are called, and how they are found."""

from __future__ import annotations

from dataclasses import dataclass

from membership.xline.matching import Matching
from membership.xline.model import member_selector, member_selector_text
from runtime.client import Unstructured
from runtime.types import GVR, JSONMapping, Request

SERVICES = GVR("", "v1", "services")
PODS = GVR("", "v1", "pods")
CLAIMS = GVR("", "v1", "persistentvolumeclaims")
STATEFULSETS = GVR("apps", "v1", "statefulsets")
JOBS = GVR("batch", "v1", "jobs")
CRONJOBS = GVR("batch", "v1", "cronjobs")
BUDGETS = GVR("policy", "v1", "poddisruptionbudgets")
SECRETS = GVR("", "v1", "secrets")
SERVICE_ACCOUNTS = GVR("", "v1", "serviceaccounts")
ROLES = GVR("rbac.authorization.k8s.io", "v1", "roles")
ROLE_BINDINGS = GVR("rbac.authorization.k8s.io", "v1", "rolebindings")
CERTIFICATES = GVR("cert-manager.io", "v1", "certificates")  # of cert-manager, which may not be installed

FIELD_MANAGER = "xline-operator"
CONTAINER = "xline"
VOLUME = "data"

_NAME = "app.kubernetes.io/name"
_INSTANCE = "app.kubernetes.io/instance"
_COMPONENT = "app.kubernetes.io/component"
_MANAGED_BY = "app.kubernetes.io/managed-by"
_OURS = "xlinecluster"
_BACKUPS = "xlinecluster-backup"

# On the claims, and in the StatefulSet's template of them, which cannot change: whose data the volumes hold.
ENGINE = "xline.io.datenlord.com/engine"
INITIAL_MEMBERS = "xline.io.datenlord.com/initial-members"
TOKEN = "xline.io.datenlord.com/cluster-token"  # noqa: S105 - no secret: it tells clusters of one name apart
RUN_AS = "xline.io.datenlord.com/run-as"

# On the claims alone, once a leader was seen: that their cluster has run, and the engine's id of it if that is known.
HAS_RUN = "xline.io.datenlord.com/has-run"


@dataclass(frozen=True, slots=True)
class Names:
    """Names and labels of the XlineCluster ``namespace/cluster``. ``-svc`` and ``-sts`` are the Go operator's."""

    namespace: str
    cluster: str

    @property
    def request(self) -> Request:
        """By which the cluster is reconciled."""
        return Request(self.namespace, self.cluster)

    @property
    def headless(self) -> str:
        """The Service that gives each member its DNS name."""
        return f"{self.cluster}-svc"

    @property
    def client(self) -> str:
        """The Service for clients."""
        return f"{self.cluster}-client"

    @property
    def stateful_set(self) -> str:
        return f"{self.cluster}-sts"

    @property
    def budget(self) -> str:
        return f"{self.cluster}-pdb"

    @property
    def agent(self) -> str:
        """The agents' ServiceAccount, Role and RoleBinding."""
        return f"{self.cluster}-agent"

    @property
    def server_certificate(self) -> str:
        """The Certificate of cert-manager, and its Secret, that clients are shown."""
        return f"{self.cluster}-server-tls"

    @property
    def peer_certificate(self) -> str:
        """The same for what members show each other."""
        return f"{self.cluster}-peer-tls"

    @property
    def backup(self) -> str:
        """The CronJob of its backups, whose name has 52 characters at most. Jobs of a trigger are called after it."""
        return f"{self.cluster}-bak"

    @property
    def backup_claim(self) -> str:
        """The PersistentVolumeClaim of backups that the operator makes."""
        return f"{self.cluster}-backup"

    @property
    def restore(self) -> str:
        """The Job that brings a backup to the first member."""
        return f"{self.cluster}-restore"

    @property
    def backup_labels(self) -> dict[str, str]:
        """Labels of Jobs of backups and restores and of their Pods. None of the members' selector: Services and budgets
        must not count them."""
        return {_INSTANCE: self.cluster, _NAME: _BACKUPS, _COMPONENT: "backup", _MANAGED_BY: FIELD_MANAGER}

    @property
    def backup_selector(self) -> str:
        return f"{_INSTANCE}={self.cluster},{_NAME}={_BACKUPS}"

    def member(self, ordinal: int) -> str:
        """A member is called as its Pod."""
        return f"{self.stateful_set}-{ordinal}"

    def ordinal(self, member: str) -> int | None:
        """The other way round; None if no member of this cluster is called so."""
        return Matching(self.stateful_set, {}, {}).ordinal(member)

    def claim(self, member: str) -> str:
        """The member's PersistentVolumeClaim."""
        return f"{VOLUME}-{member}"

    def ordinal_of_claim(self, claim: str) -> int | None:
        """The ordinal of the member whose claim is called so; None if it is no member's."""
        prefix = f"{VOLUME}-"
        return self.ordinal(claim.removeprefix(prefix)) if claim.startswith(prefix) else None

    def domain(self, cluster_domain: str) -> str:
        """What follows a member's name in its DNS name."""
        return f"{self.headless}.{self.namespace}.svc.{cluster_domain}"

    @property
    def selector(self) -> dict[str, str]:
        """Labels that select the members' Pods."""
        return member_selector(self.cluster)

    @property
    def selector_text(self) -> str:
        return member_selector_text(self.cluster)

    @property
    def labels(self) -> dict[str, str]:
        """Labels of every object we make."""
        return {**self.selector, _COMPONENT: "member", _MANAGED_BY: FIELD_MANAGER}


def cluster_of_backup(namespace: str, labels: JSONMapping) -> Request | None:
    """The same for Jobs of backups, and their Pods."""
    name = labels.get(_INSTANCE)
    return Request(namespace, name) if name and labels.get(_NAME) == _BACKUPS else None


def cluster_of(namespace: str, labels: JSONMapping) -> Request | None:
    """The XlineCluster whose Pod or claim carries these labels; None if it is none of ours."""
    name = labels.get(_INSTANCE)
    return Request(namespace, name) if name and labels.get(_NAME) == _OURS else None


def is_left_over(child: Unstructured, owner: Unstructured) -> bool:
    """Whether it belongs to a deleted XlineCluster of the same name, and is about to be garbage-collected."""
    return any(
        (reference.kind, reference.name) == (owner.kind, owner.name) and reference.uid != owner.uid
        for reference in child.owner_references
    )
