"""Requests for certificates: who asks for one, and who may approve and sign it for which signer."""

from __future__ import annotations

from typing import Final

from runtime.testing.apiserver import errors
from runtime.testing.apiserver.access.attributes import Attributes
from runtime.testing.apiserver.access.authorization import Authorizer
from runtime.testing.apiserver.access.users import User
from runtime.testing.apiserver.store import StorageKey
from runtime.testing.kinds.model import Kind
from runtime.types import JSONMapping, JSONObject

GROUP: Final = "certificates.k8s.io"
REQUESTS: Final[StorageKey] = (GROUP, "certificatesigningrequests")


def name_requestor(obj: JSONObject, user: User) -> None:
    """Who asks for a certificate is not what the request says, but who sent it."""
    said = ("username", "uid", "groups", "extra")
    obj["spec"] = {key: value for key, value in (obj.get("spec") or {}).items() if key not in said} | user.info


def check_signer(authorizer: Authorizer, asked: Attributes, kind: Kind, obj: JSONMapping, old: JSONMapping) -> None:
    """Judge a change of a request: besides the right to it, approval and certificate need one to its signer.

    :raises StatusError: 403.
    """
    verb = _verb(asked.subresource, obj, old)
    signer = str(old["spec"]["signerName"])  # not what the change says
    domain = signer.partition("/")[0]
    for name in (signer, f"{domain}/*") if verb else ():
        if authorizer.authorize(Attributes(asked.user, verb, "", GROUP, "*", "signers", "", "", name)).allowed:
            return
    if verb:
        why = f"user not permitted to {verb} requests with signerName {errors.quote(signer)}"
        raise errors.forbidden(kind, str(old["metadata"]["name"]), why)


def _verb(subresource: str, obj: JSONMapping, old: JSONMapping) -> str:
    """What a change does for a signer; "" for nothing."""
    if subresource == "approval":
        return "approve"
    changed = any(_status(obj).get(each) != _status(old).get(each) for each in ("certificate", "conditions"))
    return "sign" if subresource == "status" and changed else ""


def _status(request: JSONMapping) -> JSONMapping:
    return request.get("status") or {}
