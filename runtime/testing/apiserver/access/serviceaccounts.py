"""Service account tokens: JSON Web Tokens that the server signs, and that die with what they are bound to."""

from __future__ import annotations

import base64
import threading
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import orjson

from runtime.clock import Clock
from runtime.testing.apiserver import errors
from runtime.testing.apiserver.access.users import (
    CREDENTIAL_ID,
    User,
    service_account_groups,
    service_account_name,
)
from runtime.testing.apiserver.log import Stored
from runtime.testing.apiserver.store import StorageKey, Store
from runtime.testing.kinds import errors as kind_errors
from runtime.testing.kinds.reviews import TOKEN_REQUEST
from runtime.types import JSONMapping, JSONObject

if TYPE_CHECKING:
    from runtime.tls.certs import SigningKey

DEFAULT_ISSUER: Final = "https://kubernetes.default.svc.cluster.local"
SERVICE_ACCOUNTS: Final[StorageKey] = ("", "serviceaccounts")

_BOUND: Final[dict[str, StorageKey]] = {"Pod": ("", "pods"), "Secret": ("", "secrets"), "Node": ("", "nodes")}
_LEEWAY: Final = timedelta(seconds=60)
_DEFAULT_LIFETIME: Final = 3600  # seconds
_WARNED_LIFETIME: Final = 3607  # seconds
_EXTENDED_LIFETIME: Final = timedelta(days=365)
_EXTRA: Final = "authentication.kubernetes.io/"


class InvalidToken(Exception):
    """The token is one of this server's, or claims to be, and is not valid; the text says why."""


