"""Which representation of an answer the client has asked for in its Accept header."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from runtime.testing.apiserver.errors import StatusError
from runtime.testing.apiserver.http import Request
from runtime.testing.kinds.model import Kind

JSON = "application/json"
YAML = "application/yaml"
PROTOBUF = "application/vnd.kubernetes.protobuf"
_OFFERED = (JSON, YAML, PROTOBUF)
_STREAMED = (JSON, PROTOBUF)
_STREAMS = tuple(f"{media};stream=watch" for media in _STREAMED)
_META_GROUP = "meta.k8s.io"
_META_VERSIONS = ("v1", "v1beta1")
METADATA, METADATA_LIST = "PartialObjectMetadata", "PartialObjectMetadataList"
_CONVERSION = {"as", "g", "v"}
_AGGREGATED = {"as": "APIGroupDiscoveryList", "g": "apidiscovery.k8s.io", "v": "v2"}
_HUMANS = ("curl", "Wget", "Mozilla/5.0")
_TRUE = ("1", "t", "T", "true", "TRUE", "True")


@dataclass(frozen=True, slots=True)
class Representation:
    """:param transform: "" for the object itself, or Table, PartialObjectMetadata, PartialObjectMetadataList.
    :param version: of the meta.k8s.io group, for a transform.
    :param pretty: for human eyes: indented.
    """

    media: str = JSON
    transform: str = ""
    version: str = "v1"
    pretty: bool = False

    @property
    def api_version(self) -> str:
        return f"{_META_GROUP}/{self.version}"

    @property
    def stream_type(self) -> str:
        """The Content-Type of a watch."""
        return JSON if self.media == JSON else f"{self.media};stream=watch"


_PLAIN = Representation()


@dataclass(frozen=True, slots=True)
class _Clause:
    """One part of an Accept header."""

    media: str
    parameters: Mapping[str, str]
    quality: float


_ANY = _Clause("*/*", {}, 1.0)


def negotiate(request: Request, kind: Kind, *, collection: bool = False, watch: bool = False) -> Representation:
    """How to show objects of ``kind``: the first that we have of what is accepted, in the order of preference.

    :param collection: the request is a list or a watch.
    :raises StatusError: 406.
    """
    accept, pretty = request.header("accept"), _pretty(request)
    if accept in ("", JSON, "*/*"):
        return replace(_PLAIN, pretty=pretty) if pretty else _PLAIN
    if not kind.custom:
        _check_produced(accept, collection=collection)
    for clause in _clauses(accept):
        for media in _matching(clause):
            found = _accepted(clause, media, kind)
            if found is not None and watch and media not in _STREAMED:
                raise _not_acceptable(_STREAMS)
            if found is not None:
                return replace(found, pretty=pretty) if pretty and not found.pretty else found
    raise _not_acceptable(_OFFERED)


def negotiate_status(request: Request) -> Representation:
    """How to show what is no object of the resource: a ``Status``. JSON where nothing else is accepted."""
    return _untransformed(request) or replace(_PLAIN, pretty=_pretty(request))


def negotiate_document(request: Request) -> Representation:
    """How to show a discovery document. Raises 406."""
    accept = request.header("accept")
    if accept:
        _check_produced(accept)
    found = _untransformed(request)
    if found is None:
        raise _not_acceptable(_OFFERED)
    return found


def check_json(request: Request) -> None:
    """Refuse who does not take JSON, where there is nothing else. Raises 406."""
    if request.header("accept"):
        _check_produced(request.header("accept"), offered=(JSON,))


def negotiate_aggregated(request: Request) -> Representation | None:
    """How to show the aggregated discovery document, None if it is not asked for."""
    for clause in _clauses(request.header("accept")):
        asked = {name: value for name, value in clause.parameters.items() if name in _CONVERSION}
        for media in _matching(clause) if asked == _AGGREGATED else ():
            return Representation(media, pretty=_pretty(request))
    return None


def first_of(request: Request, offered: Sequence[str]) -> str | None:
    """The first of these media types that is accepted, whatever its parameters."""
    for clause in _clauses(request.header("accept") or "*/*"):
        for media in offered:
            if clause.media in (media, "*/*", "application/*"):
                return media
    return None


def _untransformed(request: Request) -> Representation | None:
    accept, pretty = request.header("accept"), _pretty(request)
    for clause in _clauses(accept) if accept not in ("", JSON, "*/*") else (_ANY,):
        for media in _matching(clause):
            stream = clause.parameters.get("stream", "")
            refused = _CONVERSION & clause.parameters.keys() or clause.parameters.get("sv")
            if not refused and (not stream or (stream == "watch" and media in _STREAMED)):
                return Representation(media, pretty=pretty or clause.parameters.get("pretty") == "1")
    return None


def _check_produced(accept: str, *, collection: bool = False, offered: Sequence[str] = _OFFERED) -> None:
    """The router of the real server looks for the very media types first; custom resources have no route in it."""
    wanted = [clause.split(";")[0].strip(" ") for clause in accept.split(",")]
    if "*/*" in wanted or any(each in wanted for each in offered):
        return
    shown = (*offered, *_STREAMS) if collection else offered
    message = f"406: Not Acceptable\n\nAvailable representations: {', '.join(shown)}"
    raise StatusError(406, "NotAcceptable", message, {})


def _not_acceptable(offered: Sequence[str]) -> StatusError:
    message = f"only the following media types are accepted: {', '.join(offered)}"
    return StatusError(406, "NotAcceptable", message)


def _clauses(accept: str) -> list[_Clause]:
    """The parts of the header, the best first: by quality, then the more special ones."""
    clauses = []
    for part in accept.split(","):
        media, *rest = (each.strip() for each in part.split(";"))
        if media == "*":
            media = "*/*"
        if media.count("/") != 1:
            continue
        pairs = (each.partition("=") for each in rest)
        parameters = {name.strip(): value.strip() for name, found, value in pairs if found}
        clauses.append(_Clause(media, parameters, _quality(parameters.pop("q", "1"))))
    return sorted(clauses, key=lambda each: (-each.quality, each.media.startswith("*/"), each.media.endswith("/*")))


def _quality(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def _matching(clause: _Clause) -> Sequence[str]:
    if clause.media in ("*/*", "application/*"):
        return _OFFERED
    return (clause.media,) if clause.media in _OFFERED else ()


def _accepted(clause: _Clause, media: str, kind: Kind) -> Representation | None:
    """What a clause asks for, None if we do not have it."""
    parameters = clause.parameters
    stream, server_version = parameters.get("stream", ""), parameters.get("sv", "")
    if (stream and (stream != "watch" or media not in _STREAMED)) or server_version not in ("", "v1"):
        return None
    pretty = parameters.get("pretty") == "1"
    if not _CONVERSION & parameters.keys():
        # Custom resources have no protobuf of their own, their metadata have.
        return None if kind.custom and media == PROTOBUF else Representation(media, pretty=pretty)
    transform, version = parameters.get("as", ""), parameters.get("v", "")
    if parameters.get("g") != _META_GROUP or version not in _META_VERSIONS:
        return None
    if transform in (METADATA, METADATA_LIST) or (transform == "Table" and media != PROTOBUF):
        return Representation(media, transform, version, pretty=pretty)
    return None


def _pretty(request: Request) -> bool:
    asked = request.query.get("pretty", "")
    return asked in _TRUE if asked else request.header("user-agent").startswith(_HUMANS)
