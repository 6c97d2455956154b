"""What a call to a member can raise.

Two questions matter to a caller, as with the API server: may the same call succeed later (``retryable``), and may a
change have taken effect although the call failed (``ambiguous``: then list the members again before repeating it).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import grpc


class EngineError(Exception):
    """Root of what a call to a member raises. Names the member's address and the call.

    :ivar code: the gRPC status code's name, such as ``UNAVAILABLE``.
    :ivar reason: the server's words.
    """

    retryable = False
    ambiguous = False

    def __init__(self, address: str, call: str, code: str, reason: str) -> None:
        super().__init__(f"{call} at {address}: {reason or 'no reason given'} ({code})")
        self.address = address
        self.call = call
        self.code = code
        self.reason = reason


class Failed(EngineError):
    """The server failed in a way it has no better word for: nobody knows how far it had come."""

    ambiguous = True


class Unavailable(EngineError):
    """No connection, the connection broke, or the server cannot serve just now."""

    retryable = True
    ambiguous = True


class NoLeader(Unavailable):
    """The member runs, but knows no leader: no majority, or an election is going on."""


class Unhealthy(Unavailable):
    """The server's own guard: it will not change the membership while members are not connected to each other."""

    ambiguous = False


class LearnerCannot(Unavailable):
    """The member that was asked is a learner, and learners do not serve this call: ask a voter."""

    ambiguous = False


class Timeout(EngineError):
    """No answer before the deadline."""

    retryable = True
    ambiguous = True


class NotFound(EngineError):
    """No member has that id."""


class AlreadyExists(EngineError):
    """A member with that identity or that peer URL exists."""


class Refused(EngineError):
    """The server will not do it in its present state, or ever: the reason says which."""


class NotLeader(Refused):
    """Only the leader does this, and the member that was asked is not the leader."""


class NotLearner(Refused):
    """The member to promote is a voter already."""


class LearnerNotReady(Refused):
    """The learner has not caught up yet; promote it later."""

    retryable = True


class NotEnoughStarted(Refused):
    """The server's own guard: too few members would be left running for a majority."""

    retryable = True


class TooManyLearners(Refused):
    """The cluster has as many learners as the server allows."""

    retryable = True


class BadTransferee(Refused):
    """The member to hand leadership to has no vote, or is not known."""


class NoSpace(Refused):
    """The database is as large as its quota allows."""


class Denied(EngineError):
    """Credentials are missing, wrong, or not enough."""


class TokenExpired(Denied):
    """The token that an earlier authentication gave counts no more."""


class AuthDisabled(Refused):
    """Credentials were offered to a cluster that asks for none."""


class NotSupported(EngineError):
    """This server does not have the call."""


_BY_CODE: dict[str, type[EngineError]] = {
    "UNAVAILABLE": Unavailable,
    # Xline answers with these two when a call should be repeated: at another member, or after a broken transport.
    "RESOURCE_EXHAUSTED": Unavailable,
    "CANCELLED": Unavailable,
    "DEADLINE_EXCEEDED": Timeout,
    "NOT_FOUND": NotFound,
    "ALREADY_EXISTS": AlreadyExists,
    "FAILED_PRECONDITION": Refused,
    "INVALID_ARGUMENT": Refused,
    "OUT_OF_RANGE": Refused,
    "UNAUTHENTICATED": Denied,
    "PERMISSION_DENIED": Denied,
    "UNIMPLEMENTED": NotSupported,
}
# Both engines' words, in Status.errors and in failed calls.
NO_LEADER = "etcdserver: no leader"

# What the code alone does not tell. The first that the reason contains decides; lower case.
_BY_REASON: tuple[tuple[str, type[EngineError]], ...] = (
    (NO_LEADER, NoLeader),
    # etcd
    ("unhealthy cluster", Unhealthy),
    ("rpc not supported for learner", LearnerCannot),
    ("learner member which is in sync with leader", LearnerNotReady),
    ("can only promote a learner member", NotLearner),
    ("not enough started members", NotEnoughStarted),
    ("too many learner members", TooManyLearners),
    ("peer urls already exists", AlreadyExists),
    ("member id already exist", AlreadyExists),
    ("etcdserver: not leader", NotLeader),
    ("bad leader transferee", BadTransferee),
    ("database space exceeded", NoSpace),
    ("invalid auth token", TokenExpired),
    ("revision of auth store is old", TokenExpired),
    ("user name is empty", Denied),
    ("user name not found", Denied),  # the name in a certificate, where no token is shown
    # The same from calls that answer with a stream, whose words nobody translates.
    ("auth: user not found", Denied),
    ("auth: permission denied", Denied),
    ("auth: revision in header is old", TokenExpired),
    ("invalid user id or password", Denied),
    ("authentication is not enabled", AuthDisabled),
    # Xline. These are refusals by their code, but of the moment: another try, or another member, may succeed.
    ("learner not caught up", LearnerNotReady),
    ("wrong cluster version", Unavailable),
    ("leader transfer error", Unavailable),
    ("zombie leader", Unavailable),
    ("shutting down", Unavailable),
    ("expired client id", Unavailable),
    ("duplicated error", Unavailable),  # "already sent": with which outcome it does not say
    ("no space left in quota", NoSpace),
    ("token is not provided", Denied),
)


def from_grpc(address: str, call: str, error: grpc.RpcError) -> EngineError:
    """The typed error for what grpc raised."""
    code = getattr(error, "code", lambda: None)()
    name = code.name if code is not None else "UNKNOWN"
    reason = str(getattr(error, "details", lambda: "")() or "")
    return _kind(name, reason)(address, call, name, reason)


def _kind(code: str, reason: str) -> type[EngineError]:
    lowered = reason.lower()
    for words, kind in _BY_REASON:
        if words in lowered:
            return kind
    if code == "UNKNOWN" and reason.startswith("context "):
        # etcd's own deadline or cancellation, which it forgets to translate.
        return Timeout if "deadline" in reason else Unavailable
    return _BY_CODE.get(code, Failed)