class ServiceAccountTokens:
    """Issues tokens and proves them. Thread-safe. The key is made when the first token is asked for.

    :param issuer: a URL, as the real server's ``--service-account-issuer``; also the audience of tokens that name
        none.
    """

    def __init__(self, store: Store, clock: Clock, issuer: str = DEFAULT_ISSUER) -> None:
        self._store = store
        self._clock = clock
        self.issuer = issuer
        self._lock = threading.Lock()  # guards the one below
        self._key: SigningKey | None = None

    # -- issuing

    def issue(self, namespace: str, name: str, request: JSONMapping) -> JSONObject:
        """Answer a TokenRequest for a service account: the same with metadata, what was left open, and status.

        :raises StatusError: 404 no such service account or bound object; 400, 409 and 422 what is asked for cannot be.
        """
        metadata, given = request.get("metadata") or {}, request.get("spec") or {}
        _check_name(metadata, name)
        account = self._store.get(SERVICE_ACCOUNTS, namespace, name)
        if account is None:
            raise errors.resource_not_found("", "serviceaccounts", name)
        if metadata.get("uid") not in (None, "", account.uid):
            why = (
                f"the UID in the token request ({metadata['uid']}) does not match the UID of the service account "
                f"({account.uid})"
            )
            raise errors.conflict(TOKEN_REQUEST, name, why)
        problems = TOKEN_REQUEST.behaviour.validate({**request, "metadata": metadata}, None)
        if problems:
            raise errors.invalid_object(TOKEN_REQUEST, "", problems)
        private: JSONObject = {"namespace": namespace, "serviceaccount": {"name": name, "uid": account.uid}}
        if given.get("boundObjectRef") is not None:
            private.update(self._bind(namespace, name, given["boundObjectRef"]))
        seconds = given.get("expirationSeconds") or _DEFAULT_LIFETIME
        audiences = list(given.get("audiences") or [self.issuer])
        now = self._clock.now().astimezone(UTC).replace(microsecond=0)
        spec = {**given, "audiences": audiences, "expirationSeconds": seconds}
        return {
            "kind": TOKEN_REQUEST.kind,
            "apiVersion": TOKEN_REQUEST.gvr.api_version,
            "metadata": {
                "name": name,
                "namespace": namespace,
                "uid": account.uid,
                "creationTimestamp": _text(now),
            },
            "spec": {**spec, "boundObjectRef": given.get("boundObjectRef")},
            "status": {
                "token": self._sign(self._claims(private, now, seconds, audiences)),
                "expirationTimestamp": _text(now + timedelta(seconds=seconds)),
            },
        }

    def _claims(self, private: JSONObject, now: datetime, seconds: int, audiences: list[str]) -> JSONObject:
        lifetime = timedelta(seconds=seconds)
        if "pod" in private and seconds == _WARNED_LIFETIME and audiences == [self.issuer]:
            # What kubelets ask for in the name of Pods lives on, for programs that never read their token again.
            private["warnafter"] = int((now + lifetime).timestamp())
            lifetime = _EXTENDED_LIFETIME
        return {
            "aud": audiences,
            "exp": int((now + lifetime).timestamp()),
            "iat": int(now.timestamp()),
            "iss": self.issuer,
            "jti": str(uuid.uuid4()),
            "kubernetes.io": private,
            "nbf": int(now.timestamp()),
            "sub": service_account_name(private["namespace"], private["serviceaccount"]["name"]),
        }

    def _bind(self, namespace: str, name: str, reference: JSONMapping) -> JSONObject:
        """The claims about the object that a token is bound to."""
        kind, bound_name = str(reference.get("kind", "")), str(reference.get("name", ""))
        version = str(reference.get("apiVersion", ""))
        if kind not in _BOUND or version not in ("v1", ""):
            raise errors.bad_request(f"cannot bind token to object of type {version}, Kind={kind}")
        bound = self._find(kind, namespace, bound_name)
        if bound is None:
            raise errors.resource_not_found("", _BOUND[kind][1], bound_name)
        wanted = reference.get("uid")
        if wanted and wanted != bound.uid:
            why = (
                f"the UID in the bound object reference ({wanted}) does not match the UID in record. "
                f"The object might have been deleted and then recreated"
            )
            text = f'Operation cannot be fulfilled on {kind} "{bound_name}": {why}'
            raise errors.StatusError(409, "Conflict", text, {"name": bound_name, "kind": kind})
        claims: JSONObject = {kind.lower(): {"name": bound_name, "uid": bound.uid}}
        if kind == "Pod":
            spec = bound.obj.get("spec") or {}
            if spec.get("serviceAccountName", "") != name:
                raise errors.bad_request(
                    f"cannot bind token for serviceaccount {errors.quote(name)} to pod running with different "
                    "serviceaccount name."
                )
            node_name = spec.get("nodeName")
            if node_name:
                node = self._find("Node", "", node_name)
                claims["node"] = {"name": node_name} | ({"uid": node.uid} if node else {})
        return claims

    # -- proving

    def authenticate(self, token: str, audiences: Sequence[str] = ()) -> tuple[User, list[str]] | None:
        """The service account that a token stands for, and for which of the audiences (default: this server) it does.

        None for what is no token of this issuer.

        :raises InvalidToken: it is forged, out of its time, for others, or what it was bound to is gone.
        """
        parts = _decode(token)
        if parts is None or parts[0].get("iss") != self.issuer:
            return None
        claims, signed, signature = parts
        if not self._proves(signed, signature):
            raise _invalid("go-jose/go-jose: error in cryptographic primitive")
        given, wanted = claims["aud"], list(audiences or (self.issuer,))
        found = [each for each in wanted if each in given]
        if not found:
            raise _invalid(f"token audiences {_listed(given)} is invalid for the target audiences {_listed(wanted)}")
        self._check_times(claims)
        private = claims["kubernetes.io"]
        self._check_objects(private)
        return _user(claims, private), found

    def _check_times(self, claims: JSONMapping) -> None:
        now = self._clock.now().timestamp()
        if now - _LEEWAY.total_seconds() > claims["exp"]:
            raise _invalid("service account token has expired")
        if now + _LEEWAY.total_seconds() < claims["nbf"]:
            raise _invalid("service account token is not valid yet")

    def _check_objects(self, private: JSONMapping) -> None:
        """A token is worth nothing once its account, or what it was bound to, is gone or another."""
        namespace, account = private["namespace"], private["serviceaccount"]
        found = self._store.get(SERVICE_ACCOUNTS, namespace, account["name"])
        if found is None:
            raise _invalid(f'serviceaccounts "{account["name"]}" not found')
        if self._deleted(found):
            raise _invalid(f"service account {namespace}/{account['name']} has been deleted")
        if found.uid != account["uid"]:
            raise _invalid(f"service account UID ({found.uid}) does not match claim ({account['uid']})")
        # The node of a Pod is told, but only a token that is bound to the node itself falls with it.
        kinds = ("Pod", "Secret") if "pod" in private or "secret" in private else ("Node",)
        for kind in kinds:
            reference = private.get(kind.lower())
            if reference is None:
                continue
            bound = self._find(kind, namespace, reference["name"])
            if bound is None or self._deleted(bound):
                raise _invalid("service account token has been invalidated")
            if bound.uid != reference["uid"]:
                what, claimed = kind.lower(), reference["uid"]
                raise _invalid(f"{what} UID ({bound.uid}) does not match service account {what} ref claim ({claimed})")

    def _find(self, kind: str, namespace: str, name: str) -> Stored | None:
        return self._store.get(_BOUND[kind], "" if kind == "Node" else namespace, name)

    def _deleted(self, stored: Stored) -> bool:
        since = stored.obj["metadata"].get("deletionTimestamp")
        return since is not None and datetime.fromisoformat(since) < self._clock.now() - _LEEWAY

    # -- keys

    @property
    def key(self) -> SigningKey:
        """What signs the tokens. :raises ImportError: the package ``cryptography`` is missing."""
        from runtime.tls.certs import SigningKey

        with self._lock:
            if self._key is None:
                self._key = SigningKey.create()
            return self._key

    def configuration(self) -> JSONObject:
        """What ``/.well-known/openid-configuration`` tells those who want to prove tokens themselves."""
        return {
            "issuer": self.issuer,
            "jwks_uri": f"{self.issuer}/openid/v1/jwks",
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
        }

    def key_set(self) -> JSONObject:
        """The public key, as ``/openid/v1/jwks`` shows it."""
        x, y = self.key.coordinates
        key = {"use": "sig", "kty": "EC", "kid": _key_id(self.key), "crv": "P-256", "alg": "ES256"}
        return {"keys": [{**key, "x": _encode(x), "y": _encode(y)}]}

    def _sign(self, claims: JSONMapping) -> str:
        key = self.key
        header = {"alg": "ES256", "kid": _key_id(key)}
        signed = f"{_encode(orjson.dumps(header))}.{_encode(orjson.dumps(claims))}"
        return f"{signed}.{_encode(key.sign(signed.encode()))}"

    def _proves(self, signed: bytes, signature: bytes) -> bool:
        with self._lock:
            key = self._key  # without one, nothing was ever signed
        return key is not None and key.proves(signed, signature)


