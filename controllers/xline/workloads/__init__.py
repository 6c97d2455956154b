"""What runs the members' Pods: a StatefulSet, or OpenKruise's AdvancedStatefulSet, behind one face.

A :class:`Backend` says how sets of ordinals are written down in that kind's spec and read from it; a :class:`Workload`
is the live object. A StatefulSet has the ordinals from 0 up and loses the highest first; an AdvancedStatefulSet may
leave any out, so that any member can go while the others keep their Pods.
"""

from controllers.xline.workloads.backend import Backend, Workload, WorkloadKind
from controllers.xline.workloads.backends import (
    ADVANCED_STATEFULSET,
    ADVANCED_STATEFULSETS,
    BACKENDS,
    STATEFULSET,
    STATEFULSETS,
)
from controllers.xline.workloads.choice import Choice, choose

__all__ = [
    "ADVANCED_STATEFULSET",
    "ADVANCED_STATEFULSETS",
    "BACKENDS",
    "STATEFULSET",
    "STATEFULSETS",
    "Backend",
    "Choice",
    "Workload",
    "WorkloadKind",
    "choose",
]
