"""The rules of the bootstrap policy of v1.36, as text that :mod:`policy` makes objects of.

A rule is written ``VERBS GROUPS RESOURCES [NAMES]``, or ``VERBS url PATHS``, each a list with commas; ``core`` is the
group without a name.
"""

from __future__ import annotations

from typing import Final

from runtime.testing.apiserver.access.rbac import GROUP
from runtime.testing.apiserver.access.users import AUTHENTICATED, MASTERS, UNAUTHENTICATED

CONTROLLER: Final = "system:controller:"
_READ: Final = "get,list,watch"
_WRITE: Final = "create,delete,deletecollection,patch,update"
_BOTH: Final = f"{_READ},{_WRITE}"
_EVENTS: Final = "create,patch,update core,events.k8s.io events"

# Put together from the roles with the label aggregate-to-NAME. The value: into which role this one goes itself.
AGGREGATED: Final = {"admin": "", "edit": "admin", "view": "edit"}

CLUSTER_ROLES: Final[dict[str, tuple[str, ...]]] = {
    "cluster-admin": ("* * *", "* url *"),
    "system:aggregate-to-admin": (
        "create authorization.k8s.io localsubjectaccessreviews",
        f"{_BOTH} {GROUP} rolebindings,roles",
    ),
    "system:aggregate-to-edit": (
        f"{_READ} core pods/attach,pods/exec,pods/portforward,pods/proxy,secrets,services/proxy",
        "impersonate core serviceaccounts",
        f"{_WRITE} core pods,pods/attach,pods/exec,pods/portforward,pods/proxy",
        "create core pods/eviction",
        (
            f"{_WRITE} core configmaps,events,persistentvolumeclaims,replicationcontrollers,"
            "replicationcontrollers/scale,secrets,serviceaccounts,services,services/proxy"
        ),
        "create core serviceaccounts/token",
        (
            f"{_WRITE} apps daemonsets,deployments,deployments/rollback,deployments/scale,replicasets,"
            "replicasets/scale,statefulsets,statefulsets/scale"
        ),
        f"{_WRITE} autoscaling horizontalpodautoscalers",
        f"{_WRITE} batch cronjobs,jobs",
        (
            f"{_WRITE} extensions daemonsets,deployments,deployments/rollback,deployments/scale,ingresses,"
            "networkpolicies,replicasets,replicasets/scale,replicationcontrollers/scale"
        ),
        f"{_WRITE} policy poddisruptionbudgets",
        f"{_WRITE} networking.k8s.io ingresses,networkpolicies",
        f"{_BOTH} coordination.k8s.io leases",
        f"{_WRITE} resource.k8s.io resourceclaims,resourceclaimtemplates",
    ),
    "system:aggregate-to-view": (
        (
            f"{_READ} core configmaps,endpoints,persistentvolumeclaims,persistentvolumeclaims/status,pods,"
            "replicationcontrollers,replicationcontrollers/scale,serviceaccounts,services,services/status"
        ),
        (
            f"{_READ} core bindings,events,limitranges,namespaces/status,pods/log,pods/status,"
            "replicationcontrollers/status,resourcequotas,resourcequotas/status"
        ),
        f"{_READ} core namespaces",
        f"{_READ} discovery.k8s.io endpointslices",
        (
            f"{_READ} apps controllerrevisions,daemonsets,daemonsets/status,deployments,deployments/scale,"
            "deployments/status,replicasets,replicasets/scale,replicasets/status,statefulsets,statefulsets/scale,"
            "statefulsets/status"
        ),
        f"{_READ} autoscaling horizontalpodautoscalers,horizontalpodautoscalers/status",
        f"{_READ} batch cronjobs,cronjobs/status,jobs,jobs/status",
        (
            f"{_READ} extensions daemonsets,daemonsets/status,deployments,deployments/scale,deployments/status,"
            "ingresses,ingresses/status,networkpolicies,replicasets,replicasets/scale,replicasets/status,"
            "replicationcontrollers/scale"
        ),
        f"{_READ} policy poddisruptionbudgets,poddisruptionbudgets/status",
        f"{_READ} networking.k8s.io ingresses,ingresses/status,networkpolicies",
        f"{_READ} resource.k8s.io resourceclaims,resourceclaims/status,resourceclaimtemplates",
    ),
    "system:auth-delegator": (
        "create authentication.k8s.io tokenreviews",
        "create authorization.k8s.io subjectaccessreviews",
    ),
    "system:basic-user": (
        "create authorization.k8s.io selfsubjectaccessreviews,selfsubjectrulesreviews",
        "create authentication.k8s.io selfsubjectreviews",
    ),
    "system:certificates.k8s.io:certificatesigningrequests:nodeclient": (
        "create certificates.k8s.io certificatesigningrequests/nodeclient",
    ),
    "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient": (
        "create certificates.k8s.io certificatesigningrequests/selfnodeclient",
    ),
    "system:certificates.k8s.io:kube-apiserver-client-approver": (
        "approve certificates.k8s.io signers kubernetes.io/kube-apiserver-client",
    ),
    "system:certificates.k8s.io:kube-apiserver-client-kubelet-approver": (
        "approve certificates.k8s.io signers kubernetes.io/kube-apiserver-client-kubelet",
    ),
    "system:certificates.k8s.io:kubelet-serving-approver": (
        "approve certificates.k8s.io signers kubernetes.io/kubelet-serving",
    ),
    "system:certificates.k8s.io:legacy-unknown-approver": (
        "approve certificates.k8s.io signers kubernetes.io/legacy-unknown",
    ),
    "system:discovery": (
        "get url /api,/api/*,/apis,/apis/*,/healthz,/livez,/openapi,/openapi/*,/readyz,/version,/version/",
    ),
    "system:heapster": (f"{_READ} core events,namespaces,nodes,pods", f"{_READ} extensions deployments"),
    "system:kube-aggregator": (f"{_READ} core endpoints,services",),
    "system:kube-controller-manager": (
        _EVENTS,
        "create coordination.k8s.io leases",
        "get,update coordination.k8s.io leases kube-controller-manager",
        "create core secrets,serviceaccounts",
        "delete core secrets",
        "get core configmaps,namespaces,secrets,serviceaccounts",
        "update core secrets,serviceaccounts",
        "create authentication.k8s.io tokenreviews",
        "create authorization.k8s.io subjectaccessreviews",
        "list,watch * *",
        "create core serviceaccounts/token",
    ),
    "system:kube-dns": ("list,watch core endpoints,services",),
    "system:kube-scheduler": (
        _EVENTS,
        "create coordination.k8s.io leases",
        "get,list,update,watch coordination.k8s.io leases kube-scheduler",
        f"{_READ} core nodes",
        f"delete,{_READ} core pods",
        "create core bindings,pods/binding",
        "patch,update core pods/status",
        f"{_READ} core replicationcontrollers,services",
        f"{_READ} apps,extensions replicasets",
        f"{_READ} apps statefulsets",
        f"{_READ} policy poddisruptionbudgets",
        f"{_READ} core persistentvolumeclaims,persistentvolumes",
        "create authentication.k8s.io tokenreviews",
        "create authorization.k8s.io subjectaccessreviews",
        f"{_READ} storage.k8s.io csinodes",
        f"{_READ} storage.k8s.io volumeattachments",
        f"{_READ} core namespaces",
        f"{_READ} storage.k8s.io csidrivers",
        f"{_READ} storage.k8s.io csistoragecapacities",
        f"{_READ} resource.k8s.io deviceclasses",
        f"{_READ},patch,update resource.k8s.io resourceclaims",
        f"{_READ},patch,update resource.k8s.io resourceclaims/status",
        f"{_READ},patch,update core pods/finalizers",
        f"{_READ} resource.k8s.io resourceslices",
    ),
    "system:kubelet-api-admin": (
        f"{_READ} core nodes",
        "proxy core nodes",
        "* core nodes/log,nodes/metrics,nodes/proxy,nodes/stats",
        "* core nodes/configz,nodes/healthz,nodes/pods",
    ),
    "system:monitoring": ("get url /healthz,/healthz/*,/livez,/livez/*,/metrics,/metrics/slis,/readyz,/readyz/*",),
    "system:node": (
        "create authentication.k8s.io tokenreviews",
        "create authorization.k8s.io localsubjectaccessreviews,subjectaccessreviews",
        f"{_READ} core services",
        f"create,{_READ} core nodes",
        "patch,update core nodes/status",
        "patch,update core nodes",
        "create,patch,update core events",
        f"{_READ} core pods",
        "create,delete core pods",
        "patch,update core pods/status",
        "create core pods/eviction",
        f"{_READ} core configmaps,secrets",
        "get core persistentvolumeclaims,persistentvolumes",
        "get core endpoints",
        f"create,{_READ} certificates.k8s.io certificatesigningrequests",
        "create,delete,get,patch,update coordination.k8s.io leases",
        "get storage.k8s.io volumeattachments",
        "create core serviceaccounts/token",
        "get,patch,update core persistentvolumeclaims/status",
        f"{_READ} storage.k8s.io csidrivers",
        "create,delete,get,patch,update storage.k8s.io csinodes",
        f"{_READ} node.k8s.io runtimeclasses",
        "get resource.k8s.io resourceclaims",
        "deletecollection resource.k8s.io resourceslices",
        "get core serviceaccounts",
    ),
    "system:node-bootstrapper": (f"create,{_READ} certificates.k8s.io certificatesigningrequests",),
    "system:node-problem-detector": ("get core nodes", "patch core nodes/status", _EVENTS),
    "system:node-proxier": (
        "list,watch core endpoints,services",
        f"{_READ} core nodes",
        _EVENTS,
        "list,watch networking.k8s.io servicecidrs",
        "list,watch discovery.k8s.io endpointslices",
    ),
    "system:persistent-volume-provisioner": (
        f"create,delete,{_READ} core persistentvolumes",
        f"{_READ},update core persistentvolumeclaims",
        f"{_READ} storage.k8s.io storageclasses",
        "watch core events",
        _EVENTS,
    ),
    "system:public-info-viewer": ("get url /healthz,/livez,/readyz,/version,/version/",),
    "system:service-account-issuer-discovery": (
        "get url /.well-known/openid-configuration,/.well-known/openid-configuration/,/openid/v1/jwks,/openid/v1/jwks/",
    ),
    "system:volume-scheduler": (
        f"{_READ},patch,update core persistentvolumes",
        f"{_READ} storage.k8s.io storageclasses",
        f"{_READ},patch,update core persistentvolumeclaims",
    ),
}

