"""From gRPC's codes to typed errors: the engines use different ones for the same thing."""

from __future__ import annotations

import grpc
import pytest

from membership.xline import errors


class Failure(grpc.RpcError):
    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        self._code = code
        self._details = details

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return self._details


@pytest.mark.parametrize(
    ("code", "details", "kind", "retryable", "ambiguous"),
    [
        (grpc.StatusCode.UNAVAILABLE, "connection refused", errors.Unavailable, True, True),
        (grpc.StatusCode.UNAVAILABLE, "etcdserver: no leader", errors.NoLeader, True, True),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "redirect", errors.Unavailable, True, True),
        (grpc.StatusCode.CANCELLED, "transport", errors.Unavailable, True, True),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "", errors.Timeout, True, True),
        (grpc.StatusCode.UNKNOWN, "context deadline exceeded", errors.Timeout, True, True),
        (grpc.StatusCode.UNKNOWN, "context canceled", errors.Unavailable, True, True),
        (grpc.StatusCode.UNKNOWN, "auth: user not found", errors.Denied, False, False),
        (grpc.StatusCode.UNKNOWN, "auth: permission denied", errors.Denied, False, False),
        (grpc.StatusCode.UNKNOWN, "auth: revision in header is old", errors.TokenExpired, False, False),
        (grpc.StatusCode.NOT_FOUND, "member not found", errors.NotFound, False, False),
        (grpc.StatusCode.ALREADY_EXISTS, "", errors.AlreadyExists, False, False),
        (
            grpc.StatusCode.FAILED_PRECONDITION,
            "etcdserver: Peer URLs already exists",
            errors.AlreadyExists,
            False,
            False,
        ),
        (grpc.StatusCode.FAILED_PRECONDITION, "etcdserver: not leader", errors.NotLeader, False, False),
        (
            grpc.StatusCode.FAILED_PRECONDITION,
            "etcdserver: member ID already exist",
            errors.AlreadyExists,
            False,
            False,
        ),
        (
            grpc.StatusCode.FAILED_PRECONDITION,
            "etcdserver: can only promote a learner member which is in sync with leader",
            errors.LearnerNotReady,
            True,
            False,
        ),
        (
            grpc.StatusCode.FAILED_PRECONDITION,
            "etcdserver: can only promote a learner member",
            errors.NotLearner,
            False,
            False,
        ),
        (
            grpc.StatusCode.FAILED_PRECONDITION,
            "etcdserver: re-configuration failed due to not enough started members",
            errors.NotEnoughStarted,
            True,
            False,
        ),
        (
            grpc.StatusCode.FAILED_PRECONDITION,
            "etcdserver: too many learner members in cluster",
            errors.TooManyLearners,
            True,
            False,
        ),
        (grpc.StatusCode.FAILED_PRECONDITION, "etcdserver: bad leader transferee", errors.BadTransferee, False, False),
        (grpc.StatusCode.UNAVAILABLE, "etcdserver: unhealthy cluster", errors.Unhealthy, True, False),
        (grpc.StatusCode.UNAVAILABLE, "etcdserver: rpc not supported for learner", errors.LearnerCannot, True, False),
        (grpc.StatusCode.UNAVAILABLE, "etcdserver: request timed out", errors.Unavailable, True, True),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "etcdserver: mvcc: database space exceeded", errors.NoSpace, False, False),
        (grpc.StatusCode.UNAUTHENTICATED, "etcdserver: invalid auth token", errors.TokenExpired, False, False),
        (
            grpc.StatusCode.INVALID_ARGUMENT,
            "etcdserver: revision of auth store is old",
            errors.TokenExpired,
            False,
            False,
        ),
        (grpc.StatusCode.INVALID_ARGUMENT, "etcdserver: user name is empty", errors.Denied, False, False),
        (
            grpc.StatusCode.INVALID_ARGUMENT,
            "etcdserver: authentication failed, invalid user ID or password",
            errors.Denied,
            False,
            False,
        ),
        (
            grpc.StatusCode.FAILED_PRECONDITION,
            "etcdserver: authentication is not enabled",
            errors.AuthDisabled,
            False,
            False,
        ),
        # Xline's words
        (
            grpc.StatusCode.FAILED_PRECONDITION,
            "Learner not caught up error: The learner has not caught up.",
            errors.LearnerNotReady,
            True,
            False,
        ),
        *[
            (grpc.StatusCode.FAILED_PRECONDITION, words, errors.Unavailable, True, True)
            for words in (
                "Wrong cluster version error: The cluster version is incorrect.",
                "Leader transfer error: A leader transfer error occurred.",
                "Zombie leader error: The leader is a zombie with outdated term.",
                "Shutting down error: The service is currently shutting down.",
                "Expired client ID error: The client ID has expired, we cannot tell if this request is duplicated.",
            )
        ],
        (grpc.StatusCode.ALREADY_EXISTS, "Duplicated error: The request already sent.", errors.Unavailable, True, True),
        (
            grpc.StatusCode.ALREADY_EXISTS,
            "Node already exists error: The node already exists.",
            errors.AlreadyExists,
            False,
            False,
        ),
        (
            grpc.StatusCode.NOT_FOUND,
            "Node not found error: The specified node does not exist.",
            errors.NotFound,
            False,
            False,
        ),
        (grpc.StatusCode.PERMISSION_DENIED, "", errors.Denied, False, False),
        (grpc.StatusCode.UNIMPLEMENTED, "", errors.NotSupported, False, False),
        (grpc.StatusCode.INTERNAL, "boom", errors.Failed, False, True),
    ],
)
def test_codes(
    code: grpc.StatusCode, details: str, kind: type[errors.EngineError], retryable: bool, ambiguous: bool
) -> None:
    error = errors.from_grpc("10.0.0.1:2379", "MemberAdd", Failure(code, details))
    assert type(error) is kind
    assert (error.retryable, error.ambiguous) == (retryable, ambiguous)
    assert error.code == code.name
    assert "10.0.0.1:2379" in str(error)
    assert "MemberAdd" in str(error)


def test_an_error_without_a_code_is_still_typed() -> None:
    assert type(errors.from_grpc("a", "Status", grpc.RpcError())) is errors.Failed
