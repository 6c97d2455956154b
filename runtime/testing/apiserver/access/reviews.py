"""Reviews: kinds that are answered and never stored. Who am I, may I, may he, what may I, and whose token is this."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from runtime.testing.apiserver import errors
from runtime.testing.apiserver.access.attributes import Attributes
from runtime.testing.apiserver.access.authentication import Authenticator
from runtime.testing.apiserver.access.authorization import Authorizer
from runtime.testing.apiserver.access.serviceaccounts import InvalidToken
from runtime.testing.apiserver.access.users import User
from runtime.types import JSONMapping, JSONObject


class Reviews:
    """:param now: the time, as ``creationTimestamp`` shows it."""

    def __init__(self, authenticator: Authenticator, authorizer: Authorizer, now: Callable[[], str]) -> None:
        self._authenticator = authenticator
        self._authorizer = authorizer
        self._now = now
        self._answers: Mapping[str, Callable[[JSONObject, User], JSONObject]] = {
            "LocalSubjectAccessReview": self._somebody,
            "SelfSubjectAccessReview": self._access,
            "SelfSubjectReview": self._who_am_i,
            "SelfSubjectRulesReview": self._rules,
            "SubjectAccessReview": self._somebody,
            "TokenReview": self._token,
        }

    def answer(self, review: JSONObject, user: User) -> JSONObject:
        """The review, a valid one, with its status. :raises StatusError: 400."""
        status = self._answers[review["kind"]](review, user)
        return {**review, "status": status}

    def _access(self, review: JSONObject, user: User) -> JSONObject:
        decision = self._authorizer.authorize(_attributes(user, review["spec"]))
        return {"allowed": decision.allowed} | ({"reason": decision.reason} if decision.reason else {})

    def _somebody(self, review: JSONObject, user: User) -> JSONObject:
        del user
        spec = review["spec"]
        extra = {key: tuple(values or ()) for key, values in (spec.get("extra") or {}).items()}
        asked = User(spec.get("user") or "", spec.get("uid") or "", tuple(spec.get("groups") or ()), extra)
        return self._access(review, asked)

    def _rules(self, review: JSONObject, user: User) -> JSONObject:
        namespace = (review.get("spec") or {}).get("namespace")
        if not namespace:
            raise errors.bad_request("no namespace on request")
        found = self._authorizer.rules(user, namespace)
        review["spec"] = {}  # QUIRK kept: the answer does not say of which namespace
        status: JSONObject = {
            "resourceRules": found.resources,
            "nonResourceRules": found.paths,
            "incomplete": False,  # QUIRK kept: roles that could not be found are an error, and not said here
        }
        return {**status, "evaluationError": found.error} if found.error else status

    def _who_am_i(self, review: JSONObject, user: User) -> JSONObject:
        review["metadata"] = {"creationTimestamp": self._now()}
        return {"userInfo": user.info}

    def _token(self, review: JSONObject, user: User) -> JSONObject:
        del user
        spec = review.get("spec") or {}
        if not spec.get("token"):
            raise errors.bad_request("token is required for TokenReview in authentication")
        try:
            found, audiences = self._authenticator.prove(spec["token"], spec.get("audiences") or ())
        except InvalidToken as error:
            return {"user": {}, "error": str(error)}
        return {"authenticated": True, "user": found.info, "audiences": audiences}


def _attributes(user: User, spec: JSONMapping) -> Attributes:
    path = spec.get("nonResourceAttributes")
    if path is not None:
        return Attributes(user, path.get("verb") or "", path.get("path") or "/")
    given = spec.get("resourceAttributes") or {}
    fields = ("group", "version", "resource", "subresource", "namespace", "name")
    return Attributes(user, given.get("verb") or "", "", *(given.get(each) or "" for each in fields))