# Each is bound to the service account of that name in kube-system.
CONTROLLERS: Final[dict[str, tuple[str, ...]]] = {
    "attachdetach-controller": (
        "list,watch core persistentvolumeclaims,persistentvolumes",
        f"{_READ} core nodes",
        "patch,update core nodes/status",
        "list,watch core pods",
        _EVENTS,
        f"create,delete,{_READ} storage.k8s.io volumeattachments",
        f"{_READ} storage.k8s.io csidrivers",
        f"{_READ} storage.k8s.io csinodes",
    ),
    "certificate-controller": (
        f"delete,{_READ} certificates.k8s.io certificatesigningrequests",
        "update certificates.k8s.io certificatesigningrequests/approval,certificatesigningrequests/status",
        "approve certificates.k8s.io signers kubernetes.io/kube-apiserver-client-kubelet",
        (
            "sign certificates.k8s.io signers kubernetes.io/kube-apiserver-client,"
            "kubernetes.io/kube-apiserver-client-kubelet,kubernetes.io/kubelet-serving,kubernetes.io/legacy-unknown"
        ),
        "create authorization.k8s.io subjectaccessreviews",
        _EVENTS,
    ),
    "clusterrole-aggregation-controller": (f"escalate,{_READ},patch,update {GROUP} clusterroles",),
    "cronjob-controller": (
        f"{_READ},update batch cronjobs",
        f"create,delete,{_READ},patch,update batch jobs",
        "update batch cronjobs/status",
        "update batch cronjobs/finalizers",
        "delete,list,watch core pods",
        _EVENTS,
    ),
    "daemon-set-controller": (
        f"{_READ} apps,extensions daemonsets",
        "update apps,extensions daemonsets/status",
        "update apps,extensions daemonsets/finalizers",
        "list,watch core nodes",
        "create,delete,list,patch,watch core pods",
        "create core pods/binding",
        f"create,delete,{_READ},patch,update apps controllerrevisions",
        _EVENTS,
    ),
    "deployment-controller": (
        f"{_READ},update apps,extensions deployments",
        "update apps,extensions deployments/status",
        "update apps,extensions deployments/finalizers",
        f"create,delete,{_READ},patch,update apps,extensions replicasets",
        f"{_READ},update core pods",
        _EVENTS,
    ),
    "device-taint-eviction-controller": (
        f"delete,{_READ} core pods",
        "patch,update core pods/status",
        f"{_READ} resource.k8s.io resourceclaims",
        f"{_READ} resource.k8s.io resourceslices",
        f"{_READ} resource.k8s.io deviceclasses",
        _EVENTS,
    ),
    "disruption-controller": (
        f"{_READ} apps,extensions deployments",
        f"{_READ} apps,extensions replicasets",
        f"{_READ} core replicationcontrollers",
        f"{_READ} policy poddisruptionbudgets",
        f"{_READ} apps statefulsets",
        "update policy poddisruptionbudgets/status",
        "patch,update core pods/status",
        "get * */scale",
        _EVENTS,
    ),
    "endpoint-controller": (
        f"{_READ} core pods,services",
        f"create,delete,{_READ},update core endpoints",
        "create core endpoints/restricted",
        _EVENTS,
    ),
    "endpointslice-controller": (
        f"{_READ} core nodes,pods,services",
        "update core services/finalizers",
        f"create,delete,{_READ},update discovery.k8s.io endpointslices",
        _EVENTS,
    ),
    "endpointslicemirroring-controller": (
        f"{_READ} core endpoints,services",
        "update core services/finalizers",
        "update core endpoints/finalizers",
        f"create,delete,{_READ},update discovery.k8s.io endpointslices",
        _EVENTS,
    ),
    "ephemeral-volume-controller": (
        f"{_READ} core pods",
        "update core pods/finalizers",
        f"create,{_READ} core persistentvolumeclaims",
        _EVENTS,
    ),
    "expand-controller": (
        f"{_READ},patch,update core persistentvolumes",
        "patch,update core persistentvolumeclaims/status",
        f"{_READ} core persistentvolumeclaims",
        _EVENTS,
    ),
    "generic-garbage-collector": (f"delete,{_READ},patch,update * *", _EVENTS),
    "horizontal-pod-autoscaler": (
        f"{_READ} autoscaling horizontalpodautoscalers",
        "update autoscaling horizontalpodautoscalers/status",
        "get,update * */scale",
        "list,watch core pods",
        "list,watch metrics.k8s.io pods",
        f"{_READ} custom.metrics.k8s.io *",
        f"{_READ} external.metrics.k8s.io *",
        _EVENTS,
    ),
    "job-controller": (
        f"{_READ},patch,update batch jobs",
        "update batch jobs/status",
        "update batch jobs/finalizers",
        "create,delete,list,patch,watch core pods",
        _EVENTS,
    ),
    "legacy-service-account-token-cleaner": (
        "get core configmaps kube-apiserver-legacy-service-account-token-tracking",
        "delete,patch core secrets",
    ),
    "namespace-controller": (
        f"delete,{_READ} core namespaces",
        "update core namespaces/finalize,namespaces/status",
        f"delete,deletecollection,{_READ} * *",
    ),
    "node-controller": (
        f"delete,{_READ},patch,update core nodes",
        "patch,update core nodes/status",
        "patch,update core pods/status",
        f"delete,{_READ} core pods",
        _EVENTS,
    ),
    "persistent-volume-binder": (
        f"create,delete,{_READ},update core persistentvolumes",
        "update core persistentvolumes/status",
        f"{_READ},update core persistentvolumeclaims",
        "update core persistentvolumeclaims/status",
        f"create,delete,{_READ} core pods",
        f"{_READ} storage.k8s.io storageclasses",
        "list,watch core nodes",
        _EVENTS,
        "watch core events",
    ),
    "pod-garbage-collector": (
        "delete,list,watch core pods",
        f"{_READ} core nodes",
        "patch core pods/status",
    ),
    "pv-protection-controller": (f"{_READ},update core persistentvolumes", _EVENTS),
    "pvc-protection-controller": (
        f"{_READ},update core persistentvolumeclaims",
        f"{_READ} core pods",
        _EVENTS,
    ),
    "replicaset-controller": (
        f"{_READ},update apps,extensions replicasets",
        "update apps,extensions replicasets/status",
        "update apps,extensions replicasets/finalizers",
        "create,delete,list,patch,watch core pods",
        _EVENTS,
    ),
    "replication-controller": (
        f"{_READ},update core replicationcontrollers",
        "update core replicationcontrollers/status",
        "update core replicationcontrollers/finalizers",
        "create,delete,list,patch,watch core pods",
        _EVENTS,
    ),
    "resource-claim-controller": (
        f"{_READ} core pods",
        "update core pods/finalizers",
        f"create,delete,{_READ} resource.k8s.io resourceclaims",
        "patch,update resource.k8s.io resourceclaims,resourceclaims/status",
        "patch,update core pods/status",
        _EVENTS,
        "patch,update resource.k8s.io resourceclaims/binding",
    ),
    "resourcequota-controller": ("list,watch * *", "update core resourcequotas/status", _EVENTS),
    "root-ca-cert-publisher": ("create,update core configmaps", _EVENTS),
    "route-controller": ("list,watch core nodes", "patch core nodes/status", _EVENTS),
    "selinux-warning-controller": (
        _EVENTS,
        f"{_READ} core persistentvolumes",
        f"{_READ} core persistentvolumeclaims",
        f"{_READ} core pods",
        f"{_READ} storage.k8s.io csidrivers",
    ),
    "service-account-controller": ("create core serviceaccounts", _EVENTS),
    "service-cidrs-controller": (
        f"{_READ},patch,update networking.k8s.io servicecidrs",
        "patch,update networking.k8s.io servicecidrs/finalizers",
        "patch,update networking.k8s.io servicecidrs/status",
        f"{_READ} networking.k8s.io ipaddresses",
        _EVENTS,
    ),
    "service-controller": (
        f"{_READ} core services",
        "patch,update core services/status",
        "list,watch core nodes",
        _EVENTS,
    ),
    "statefulset-controller": (
        "list,watch core pods",
        f"{_READ} apps statefulsets",
        "update apps statefulsets/status",
        "update apps statefulsets/finalizers",
        "create,delete,get,patch,update core pods",
        f"create,delete,{_READ},patch,update apps controllerrevisions",
        f"create,{_READ} core persistentvolumeclaims",
        "delete,update core persistentvolumeclaims",
        "update core pods/finalizers",
        _EVENTS,
    ),
    "ttl-after-finished-controller": (f"delete,{_READ} batch jobs", _EVENTS),
    "ttl-controller": ("list,patch,update,watch core nodes", _EVENTS),
    "validatingadmissionpolicy-status-controller": (
        f"{_READ} admissionregistration.k8s.io validatingadmissionpolicies",
        "get,patch,update admissionregistration.k8s.io validatingadmissionpolicies/status",
        _EVENTS,
    ),
    "volumeattributesclass-protection-controller": (
        f"{_READ} core persistentvolumeclaims",
        f"{_READ} core persistentvolumes",
        f"{_READ},update storage.k8s.io volumeattributesclasses",
        _EVENTS,
    ),
}