def _invalid(why: str) -> InvalidToken:
    """As a TokenReview tells it: first that nobody else knows the token, then why its issuer refuses it."""
    return InvalidToken(f"[invalid bearer token, {why}]")


def _listed(values: Sequence[str]) -> str:
    return f"[{' '.join(errors.quote(each) for each in values)}]"


def _check_name(metadata: JSONMapping, name: str) -> None:
    given = metadata.get("name")
    if given not in (None, "", name):
        problem = kind_errors.invalid("metadata.name", given, "must match the service account name if specified")
        raise errors.invalid_object(TOKEN_REQUEST, name, [problem])


def _user(claims: JSONMapping, private: JSONMapping) -> User:
    namespace, account = private["namespace"], private["serviceaccount"]
    extra = {CREDENTIAL_ID: (f"JTI={claims['jti']}",)}
    for kind in ("pod", "node"):
        if kind in private:
            for field in ("name", "uid"):
                if private[kind].get(field):
                    extra[f"{_EXTRA}{kind}-{field}"] = (private[kind][field],)
    return User(
        service_account_name(namespace, account["name"]), account["uid"], service_account_groups(namespace), extra
    )


def _decode(token: str) -> tuple[JSONMapping, bytes, bytes] | None:
    """Claims, what is signed, and the signature; None for what is no JSON Web Token."""
    signed, _, signature = token.rpartition(".")
    header, dot, claims = signed.partition(".")
    try:
        decoded = [orjson.loads(_bytes(each)) for each in (header, claims)]
        proof = _bytes(signature)
    except ValueError:
        return None
    if not dot or not all(isinstance(each, dict) for each in decoded) or decoded[0].get("alg") != "ES256":
        return None
    return decoded[1], signed.encode(), proof


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _key_id(key: SigningKey) -> str:
    import hashlib

    return _encode(hashlib.sha256(key.der).digest())


def _text(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")
