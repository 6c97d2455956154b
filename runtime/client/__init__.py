"""The REST client: verbs on resources, watches, discovery, typed errors, and the objects they carry.

Begin with :func:`load_client` (kubeconfig or service account) or ``Client(url)``::

    client = load_client()
    pods = client.resource(GVR("", "v1", "pods"), namespace="default")
    for event in pods.watch():
        print(event.type, event.object.name)

Machinery uses :meth:`ResourceClient.list_raw` and :meth:`ResourceClient.watch_raw`, which leave the objects
undecoded. The official client is only used to read configuration, and imported when that is asked for.
"""

from runtime.client._http import Fence, Response, Transport
from runtime.client._interrupt import Interrupt
from runtime.client._requests import Write
from runtime.client.client import Client, WriteObserver
from runtime.client.config import load_client
from runtime.client.discovery import APIGroup, APIResource, Discovery
from runtime.client.errors import (
    AlreadyExists,
    ApiError,
    BadRequest,
    Cancelled,
    Cause,
    ClientError,
    ConfigError,
    Conflict,
    ConnectionFailed,
    DeadlineExceeded,
    Details,
    Expired,
    Forbidden,
    IdleTimeout,
    InternalError,
    Invalid,
    MethodNotAllowed,
    NotFound,
    NotLeading,
    RequestTimeout,
    ServerTimeout,
    ServiceUnavailable,
    TooManyRequests,
    Unauthorized,
    UnsupportedMediaType,
)
from runtime.client.lists import ObjectList, RawList
from runtime.client.resource import ResourceClient
from runtime.client.unstructured import OwnerReference, Unstructured, exact, parse_time
from runtime.client.watch import EventLine, RawWatch, Watch, WatchEvent, decode_line, error_from_event

__all__ = [
    "APIGroup",
    "APIResource",
    "AlreadyExists",
    "ApiError",
    "BadRequest",
    "Cancelled",
    "Cause",
    "Client",
    "ClientError",
    "ConfigError",
    "Conflict",
    "ConnectionFailed",
    "DeadlineExceeded",
    "Details",
    "Discovery",
    "EventLine",
    "Expired",
    "Fence",
    "Forbidden",
    "IdleTimeout",
    "InternalError",
    "Interrupt",
    "Invalid",
    "MethodNotAllowed",
    "NotFound",
    "NotLeading",
    "ObjectList",
    "OwnerReference",
    "RawList",
    "RawWatch",
    "RequestTimeout",
    "ResourceClient",
    "Response",
    "ServerTimeout",
    "ServiceUnavailable",
    "TooManyRequests",
    "Transport",
    "Unauthorized",
    "Unstructured",
    "UnsupportedMediaType",
    "Watch",
    "WatchEvent",
    "Write",
    "WriteObserver",
    "decode_line",
    "error_from_event",
    "exact",
    "load_client",
    "parse_time",
]
