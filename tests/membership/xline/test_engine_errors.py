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
        (grpc.StatusCode.NOT_FOUND, "member not found", errors.NotFound, False, False),
        (grpc.StatusCode.ALREADY_EXISTS, "", errors.AlreadyExists, False, False),
        (grpc.StatusCode.FAILED_PRECONDITION, "Peer URLs already exists", errors.Refused, False, False),
        (grpc.StatusCode.PERMISSION_DENIED, "", errors.Denied, False, False),
        (grpc.StatusCode.UNIMPLEMENTED, "", errors.NotSupported, False, False),
        (grpc.StatusCode.INTERNAL, "boom", errors.EngineError, False, False),
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
    assert type(errors.from_grpc("a", "Status", grpc.RpcError())) is errors.EngineError
