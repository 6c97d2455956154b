"""What a call can raise.

``ClientError`` is the root of everything a call to the API server raises. Below it are the answers of the
server (:class:`ApiError` and one subclass per reason people handle) and the calls that got no answer
(:class:`ConnectionFailed`, :class:`RequestTimeout`, :class:`Cancelled`). A configuration that cannot work
is a :class:`ConfigError`, raised before any call.

Every error names the verb, the resource and the object. Two questions matter to a caller:

- ``error.retryable``: may the same call succeed later, with nothing changed by us?
- ``error.ambiguous``: may the write have taken effect although the call failed? Then read before retrying.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from runtime.types import JSONObject

_TOO_LARGE = "Too large resource version"


class ConfigError(Exception):
    """A client cannot be made of this configuration. The message says which file, context or field, and what to do."""


class ClientError(Exception):
    """Root of what a call raises."""

    retryable: bool = False
    ambiguous: bool = False


class ConnectionFailed(ClientError):
    """No answer: refused, reset, not resolved, TLS refused, or cut off half way.

    :ivar sent: False if the request certainly never reached the server, so that any verb may be repeated.
    """

    def __init__(self, message: str, *, sent: bool, retryable: bool = True) -> None:
        super().__init__(message)
        self.sent = sent
        self.retryable = retryable
        self.ambiguous = sent


class RequestTimeout(ClientError):
    """No answer in time. A write may have taken effect."""

    retryable = True
    ambiguous = True


class IdleTimeout(RequestTimeout):
    """A watch stayed silent for its ``idle_timeout``: the connection is taken for dead. Watch again."""

    ambiguous = False


class DeadlineExceeded(RequestTimeout):
    """The deadline of a bound client passed before the request was sent, or while it waited to be repeated."""

    ambiguous = False


class Cancelled(ClientError):
    """The stop event of a bound client is set, or the client is closed. Nothing was sent, unless that event is an
    :class:`Interrupt`: then a call may have been cut off, and a write (``ambiguous``) may have taken effect."""


class NotLeading(Cancelled):
    """The fence of a fenced client is closed: leadership has ended, and another may act by now. The write was not sent,
    or not to its end; it has not taken effect. Nothing to retry: let it out, and end."""


@dataclass(frozen=True, slots=True)
class Cause:
    """One entry of a Status' ``details.causes``: which field is wrong, and how."""

    reason: str
    message: str
    field: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message


@dataclass(frozen=True, slots=True)
class Details:
    """A Status' ``details``. Absent parts are empty."""

    name: str = ""
    group: str = ""
    kind: str = ""
    uid: str = ""
    causes: tuple[Cause, ...] = ()


@dataclass(frozen=True, slots=True)
class Target:
    """What a call was about; printed at the head of its errors."""

    verb: str
    what: str = ""

    def __str__(self) -> str:
        return f"{self.verb} {self.what}" if self.what else self.verb


@dataclass(frozen=True, slots=True)
class Answer:
    """The error part of an HTTP answer, as far as it could be read."""

    status: int
    reason: str
    message: str
    details: Details = field(default_factory=Details)
    retry_after: float | None = None
    body: bytes = b""


class ApiError(ClientError):
    """The server answered with an error.

    :ivar status: HTTP status code, ``404``. For an ERROR event of a watch, the code of its Status.
    :ivar reason: the Status' machine-readable reason, ``"NotFound"``; derived from ``status`` if the body
        was not a Status (a proxy's HTML page).
    :ivar message: the server's words.
    :ivar details: name, group, kind and causes, if the server told.
    :ivar retry_after: seconds the server asks to wait before the next try, or None.
    :ivar body: the answer as received, for what is not covered here.
    """

    def __init__(self, target: Target | str, answer: Answer) -> None:
        self.target = Target(target) if isinstance(target, str) else target
        self.status = answer.status
        self.reason = answer.reason
        self.message = answer.message
        self.details = answer.details
        self.retry_after = answer.retry_after
        self.body = answer.body
        self.retryable = answer.status == 429 or answer.status >= 500
        self.ambiguous = answer.status >= 500 and answer.status != 503
        super().__init__(f"{self.target}: {self.message} ({self.status} {self.reason})")

    @property
    def causes(self) -> tuple[Cause, ...]:
        """The single faults of an Invalid object, each with its field."""
        return self.details.causes

    @property
    def version_too_large(self) -> bool:
        """The version asked for is yet to come, told in any of three spellings (R7). Another replica may have it; where
        the server was restored from a backup it never comes: ask for the newest."""
        if any(cause.reason == "ResourceVersionTooLarge" or cause.message == _TOO_LARGE for cause in self.causes):
            return True
        return self.reason == "Timeout" and _TOO_LARGE in self.message

    @property
    def continue_token(self) -> str:
        """Of an :class:`Expired` page: the token with which the list can go on, inconsistently; or ``""``."""
        metadata = _parse(self.body).get("metadata")
        token = metadata.get("continue") if isinstance(metadata, dict) else None
        return token if isinstance(token, str) else ""

    def __reduce__(self) -> tuple[Any, ...]:
        answer = Answer(self.status, self.reason, self.message, self.details, self.retry_after, self.body)
        return type(self), (self.target, answer)


class NotFound(ApiError):
    """404: no such object, or no such resource."""


