"""The official client, configured for the replay server; how it lists what a target names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kubernetes.client.api.core_v1_api import CoreV1Api
from kubernetes.client.api.custom_objects_api import CustomObjectsApi
from kubernetes.client.api_client import ApiClient
from kubernetes.client.configuration import Configuration

from bench import manifests
from bench.adapters import Target


def list_function(target: Target) -> tuple[Callable[..., Any], tuple[str, ...]]:
    """The generated method that lists the target's resource, and its positional arguments."""
    configuration = Configuration()
    configuration.host = target.url
    api_client = ApiClient(configuration)
    gvr = target.kind.gvr
    if gvr.group:
        arguments = (gvr.group, gvr.version, target.namespace, gvr.resource)
        return CustomObjectsApi(api_client).list_namespaced_custom_object, arguments
    return getattr(CoreV1Api(api_client), f"list_namespaced_{target.kind.name.lower()}"), (target.namespace,)


def key_of(obj: Any) -> str:
    """Custom resources are dicts, all others are objects of generated classes."""
    if isinstance(obj, dict):
        metadata = obj["metadata"]
        return f"{metadata['namespace']}/{metadata['name']}"
    return f"{obj.metadata.namespace}/{obj.metadata.name}"


def version_of(obj: Any) -> int:
    return int(obj["metadata"]["resourceVersion"] if isinstance(obj, dict) else obj.metadata.resource_version)


def sent_of(obj: Any) -> str:
    annotations = obj["metadata"]["annotations"] if isinstance(obj, dict) else obj.metadata.annotations
    return str(annotations[manifests.SENT])
