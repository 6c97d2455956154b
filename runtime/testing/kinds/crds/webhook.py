"""Conversion of custom resources by a webhook: a call over HTTPS, and what may come back of it."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from runtime.testing.kinds.model import ConversionError
from runtime.testing.kinds.objectmeta import attached_problems
from runtime.types import JSONMapping, JSONObject

_TIMEOUT: Final = 30  # seconds
_KNOWN: Final = ("v1", "v1beta1")
_NO_RESPONSE: Final[JSONObject] = {"uid": "", "convertedObjects": None, "result": {"metadata": {}}}
_SAME: Final = ("name", "namespace", "uid")
_CONVERTED: Final = ("labels", "annotations")


@dataclass(frozen=True)
class ConversionWebhook:
    """:param authority: whom the webhook's certificate must be of, as PEM; empty for those of the system.
    :param versions: of ConversionReview, as the CRD names them; the first that is known is sent.
    """

    url: str
    authority: str
    versions: Sequence[str]

    def convert(self, obj: JSONObject, api_version: str) -> JSONObject:
        """The object in another version, with the metadata that it had but for labels and annotations.

        :raises ConversionError: the webhook cannot be reached, refuses, or answers what it may not.
        """
        what = f"conversion webhook for {obj.get('apiVersion')}, Kind={obj.get('kind')}"
        version = next((each for each in self.versions if each in _KNOWN), None)
        if version is None:  # an older CRD may have named none
            raise ConversionError("no supported conversion review versions")
        uid = str(uuid.uuid4())
        request = {"uid": uid, "desiredAPIVersion": api_version, "objects": [obj]}
        review = {"kind": "ConversionReview", "apiVersion": f"apiextensions.k8s.io/{version}", "request": request}
        try:
            converted = _converted(self._ask({**review, "response": _NO_RESPONSE}), review, uid)
        except _Refused as error:
            raise ConversionError(f"{what} failed: {error}") from None
        if len(converted) != 1:
            raise ConversionError(f"{what} returned {len(converted)} objects, expected 1")
        problem = _problem(obj, converted[0], api_version)
        if problem:
            raise ConversionError(f"{what} returned {problem}")
        made: JSONObject = converted[0]
        made["metadata"] = _metadata(obj["metadata"], made["metadata"])
        return made

    def _ask(self, review: JSONObject) -> Any:
        import http.client  # with what it needs much to import, for the few CRDs that name a webhook
        import ssl
        import urllib.error
        import urllib.request

        url = f"{self.url}?timeout={_TIMEOUT}s"
        headers = {"Content-Type": "application/json", "Accept": "application/json, */*"}
        request = urllib.request.Request(url, orjson.dumps(review), headers)  # noqa: S310  https only: the CRD was judged
        try:
            context = ssl.create_default_context(cadata=self.authority or None)
            opener = urllib.request.build_opener(
                urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
            )
            with opener.open(request, timeout=_TIMEOUT) as response:
                return orjson.loads(response.read())
        except urllib.error.HTTPError as error:
            with error:
                raise _Refused(f"the server answered {error.code} {error.reason}") from None
        except urllib.error.URLError as error:
            raise _Refused(f'Post "{url}": {error.reason}') from None
        except (OSError, http.client.HTTPException) as error:
            raise _Refused(f'Post "{url}": {error}') from None
        except ValueError as error:
            raise _Refused(f"the answer is no JSON: {error}") from None


class _Refused(Exception):
    """Why no object came back."""


def webhook_of(conversion: JSONMapping | None) -> ConversionWebhook | None:
    """The webhook that a CRD's conversion names by a URL; None for one without a webhook, or with one that is a
    Service, which nobody here can reach."""
    if (conversion or {}).get("strategy") != "Webhook":
        return None
    webhook = (conversion or {}).get("webhook") or {}
    client = webhook.get("clientConfig") or {}
    if client.get("url") is None:
        return None
    authority = base64.b64decode(client.get("caBundle") or "").decode("ascii", "replace").strip()
    return ConversionWebhook(str(client["url"]), authority, tuple(webhook.get("conversionReviewVersions") or ()))


def _converted(answer: Any, review: JSONMapping, uid: str) -> list[Any]:
    """:raises _Refused: the answer is none, is of another request, or says that the conversion failed."""
    answer = answer if isinstance(answer, dict) else {}
    response = answer.get("response")
    if review["apiVersion"].endswith("/v1"):  # answers of v1beta1 may say what they like of themselves
        if (answer.get("apiVersion"), answer.get("kind")) != (review["apiVersion"], review["kind"]):
            wanted = f"{review['apiVersion']}, Kind={review['kind']}"
            found = f"{answer.get('apiVersion', '')}, Kind={answer.get('kind', '')}"
            raise _Refused(f"expected webhook response of {wanted}, got {found}")
        if isinstance(response, dict) and response.get("uid") != uid:
            raise _Refused(f'expected response.uid="{uid}", got "{response.get("uid", "")}"')
    if not isinstance(response, dict):
        raise _Refused("no response provided")
    result = response.get("result") or {}
    status = result.get("status") or ""
    if status != "Success":
        raise _Refused(result.get("message") or f"response.result.status was '{status}', not 'Success'")
    objects = response.get("convertedObjects")
    return objects if isinstance(objects, list) else []


def _problem(obj: JSONMapping, converted: Any, api_version: str) -> str:
    """What is wrong with a converted object; empty if nothing is."""
    found = converted if isinstance(converted, dict) else {}
    if found.get("apiVersion") != api_version:
        return (
            "invalid object at index 0: invalid groupVersion "
            f"(expected {api_version}, received {found.get('apiVersion', '')})"
        )
    if found.get("kind") != obj.get("kind"):
        return f"invalid object at index 0: invalid kind (expected {obj.get('kind')}, received {found.get('kind', '')})"
    given = found.get("metadata")
    if not isinstance(given, dict):
        return "invalid metadata: missing metadata in converted object"
    for name in _SAME:
        had, has = obj["metadata"].get(name) or "", given.get(name) or ""
        if had != has:
            shown = "UID" if name == "uid" else name
            return f"invalid object: must have the same {shown}: {had} != {has}"
    return _attached_problem(obj["metadata"], given)


def _attached_problem(before: JSONMapping, given: JSONMapping) -> str:
    for name in _CONVERTED:
        values = given.get(name)
        if values is not None and not isinstance(values, dict):
            return f"invalid metadata: invalid metadata.{name} in converted object"
        for key, value in (values or {}).items():
            if not isinstance(value, str):
                return f"invalid metadata: metadata.{name}[{key}] must be a string in converted object"
        if values and values != before.get(name):
            for problem in attached_problems({name: values}, "metadata"):
                return f"invalid metadata: {problem.field}: {problem.message}"
    return ""


def _metadata(before: JSONMapping, given: JSONMapping) -> JSONObject:
    kept = {name: value for name, value in before.items() if name not in _CONVERTED}
    return kept | {name: given[name] for name in _CONVERTED if given.get(name) is not None}
