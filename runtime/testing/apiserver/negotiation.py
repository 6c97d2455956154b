"""Which representation of an answer the client has asked for in its Accept header."""

from __future__ import annotations

from dataclasses import dataclass

from runtime.testing.apiserver.errors import StatusError

JSON = "application/json"
YAML = "application/yaml"
_META_GROUP = "meta.k8s.io"
_META_VERSIONS = ("v1", "v1beta1")
_OFFERED = f"{JSON}, {YAML}, {JSON};stream=watch"


@dataclass(frozen=True, slots=True)
class Representation:
    """:param transform: "" for the object itself, or Table, PartialObjectMetadata, PartialObjectMetadataList.
    :param version: of the meta.k8s.io group, for a transform.
    """

    media: str = JSON
    transform: str = ""
    version: str = "v1"

    @property
    def api_version(self) -> str:
        return f"{_META_GROUP}/{self.version}"


_PLAIN = Representation()


def negotiate(accept: str) -> Representation:
    """The first acceptable representation that we have, in the order of preference. Raises 406."""
    if accept in ("", JSON, "*/*"):
        return _PLAIN
    for clause in _by_quality(accept):
        media, *rest = (part.strip() for part in clause.split(";"))
        parameters = dict(part.partition("=")[::2] for part in rest)
        found = _match(media.lower(), parameters)
        if found is not None:
            return found
    raise StatusError(406, "NotAcceptable", f"406: Not Acceptable\n\nAvailable representations: {_OFFERED}", {})


def _by_quality(accept: str) -> list[str]:
    clauses = [clause for clause in accept.split(",") if clause.strip()]
    return sorted(clauses, key=_quality, reverse=True)


def _quality(clause: str) -> float:
    for part in clause.split(";")[1:]:
        name, _, value = part.strip().partition("=")
        if name == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0


def _match(media: str, parameters: dict[str, str]) -> Representation | None:
    if media == "*/*":
        media = JSON
    if media not in (JSON, YAML):
        return None
    transform = parameters.get("as", "")
    if not transform:
        return Representation(media)
    version = parameters.get("v", "")
    known = transform in ("Table", "PartialObjectMetadata", "PartialObjectMetadataList")
    if not known or parameters.get("g") != _META_GROUP or version not in _META_VERSIONS:
        return None
    return Representation(media, transform, version)
