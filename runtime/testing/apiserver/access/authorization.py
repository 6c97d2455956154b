"""Authorizers: what each mode of ``--authorization-mode`` decides, and the answer to who is refused."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from runtime.testing.apiserver import errors
from runtime.testing.apiserver.access.attributes import Attributes
from runtime.testing.apiserver.access.users import MASTERS, User
from runtime.types import JSONMapping

ALWAYS_ALLOW: Final = "AlwaysAllow"
ALWAYS_DENY: Final = "AlwaysDeny"
RBAC_MODE: Final = "RBAC"
MODES: Final = (ALWAYS_ALLOW, ALWAYS_DENY, RBAC_MODE)


@dataclass(frozen=True, slots=True)
class Decision:
    """:param reason: why, for people; may be empty."""

    allowed: bool
    reason: str = ""


@dataclass(slots=True)
class Rules:
    """What a user may do, as far as an authorizer can list it.

    :param resources: objects with ``verbs``, ``apiGroups``, ``resources``, ``resourceNames``.
    :param paths: objects with ``verbs`` and ``nonResourceURLs``.
    :param error: what could not be resolved; "" for nothing.
    """

    resources: list[JSONMapping] = field(default_factory=list)
    paths: list[JSONMapping] = field(default_factory=list)
    error: str = ""


class Authorizer(Protocol):
    """Thread-safe."""

    def authorize(self, asked: Attributes) -> Decision: ...

    def rules(self, user: User, namespace: str) -> Rules: ...


class AlwaysAllow:
    def authorize(self, asked: Attributes) -> Decision:
        del asked
        return Decision(True)

    def rules(self, user: User, namespace: str) -> Rules:
        del user, namespace
        every = ["*"]
        return Rules(
            [{"verbs": every, "apiGroups": every, "resources": every}], [{"verbs": every, "nonResourceURLs": every}]
        )


class AlwaysDeny:
    def authorize(self, asked: Attributes) -> Decision:
        del asked
        return Decision(False, "Everything is forbidden.")

    def rules(self, user: User, namespace: str) -> Rules:
        del user, namespace
        return Rules()


class Union:
    """The first that allows decides. Members of ``system:masters`` may do everything, whatever the modes."""

    def __init__(self, authorizers: Iterable[Authorizer]) -> None:
        self._authorizers = tuple(authorizers)

    def authorize(self, asked: Attributes) -> Decision:
        if MASTERS in asked.user.groups:
            return Decision(True)
        reasons = []
        for each in self._authorizers:
            decision = each.authorize(asked)
            if decision.allowed:
                return decision
            if decision.reason:
                reasons.append(decision.reason)
        return Decision(False, "\n".join(reasons))

    def rules(self, user: User, namespace: str) -> Rules:
        found = [each.rules(user, namespace) for each in self._authorizers]
        return Rules(
            [rule for each in found for rule in each.resources],
            [rule for each in found for rule in each.paths],
            ", ".join(each.error for each in found if each.error),
        )


def parse_modes(text: str) -> Sequence[str]:
    """The modes of ``RBAC`` or ``AlwaysDeny,RBAC``. :raises ValueError: an unknown mode, none, or one twice."""
    modes = [each.strip() for each in text.split(",")]
    for mode in modes:
        if mode not in MODES:
            raise ValueError(f"unknown authorization mode {mode!r}: this server has {', '.join(MODES)}")
    if len(set(modes)) != len(modes):
        raise ValueError(f"an authorization mode is given twice: {text}")
    return modes


def _harmless(text: str) -> str:
    """Nothing that a browser would take for HTML."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def refused(asked: Attributes, reason: str = "") -> errors.StatusError:
    """The 403 of who may not do that, with the real server's message."""
    because = f": {reason}" if reason else ""
    asked = replace(asked, user=replace(asked.user, name=_harmless(asked.user.name)), path=_harmless(asked.path))
    if not asked.is_resource:
        text = f'forbidden: User "{asked.user.name}" cannot {asked.verb} path "{asked.path}"{because}'
        return errors.StatusError(403, "Forbidden", text, {})
    where = f' in the namespace "{asked.namespace}"' if asked.namespace else " at the cluster scope"
    why = (
        f'User "{asked.user.name}" cannot {asked.verb} resource "{asked.full_resource}" in API group '
        f'"{asked.group}"{where}{because}'
    )
    return errors.forbidden_resource(asked.group, asked.resource, asked.name, why)
