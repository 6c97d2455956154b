"""Reviews: kinds that are answered and never stored."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from runtime.testing.kinds import errors
from runtime.testing.kinds.model import FieldError
from runtime.types import JSONObject

User = Mapping[str, object]


def _allow(review: JSONObject, user: User) -> JSONObject:
    """Everything is allowed: this server does not authorize."""
    del user
    return {**review, "status": {"allowed": True, "reason": "every request is allowed on this server"}}


def _rules(review: JSONObject, user: User) -> JSONObject:
    del user
    return {
        **review,
        "status": {
            "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}],
            "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
            "incomplete": False,
        },
    }


def _who_am_i(review: JSONObject, user: User) -> JSONObject:
    return {**review, "status": {"userInfo": dict(user)}}


def _token(review: JSONObject, user: User) -> JSONObject:
    del user
    return {**review, "status": {"user": {}, "error": "no token is known to this server"}}


ANSWERS: Mapping[str, Callable[[JSONObject, User], JSONObject]] = {
    "SelfSubjectAccessReview": _allow,
    "SubjectAccessReview": _allow,
    "LocalSubjectAccessReview": _allow,
    "SelfSubjectRulesReview": _rules,
    "SelfSubjectReview": _who_am_i,
    "TokenReview": _token,
}


def validate_access_review(obj: JSONObject, old: JSONObject | None) -> list[FieldError]:
    """A review is about a resource or about a path, and not about both."""
    del old
    spec = obj.get("spec") or {}
    asked = [each for each in ("resourceAttributes", "nonResourceAttributes") if spec.get(each) is not None]
    if len(asked) == 1:
        return []
    detail = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
    if asked:
        detail = "cannot be specified in combination with resourceAttributes"
        return [errors.invalid("spec.nonResourceAttributes", spec["nonResourceAttributes"], detail)]
    return [errors.invalid("spec.resourceAttributes", None, detail)]