class AlreadyExists(ApiError):
    """409 AlreadyExists: create of a name that is taken."""


class Conflict(ApiError):
    """409 of any other reason: the object has changed since it was read, or another field manager owns a field."""


class Invalid(ApiError):
    """422: the object does not pass validation; see :attr:`ApiError.causes`."""


class BadRequest(ApiError):
    """400: the request itself makes no sense to the server."""


class Forbidden(ApiError):
    """403: authenticated, and not allowed (RBAC), or refused by admission or quota."""


# The server will not have it as it is, and nothing changes that but a person. So say validation, quotas, policies, a
# missing right, and admission webhooks: for those the server says the first if they name no code of their own.
REFUSED: Final = (BadRequest, Forbidden, Invalid)


class Unauthorized(ApiError):
    """401: the credentials are missing, wrong or expired."""


class MethodNotAllowed(ApiError):
    """405: this resource does not do that verb."""


class Expired(ApiError):
    """410, reason Expired or Gone: that resourceVersion or continue token is too old. List again."""


class UnsupportedMediaType(ApiError):
    """415: that kind of patch is not for this resource (strategic merge on a custom resource)."""


class TooManyRequests(ApiError):
    """429: the server sheds load, or an eviction would break a disruption budget. Already retried by the client
    as long as the server named a time to wait and the call's timeout allowed it."""


class ServerTimeout(ApiError):
    """504, or 500 with reason ServerTimeout or Timeout: the server gave up. A write may have taken effect."""


class ServiceUnavailable(ApiError):
    """503: the server, or the extension server behind it, is not available."""


class InternalError(ApiError):
    """Any other 5xx."""


_BY_REASON: dict[str, type[ApiError]] = {
    "NotFound": NotFound,
    "AlreadyExists": AlreadyExists,
    "Conflict": Conflict,
    "Invalid": Invalid,
    "BadRequest": BadRequest,
    "Forbidden": Forbidden,
    "Unauthorized": Unauthorized,
    "MethodNotAllowed": MethodNotAllowed,
    "Expired": Expired,
    "Gone": Expired,
    "UnsupportedMediaType": UnsupportedMediaType,
    "TooManyRequests": TooManyRequests,
    "ServerTimeout": ServerTimeout,
    "Timeout": ServerTimeout,
    "ServiceUnavailable": ServiceUnavailable,
    "InternalError": InternalError,
}

# What a bare HTTP status says where no Status body tells more.
_REASON_OF: dict[int, str] = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    406: "NotAcceptable",
    408: "Timeout",
    409: "Conflict",
    410: "Gone",
    413: "RequestEntityTooLarge",
    415: "UnsupportedMediaType",
    422: "Invalid",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}

_EXCERPT = 200  # characters of a body that is no Status which the error quotes


def _type_of(status: int, reason: str) -> type[ApiError]:
    """Which class stands for an answer: its reason decides, or its status where the reason is unknown."""
    known = _BY_REASON.get(reason) or _BY_REASON.get(_REASON_OF.get(status, ""))
    if known is not None:
        return known
    return InternalError if status >= 500 else ApiError


def from_response(target: Target, status: int, body: bytes, retry_after: float | None = None) -> ApiError:
    """The typed error for an HTTP answer of ``status`` >= 400. Never fails, whatever the body is."""
    parsed = _parse(body)
    if parsed.get("kind") == "Status":
        return from_status(target, parsed, fallback_status=status, retry_after=retry_after, body=body)
    reason = _REASON_OF.get(status, "InternalError" if status >= 500 else "Unknown")
    text = body.decode("utf-8", "replace").strip()
    if len(text) > _EXCERPT:
        text = text[:_EXCERPT] + "..."
    message = f"the answer is not from a Kubernetes API server: {text!r}" if text else "the answer has no body"
    return _type_of(status, reason)(target, Answer(status, reason, message, Details(), retry_after, body))


def from_status(
    target: Target,
    status: JSONObject,
    *,
    fallback_status: int = 500,
    retry_after: float | None = None,
    body: bytes | None = None,
) -> ApiError:
    """The typed error for a Status object, as in an ERROR event of a watch."""
    code = status.get("code")
    http = code if isinstance(code, int) and code >= 400 else fallback_status
    reason = _text(status.get("reason")) or _REASON_OF.get(http, "Unknown")
    details = status.get("details")
    if not isinstance(details, dict):
        details = {}
    if retry_after is None:
        seconds = details.get("retryAfterSeconds")
        retry_after = float(seconds) if isinstance(seconds, int | float) and seconds > 0 else None
    answer = Answer(
        status=http,
        reason=reason,
        message=_text(status.get("message")) or reason,
        details=_details(details),
        retry_after=retry_after,
        body=orjson.dumps(status) if body is None else body,
    )
    return _type_of(http, reason)(target, answer)


def _details(raw: JSONObject) -> Details:
    causes = raw.get("causes")
    return Details(
        name=_text(raw.get("name")),
        group=_text(raw.get("group")),
        kind=_text(raw.get("kind")),
        uid=_text(raw.get("uid")),
        causes=tuple(
            Cause(_text(c.get("reason")), _text(c.get("message")), _text(c.get("field")))
            for c in (causes if isinstance(causes, list) else ())
            if isinstance(c, dict)
        ),
    )


def _parse(body: bytes) -> JSONObject:
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return parsed if isinstance(parsed, dict) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
