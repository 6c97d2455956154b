"""Whether the conversion of a CRD makes sense: the strategy, and the webhook that it names."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

from runtime.testing.kinds import errors, names
from runtime.testing.kinds.model import FieldError
from runtime.types import JSONMapping

_PATH: Final = "spec.conversion"
_CLIENT: Final = f"{_PATH}.webhookClientConfig"
_REVIEWS: Final = f"{_PATH}.conversionReviewVersions"
_KNOWN_REVIEWS: Final = ("v1", "v1beta1")
_FORM: Final = "; desired format: https://host[/path]"
_CERTIFICATE: Final = re.compile(
    rb"-----BEGIN CERTIFICATE-----\s+([A-Za-z0-9+/=\s]+?)\s*-----END CERTIFICATE-----", re.DOTALL
)


def conversion_problems(
    conversion: JSONMapping | None, old: JSONMapping | None, *, established: bool
) -> list[FieldError]:
    """:param old: the conversion before, if there was one.
    :param established: the CRD is served already; before that a certificate bundle may be wrong.
    """
    if conversion is None:
        return []
    strategy = conversion.get("strategy") or ""
    webhook = conversion.get("webhook") or {}
    client, reviews = webhook.get("clientConfig"), webhook.get("conversionReviewVersions") or []
    found: list[FieldError] = []
    if not strategy:
        found.append(errors.required(f"{_PATH}.strategy"))
    elif strategy not in ("None", "Webhook"):
        found.append(errors.not_supported(f"{_PATH}.strategy", strategy, ("None", "Webhook")))
    if strategy != "Webhook":
        detail = "should not be set when strategy is not set to Webhook"
        if client is not None:
            found.append(errors.forbidden(_CLIENT, detail))
        if reviews:
            found.append(errors.forbidden(_REVIEWS, detail))
        return found
    old_webhook = (old or {}).get("webhook") or {}
    found += _client_problems(client, old_webhook.get("clientConfig"), established)
    had = old_webhook.get("conversionReviewVersions") or ()
    return found + _review_problems(reviews, recognized=not had or any(each in _KNOWN_REVIEWS for each in had))


def is_bad_bundle(bundle: str) -> bool:
    """Whether a base64 encoded bundle of certificates holds none."""
    if not bundle:
        return False
    try:
        text = base64.b64decode(bundle, validate=True)
        blocks = [base64.b64decode(each) for each in _CERTIFICATE.findall(text)]
    except (binascii.Error, ValueError):
        return True
    return not any(each.startswith(b"\x30") for each in blocks)


def _client_problems(client: JSONMapping | None, old: JSONMapping | None, established: bool) -> list[FieldError]:
    if client is None:
        return [errors.required(_CLIENT, "required when strategy is set to Webhook")]
    url, service = client.get("url"), client.get("service")
    if (url is None) == (service is None):
        found = [errors.required(_CLIENT, "exactly one of url or service is required")]
    elif url is not None:
        found = _url_problems(str(url), f"{_CLIENT}.url")
    else:
        found = _service_problems(service or {}, f"{_CLIENT}.service")
    bundle = client.get("caBundle") or ""
    was_bad = is_bad_bundle((old or {}).get("caBundle") or "")
    if established and not was_bad and is_bad_bundle(bundle):
        detail = "unable to load root certificates: unable to parse bytes as PEM block"
        found.append(errors.invalid(f"{_CLIENT}.caBundle", bundle, detail))
    return found


def _url_problems(text: str, path: str) -> list[FieldError]:
    try:
        url = urlsplit(text)
        _ = url.port
    except ValueError as error:
        return [errors.required(path, f"url must be a valid URL: {error}{_FORM}")]
    found: list[FieldError] = []
    if url.scheme != "https":
        found.append(errors.invalid(path, url.scheme, f"'https' is the only allowed URL scheme{_FORM}"))
    user, at, host = url.netloc.rpartition("@")
    if not host:
        found.append(errors.invalid(path, host, f"host must be specified{_FORM}"))
    if at:
        found.append(errors.invalid(path, user, "user information is not permitted in the URL"))
    if url.fragment:
        found.append(errors.invalid(path, url.fragment, "fragments are not permitted in the URL"))
    if url.query:
        found.append(errors.invalid(path, url.query, "query parameters are not permitted in the URL"))
    return found


def _service_problems(service: JSONMapping, path: str) -> list[FieldError]:
    # QUIRK kept: the real server passes name and namespace in the wrong order, and so names the other one.
    swapped = (("name", service.get("namespace")), ("namespace", service.get("name")))
    found = [errors.required(f"{path}.{field}") for field, value in swapped if not value]
    port = service.get("port", 443)
    if not 1 <= port <= 65535:
        detail = "port is not valid: must be between 1 and 65535, inclusive"
        found.append(errors.invalid(f"{path}.port", port, detail))
    given = service.get("path")
    if given in (None, "", "/"):
        return found
    where = f"{path}.path"
    if given == "//":
        return [*found, errors.invalid(where, given, "segment[0] may not be empty")]
    if not given.startswith("/"):
        found.append(errors.invalid(where, given, "must start with a '/'"))
    for index, step in enumerate(given[1:].removesuffix("/").split("/")):
        if not step:
            found.append(errors.invalid(where, given, f"segment[{index}] may not be empty"))
            continue
        found += [errors.invalid(where, given, f"segment[{index}]: {each}") for each in names.bad_subdomain(step)]
    return found


def _review_problems(versions: Sequence[str], *, recognized: bool) -> list[FieldError]:
    if not versions:
        return [errors.required(_REVIEWS)]
    found: list[FieldError] = []
    for index, each in enumerate(versions):
        if each in versions[:index]:
            found.append(errors.invalid(f"{_REVIEWS}[{index}]", each, "duplicate version"))
            continue
        found += [errors.invalid(f"{_REVIEWS}[{index}]", each, problem) for problem in names.bad_label_1035(each)]
    if recognized and not any(each in _KNOWN_REVIEWS for each in versions):
        detail = f"must include at least one of {', '.join(_KNOWN_REVIEWS)}"
        found.append(errors.invalid(_REVIEWS, list(versions), detail))
    return found
