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


class Unavailable(EngineError):
    """No connection, the connection broke, or the server cannot serve just now."""

    retryable = True
    ambiguous = True


class NoLeader(Unavailable):
    """The member runs, but knows no leader: no majority, or an election is going on."""


class Timeout(EngineError):
    """No answer before the deadline."""

    retryable = True
    ambiguous = True


class NotFound(EngineError):
    """No member has that id."""


class AlreadyExists(EngineError):
    """A member with that identity exists."""


class Refused(EngineError):
    """The server will not do it in its present state, or ever: the reason says which."""


class Denied(EngineError):
    """Credentials are missing, wrong, or not enough."""


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


def from_grpc(address: str, call: str, error: grpc.RpcError) -> EngineError:
    """The typed error for what grpc raised."""
    code = getattr(error, "code", lambda: None)()
    name = code.name if code is not None else "UNKNOWN"
    reason = str(getattr(error, "details", lambda: "")() or "")
    if NO_LEADER in reason:
        return NoLeader(address, call, name, reason)
    if name == "UNKNOWN" and reason.startswith("context "):
        # etcd's own deadline or cancellation, which it forgets to translate.
        kind = Timeout if "deadline" in reason else Unavailable
        return kind(address, call, name, reason)
    return _BY_CODE.get(name, EngineError)(address, call, name, reason)
