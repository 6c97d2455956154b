"""Who may read the metrics: whoever the API server knows, and allows to get ``/metrics``.

The API server decides, by a TokenReview and a SubjectAccessReview, and its answers are kept for a short while. The
manager's own account needs ``create`` on ``tokenreviews.authentication.k8s.io`` and
``subjectaccessreviews.authorization.k8s.io``; who scrapes needs the verb ``get`` on the nonResourceURL ``/metrics``,
and who looks at the status page on ``/status``.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Generic, TypeAlias, TypeVar

from runtime.client import Client, ClientError
from runtime.clock import Clock
from runtime.logging import get_logger
from runtime.manager.exchange import TEXT, Reply, Request
from runtime.types import GVR, JSONObject

__all__ = ["ReviewedAccess"]

_TOKEN_REVIEWS: Final = GVR("authentication.k8s.io", "v1", "tokenreviews")
_ACCESS_REVIEWS: Final = GVR("authorization.k8s.io", "v1", "subjectaccessreviews")
# Seconds that an answer counts, as in controller-runtime.
_KNOWN_TIME: Final = 60.0
_ALLOWED_TIME: Final = 300.0
_DENIED_TIME: Final = 30.0
_MOST_ANSWERS: Final = 1024  # of each kind
_REVIEW_TIMEOUT: Final = 10.0  # seconds
_TRIES: Final = 3  # of a review, which changes nothing: it may be asked again when its connection broke
_RETRY_PAUSE: Final = 0.25  # seconds
_LONGEST_TOKEN: Final = 8192  # characters
# However it was written: who may get what is below a path may not get the path.
_METRICS: Final = "/metrics"

_UNAUTHORIZED: Final = Reply(401, TEXT, b"Unauthorized\n", (("WWW-Authenticate", "Bearer"),))

_log = get_logger(__name__)

V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class _User:
    name: str
    uid: str
    groups: tuple[str, ...]
    extra: tuple[tuple[str, tuple[str, ...]], ...]


class ReviewedAccess:
    """Asks the API server whose a bearer token is, and what it may read. Thread-safe.

    QUIRK: a token that the API server calls wrong is answered 401; controller-runtime takes the server's words about it
    for a failure of its own, and answers 500. Neither it nor we tell the user names or reasons of others.

    :param client: for the reviews.
    :param clock: the time that answers are kept by.
    """

    def __init__(self, client: Client, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        # One review at a time: who floods us with tokens does not flood the API server.
        self._asking = threading.Lock()
        self._users: _Answers[bytes, _User | None] = _Answers(clock.monotonic)  # by digest: tokens are not kept
        self._decisions: _Answers[tuple[_User, str], bool] = _Answers(clock.monotonic)
        self._complaint = ""

    def refuse(self, request: Request, path: str = _METRICS) -> Reply | None:
        """401, 403, or 500 if the API server cannot be asked; None: go on.

        :param path: the nonResourceURL that one must be allowed to get.
        """
        token = _bearer(request.headers.get("authorization", ""))
        if token is None:
            return _UNAUTHORIZED
        try:
            user = self._user(token)
            if user is None:
                return _UNAUTHORIZED
            if not self._allowed(user, path):
                return Reply(403, TEXT, f"{user.name} may not get {path}\n".encode())
        except _Unanswered as error:
            self._complain(str(error).replace(token, "..."))
            return Reply(500, TEXT, b"it cannot be found out who may read this, see the log\n")
        self._complaint = ""
        return None

    def _user(self, token: str) -> _User | None:
        digest = hashlib.sha256(token.encode()).digest()
        found = self._users.get(digest)
        if found is None:
            with self._turn():
                found = self._users.get(digest)
                if found is None:
                    status = self._review(_TOKEN_REVIEWS, "TokenReview", {"token": token})
                    user = _user_of(status) if status.get("authenticated") is True else None
                    found = self._users.put(digest, user, _KNOWN_TIME)
        return found.value

    def _allowed(self, user: _User, path: str) -> bool:
        found = self._decisions.get((user, path))
        if found is None:
            with self._turn():
                found = self._decisions.get((user, path))
                if found is None:
                    allowed = self._may_get(user, path)
                    found = self._decisions.put((user, path), allowed, _ALLOWED_TIME if allowed else _DENIED_TIME)
        return found.value

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """:raises _Unanswered: the reviews of others take too long."""
        if not self._asking.acquire(timeout=_REVIEW_TIMEOUT):
            raise _Unanswered(f"no answer to earlier reviews within {_REVIEW_TIMEOUT:g} s")
        try:
            yield
        finally:
            self._asking.release()

    def _may_get(self, user: _User, path: str) -> bool:
        spec: JSONObject = {
            "user": user.name,
            "uid": user.uid,
            "groups": list(user.groups),
            "extra": {key: list(values) for key, values in user.extra},
            "nonResourceAttributes": {"path": path, "verb": "get"},
        }
        status = self._review(_ACCESS_REVIEWS, "SubjectAccessReview", spec)
        return status.get("allowed") is True and status.get("denied") is not True

    def _review(self, gvr: GVR, kind: str, spec: JSONObject) -> Mapping[str, object]:
        """:raises _Unanswered: the API server does not answer, or does not let us ask."""
        body = {"apiVersion": f"{gvr.group}/{gvr.version}", "kind": kind, "spec": spec}
        ends = self._client.clock.monotonic() + _REVIEW_TIMEOUT
        reviews = self._client.bound(deadline=ends).resource(gvr)
        for left in reversed(range(_TRIES)):
            try:
                status = reviews.create(body).get("status")
                return status if isinstance(status, Mapping) else {}
            except ClientError as error:
                if not left or not error.retryable:
                    raise _Unanswered(f"{kind}: {error}") from None  # its cause would be logged with it
            self._client.clock.sleep(_RETRY_PAUSE)
        raise AssertionError("unreachable")

    def _complain(self, what: str) -> None:
        if what != self._complaint:  # not for each scrape
            self._complaint = what
            _log.error("metrics are refused: the API server does not review who asks", error=what)


class _Unanswered(Exception):
    pass


@dataclass(frozen=True, slots=True)
class _Answer(Generic[V]):
    value: V
    ends: float


K = TypeVar("K")


class _Answers(Generic[K, V]):
    """Answers that count for a while; of too many the oldest are forgotten. Thread-safe."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()  # guards _known
        self._known: OrderedDict[K, _Answer[V]] = OrderedDict()

    def get(self, key: K) -> _Answer[V] | None:
        with self._lock:
            found = self._known.get(key)
        return found if found is not None and self._monotonic() < found.ends else None

    def put(self, key: K, value: V, seconds: float) -> _Answer[V]:
        answer = _Answer(value, self._monotonic() + seconds)
        with self._lock:
            self._known.pop(key, None)
            self._known[key] = answer
            while len(self._known) > _MOST_ANSWERS:
                self._known.popitem(last=False)
        return answer


_Object: TypeAlias = Mapping[str, object]


def _bearer(header: str) -> str | None:
    """The token of an Authorization header; None: there is none that could be one."""
    scheme, _, token = header.partition(" ")
    token = token.strip(" ")
    if scheme.lower() != "bearer" or not token or " " in token or len(token) > _LONGEST_TOKEN:
        return None
    return token


def _user_of(status: _Object) -> _User | None:
    user = status.get("user")
    if not isinstance(user, Mapping) or not user.get("username"):
        return None
    extra = user.get("extra")
    return _User(
        str(user["username"]),
        str(user.get("uid") or ""),
        _texts(user.get("groups")),
        tuple((str(key), _texts(values)) for key, values in extra.items()) if isinstance(extra, Mapping) else (),
    )


def _texts(values: object) -> tuple[str, ...]:
    return tuple(map(str, values)) if isinstance(values, (list, tuple)) else ()
