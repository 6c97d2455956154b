"""Controllers: what they watch, how keys are queued, and the loop that reconciles them.

A program gets its controllers from a manager (``mgr.controller(name)``); here are the parts that reconcilers
use themselves: predicates, owner references, finalizers and the helpers that save writes.
"""

from __future__ import annotations

from runtime.controller.applier import Applied, Applier, NotOurs, merge_patch, patch_status
from runtime.controller.builder import ControllerBuilder
from runtime.controller.context import ReconcileContext, Reconciler
from runtime.controller.controller import Controller, Options
from runtime.controller.environment import CacheNotReady, CacheSyncTimeout, Environment, Kind
from runtime.controller.external import ExternalSource
from runtime.controller.finalizers import ensure_finalizer, finalized, remove_finalizer
from runtime.controller.owners import (
    AlreadyOwnedError,
    OwnerError,
    set_controller_reference,
    set_owner_reference,
)
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

__all__ = [
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
