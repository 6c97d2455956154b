"""CRDs in the groups of Kubernetes itself need the approval of its API reviewers, or have to say that they lack it."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from runtime.testing.kinds import errors, gojson
from runtime.testing.kinds.model import FieldError
from runtime.types import JSONMapping

ANNOTATION: Final = "api-approved.kubernetes.io"
_WHERE: Final = f"metadata.annotations[{ANNOTATION}]"
_SEE: Final = "see https://github.com/kubernetes/enhancements/pull/1111"


def approval_problems(obj: JSONMapping, old: JSONMapping | None) -> list[FieldError]:
    if not _is_protected(obj):
        return []
    state, detail = _state(obj)
    if old is not None and _state(old)[0] == state:
        return []
    if state == "MissingAnnotation":
        return [errors.required(_WHERE, detail)]
    if state == "InvalidAnnotation":
        return [errors.invalid(_WHERE, _annotation(obj), detail)]
    return []


def approval_condition(obj: JSONMapping) -> tuple[bool, str, str] | None:
    """Status, reason and message of the condition KubernetesAPIApprovalPolicyConformant; None if it does not apply."""
    if not _is_protected(obj):
        return None
    state, detail = _state(obj)
    return state == "ApprovedAnnotation", state, detail


def _is_protected(obj: JSONMapping) -> bool:
    group = f".{(obj.get('spec') or {}).get('group') or ''}"
    return group.endswith((".k8s.io", ".kubernetes.io"))


def _annotation(obj: JSONMapping) -> str:
    return str(((obj.get("metadata") or {}).get("annotations") or {}).get(ANNOTATION) or "")


def _state(obj: JSONMapping) -> tuple[str, str]:
    given, quoted = _annotation(obj), gojson.quoted(ANNOTATION)
    if not given:
        return "MissingAnnotation", f"protected groups must have approval annotation {quoted}, {_SEE}"
    if given.startswith("unapproved"):
        return "UnapprovedAnnotation", f"not approved: {gojson.quoted(given)}"
    try:
        url = urlsplit(given)
    except ValueError:
        url = urlsplit("")
    if url.scheme and url.netloc:
        return "ApprovedAnnotation", f"approved in {given}"
    wanted = 'with either a URL or a reason starting with "unapproved"'
    return "InvalidAnnotation", f"protected groups must have approval annotation {quoted} {wanted}, {_SEE}"
