"""The errors that faults answer."""

from __future__ import annotations

from runtime.testing.apiserver.errors import StatusError
from runtime.testing.apiserver.faults.rules import Effect

_REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    406: "NotAcceptable",
    409: "Conflict",
    410: "Expired",
    413: "RequestEntityTooLarge",
    415: "UnsupportedMediaType",
    422: "Invalid",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}


def error_of(effect: Effect) -> StatusError:
    """What an effect with a status answers."""
    assert effect.status is not None
    error = StatusError(
        effect.status,
        effect.reason or _REASONS.get(effect.status, ""),
        effect.message or f"a fault was injected: {effect.status}",
    )
    if effect.retry_after is not None:
        error.headers["Retry-After"] = str(effect.retry_after)
        error.details = {"retryAfterSeconds": effect.retry_after}
    return error
