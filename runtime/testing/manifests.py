"""Manifests: YAML and JSON files of Kubernetes objects."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from runtime.testing.apiserver.kubeyaml import parse_documents
from runtime.types import JSONObject

_SUFFIXES = (".yaml", ".yml", ".json")


def documents(source: Path) -> Iterator[tuple[Path, JSONObject]]:
    """The objects of a file, or of all ``.yaml``, ``.yml`` and ``.json`` files of a folder and the folders in it, each
    with the file it is from. The items of a List come one by one.

    :raises ValueError: a file cannot be parsed, or holds something else than objects; it names the file.
    :raises OSError: a file cannot be read.
    """
    files = [source]
    if source.is_dir():
        files = sorted(each for each in source.rglob("*") if each.suffix in _SUFFIXES)
    for file in files:
        try:
            found = list(parse_documents(file.read_text(encoding="utf-8")))
        except ValueError as error:
            raise ValueError(f"{file}: {error}") from error
        for document in found:
            if not isinstance(document, dict):
                raise ValueError(f"{file}: a document is not an object")
            if str(document.get("kind", "")).endswith("List") and isinstance(document.get("items"), list):
                yield from ((file, item) for item in document["items"])
            else:
                yield file, document


def crds_first(found: Iterable[tuple[Path, JSONObject]]) -> list[tuple[Path, JSONObject]]:
    """In the order in which a server can take them: what defines a kind before its objects, namespaces before what is
    in them."""
    order = {"CustomResourceDefinition": 0, "Namespace": 1}
    return sorted(found, key=lambda each: order.get(str(each[1].get("kind")), 2))


_SET_BY_SERVERS = ("uid", "resourceVersion", "generation", "creationTimestamp", "managedFields", "selfLink")


def as_written(obj: JSONObject) -> JSONObject:
    """A copy without what only servers set: what kubectl got from one is as good a manifest as any other."""
    metadata = obj.get("metadata")
    if not isinstance(metadata, dict):
        return dict(obj)
    return {**obj, "metadata": {name: value for name, value in metadata.items() if name not in _SET_BY_SERVERS}}
