"""The official client, configured for the replay server."""

from __future__ import annotations

from kubernetes.client.api.custom_objects_api import CustomObjectsApi
from kubernetes.client.api_client import ApiClient
from kubernetes.client.configuration import Configuration


def custom_objects(url: str) -> CustomObjectsApi:
    configuration = Configuration()
    configuration.host = url
    return CustomObjectsApi(ApiClient(configuration))
