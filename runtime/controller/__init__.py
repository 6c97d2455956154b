"""Controllers: what they watch, how keys are queued, and the loop that reconciles them.

A program gets its controllers from a manager (``mgr.controller(name)``); here are the parts that reconcilers
use themselves: predicates, owner references, finalizers and the helpers that save writes.
"""

from __future__ import annotations

from runtime.controller.applier import Applied, Applier, NotOurs
from runtime.controller.builder import ControllerBuilder
from runtime.controller.conditions import (
    ConditionStatus,
    find_condition,
    is_condition,
    remove_condition,
    set_condition,
)
from runtime.controller.context import ReconcileContext, Reconciler
from runtime.controller.controller import Controller, Options
from runtime.controller.environment import CacheNotReady, CacheSyncTimeout, Environment, Kind
from runtime.controller.external import ExternalSource
from runtime.controller.finalizers import Finalizers, ensure_finalizer, finalized, remove_finalizer
from runtime.controller.owners import (
    AlreadyOwnedError,
    OwnerError,
    set_controller_reference,
    set_owner_reference,
)
from runtime.controller.patches import merge_patch, patch_status
from runtime.controller.predicates import (
    Change,
    Predicate,
    all_of,
    annotation_changed,
    any_of,
    generation_changed,
    label_changed,
    not_,
    resource_version_changed,
)
from runtime.controller.sources import LOW_PRIORITY
from runtime.controller.upsert import Upserted, create_or_patch, create_or_update

__all__ = [
    "Finalizers",
    "create_or_update",
    "create_or_patch",
    "Upserted",
    "set_condition",
    "remove_condition",
    "is_condition",
    "find_condition",
    "ConditionStatus",
    "LOW_PRIORITY",
    "AlreadyOwnedError",
    "Applied",
    "Applier",
    "CacheNotReady",
    "CacheSyncTimeout",
    "Change",
    "Controller",
    "ControllerBuilder",
    "Environment",
    "ExternalSource",
    "Kind",
    "NotOurs",
    "Options",
    "OwnerError",
    "Predicate",
    "ReconcileContext",
    "Reconciler",
    "all_of",
    "annotation_changed",
    "any_of",
    "ensure_finalizer",
    "finalized",
    "generation_changed",
    "label_changed",
    "merge_patch",
    "not_",
    "patch_status",
    "remove_finalizer",
    "resource_version_changed",
    "set_controller_reference",
    "set_owner_reference",
]