# Whom a cluster role is bound to, by a binding of the same name; everybody of a kind in one list.
CLUSTER_BINDINGS: Final[dict[str, tuple[tuple[str, str], ...]]] = {
    "cluster-admin": (("Group", MASTERS),),
    "system:basic-user": (("Group", AUTHENTICATED),),
    "system:discovery": (("Group", AUTHENTICATED),),
    "system:kube-controller-manager": (("User", "system:kube-controller-manager"),),
    "system:kube-dns": (("ServiceAccount", "kube-dns"),),
    "system:kube-scheduler": (("User", "system:kube-scheduler"),),
    "system:monitoring": (("Group", "system:monitoring"),),
    "system:node": (),
    "system:node-proxier": (("User", "system:kube-proxy"),),
    "system:public-info-viewer": (("Group", AUTHENTICATED), ("Group", UNAUTHENTICATED)),
    "system:service-account-issuer-discovery": (("Group", "system:serviceaccounts"),),
    "system:volume-scheduler": (("User", "system:kube-scheduler"),),
}

_LOCK: Final = "system::leader-locking-"
_LOCKING: Final = tuple(f"create,{_READ},update coordination.k8s.io {each}" for each in ("leases", "leasecandidates"))
ROLES: Final[dict[tuple[str, str], tuple[str, ...]]] = {
    ("kube-public", f"{CONTROLLER}bootstrap-signer"): (
        f"{_READ} core configmaps",
        "update core configmaps cluster-info",
        _EVENTS,
    ),
    ("kube-system", "extension-apiserver-authentication-reader"): (
        f"{_READ} core configmaps extension-apiserver-authentication",
    ),
    ("kube-system", f"{_LOCK}kube-controller-manager"): _LOCKING,
    ("kube-system", f"{_LOCK}kube-scheduler"): _LOCKING,
    ("kube-system", f"{CONTROLLER}bootstrap-signer"): (f"{_READ} core secrets",),
    ("kube-system", f"{CONTROLLER}cloud-provider"): (f"create,{_READ} core configmaps",),
    ("kube-system", f"{CONTROLLER}token-cleaner"): (f"delete,{_READ} core secrets", _EVENTS),
}
_READER: Final = ("system::extension-apiserver-authentication-reader", "extension-apiserver-authentication-reader")
_MANAGER: Final = ("User", "system:kube-controller-manager")
_SCHEDULER: Final = ("User", "system:kube-scheduler")
# (namespace, name, role) -> subjects
BINDINGS: Final[dict[tuple[str, str, str], tuple[tuple[str, str], ...]]] = {
    ("kube-system", *_READER): (_MANAGER, _SCHEDULER),
    ("kube-system", f"{_LOCK}kube-controller-manager", f"{_LOCK}kube-controller-manager"): (
        _MANAGER,
        ("ServiceAccount", "kube-controller-manager"),
    ),
    ("kube-system", f"{_LOCK}kube-scheduler", f"{_LOCK}kube-scheduler"): (
        _SCHEDULER,
        ("ServiceAccount", "kube-scheduler"),
    ),
    **{
        (namespace, f"{CONTROLLER}{name}", f"{CONTROLLER}{name}"): (("ServiceAccount", name),)
        for namespace, name in (
            ("kube-public", "bootstrap-signer"),
            ("kube-system", "bootstrap-signer"),
            ("kube-system", "cloud-provider"),
            ("kube-system", "token-cleaner"),
        )
    },
}
